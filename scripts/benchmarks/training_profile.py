"""Profile of a training step, as ``training.py --profile`` prints it."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

import torch
from pyro.infer import SVI
from training_contenders import Options, load, networks, products, pyrovae

from pyrovae.compilation import TrainingStep
from pyrovae.compilation.graph_capture import Recording
from pyrovae.data import Split
from pyrovae.optimizers import JointOptimizer

# From the outside in: what a part takes is without what the parts inside it take.
PARTS: list[tuple[str, type, str]] = [
    ("data path", Split, "__getitem__"),
    ("SVI", SVI, "step"),
    ("step around the recording (mode off: all of Pyro)", TrainingStep, "loss_and_grads"),
    ("recorded graph", Recording, "__call__"),
    ("optimizer", JointOptimizer, "__call__"),
]


class Clock:
    """Add up what functions take, without what others that are watched take inside them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inside = [0.0]

    @contextmanager
    def watching(self, name: str, owner: type, method: str) -> Iterator[None]:
        original: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inside.append(0.0)
            start = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                whole = time.perf_counter() - start
                self.seconds[name] = self.seconds.get(name, 0.0) + whole - self._inside.pop()
                self._inside[-1] += whole

        setattr(owner, method, timed)
        try:
            yield
        finally:
            setattr(owner, method, original)


def main(given: argparse.Namespace) -> None:
    torch.set_flush_denormal(True)
    torch.set_num_threads(given.threads)
    for architecture in given.architectures:
        options = Options.of(given, architecture)
        num_batches = -(-len(load(options).train) // given.batch_size)
        encoder, decoder = networks(options, load(options))
        count = sum(weight.numel() for part in (encoder, decoder) for weight in part.parameters())
        print(f"\n{architecture}: {count} parameters, {num_batches} steps an epoch; ms a step, median of the epochs")
        for name, onednn in (("torch.mm", False), ("oneDNN", True)):
            whole = epochs(partial(products, onednn, options), options, Clock())
            print(f"  matrix products alone, {name:43} {whole[0] / num_batches * 1e3:7.3f}")
        for mode in given.compile:
            clock = Clock()
            whole, parts = epochs(partial(pyrovae, mode, options), options, clock)
            print(f"  compile={mode:61} {whole / num_batches * 1e3:7.3f}")
            for name, seconds in parts.items():
                print(f"    {name:66} {seconds / num_batches * 1e3:7.3f}  {seconds / whole:6.1%}")
            rest = whole - sum(parts.values())
            print(
                f"    {'rest: loop, validation of one batch':66} {rest / num_batches * 1e3:7.3f}  {rest / whole:6.1%}"
            )


def epochs(train: Callable[[Iterator[None]], None], options: Options, clock: Clock) -> tuple[float, dict[str, float]]:
    """Return the medians of an epoch's seconds, and of its parts', without the first epoch."""
    whole: list[float] = []
    parts: list[dict[str, float]] = []

    def turns() -> Iterator[None]:
        for _ in range(options.rounds + 1):
            clock.seconds = {}
            start = time.perf_counter()
            yield
            whole.append(time.perf_counter() - start)
            parts.append(clock.seconds)

    with ExitStack() as stack, suppress(StopIteration):
        for part in PARTS:
            stack.enter_context(clock.watching(*part))
        train(turns())
    names = [name for name, *_ in PARTS if name in parts[-1]]
    return statistics.median(whole[1:]), {name: statistics.median(part[name] for part in parts[1:]) for name in names}
