"""Time an epoch of pyrovae's fit against a hand-written PyTorch loop, Pyro's tutorial, NumPyro and pythae.

Each contender has a process of its own, bound to the same cores; they take turns epoch by epoch, so that a change of
the machine's speed meets all of them, and the first epoch of each, which compiles and warms up, does not count.
Printed are medians over the rounds of the seconds, and of the ratios within a round. All flush denormal floats, as
pyrovae's commands do and XLA always does. A library that is not installed is left out (the extra ``bench`` has all).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import get_args

REFERENCES = ("hand-written, Adam()", "hand-written, Adam(fused=True)", "NumPyro, jitted epoch", "matrix products")


def main() -> None:
    options = parse()
    cores = sorted(os.sched_getaffinity(0))[: options.threads] if hasattr(os, "sched_getaffinity") else []
    if cores:
        os.sched_setaffinity(0, cores)
    # Read by the libraries when a contender's process imports them; XLA has as many threads as it may use cores.
    os.environ |= {"OMP_NUM_THREADS": str(options.threads), "MKL_NUM_THREADS": str(options.threads)}
    if options.threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    print(describe(options, cores))
    if options.profile:
        import training_profile

        training_profile.main(options)
        return
    for architecture in options.architectures:
        seconds = measure(architecture, options)
        print(table(architecture, seconds), flush=True)


def parse() -> argparse.Namespace:
    from pyrovae.compilation import Compile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=None, help="folder that holds MNIST; without it, the embedded digits")
    parser.add_argument("--architectures", nargs="+", default=["A", "B", "convolutional"])
    parser.add_argument("--compile", nargs="*", default=get_args(Compile), help="modes of pyrovae's fit")
    parser.add_argument("--without", nargs="*", default=[], help="contenders to leave out, by the start of their name")
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--num_data", type=int, default=None, help="of MNIST's training images")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--profile", action="store_true", help="print where the time of a step goes instead")
    return parser.parse_args()


def measure(architecture: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Return the seconds of each contender's epochs, but for the first."""
    import training_contenders as contenders

    spawn = multiprocessing.get_context("spawn")  # a copy of this process would share its threads' locks
    names = [f"pyrovae, compile={mode}" for mode in options.compile] + list(contenders.CONTENDERS)
    pipes: dict[str, Connection] = {}
    for name in names:
        if not name.startswith(tuple(options.without) or ("?",)):
            pipes[name], its_end = spawn.Pipe()
            spawn.Process(target=contend, args=(name, architecture, options, its_end), daemon=True).start()
            its_end.close()
    seconds: dict[str, list[float]] = {name: [] for name in pipes}
    for i in range(options.rounds + 1):
        print(f"{architecture}: round {i} of {options.rounds}", file=sys.stderr)
        for name, pipe in list(pipes.items()):
            try:
                with suppress(BrokenPipeError):  # it may have said why before it ended
                    pipe.send(True)
                answer = pipe.recv()
            except EOFError:
                answer = "its process has ended"
            if isinstance(answer, str):
                print(f"  {name} is left out: {answer}")
                del pipes[name], seconds[name]
            elif i > 0:
                seconds[name].append(answer)
    for pipe in pipes.values():
        pipe.send(False)
    return seconds


def contend(name: str, architecture: str, options: argparse.Namespace, pipe: Connection) -> None:
    """Be one of the contenders, in a process of its own."""
    import torch
    import training_contenders as contenders

    torch.set_flush_denormal(True)  # before the threads start, which inherit it
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    given = contenders.Options.of(options, architecture)
    mode = name.removeprefix("pyrovae, compile=")
    train = contenders.CONTENDERS[name] if mode == name else partial(contenders.pyrovae, mode)
    try:
        train(given, turns(pipe))
    except StopIteration:  # told to stop in the middle of its own loop
        pass
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}".splitlines()[0])


def turns(pipe: Connection) -> Iterator[None]:
    """Yield when an epoch may begin; when the next is asked for, it has ended."""
    while pipe.recv():
        start = time.perf_counter()
        yield
        pipe.send(time.perf_counter() - start)


def table(architecture: str, seconds: dict[str, list[float]]) -> str:
    references = [name for name in REFERENCES if name in seconds]
    lines = [
        f"\n| {architecture} | s an epoch | " + " | ".join(f"x {name}" for name in references) + " |",
        "|---|" + "---|" * (1 + len(references)),
    ]
    for name, times in seconds.items():
        ratios = (
            statistics.median(time / against for time, against in zip(times, seconds[reference], strict=True))
            for reference in references
        )
        lines.append(f"| {name} | {statistics.median(times):.2f} | " + " | ".join(f"{r:.2f}" for r in ratios) + " |")
    return "\n".join(lines)


def describe(options: argparse.Namespace, cores: list[int]) -> str:
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        names = [
            line
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    versions = [installed(name) for name in ("torch", "pyro-ppl", "numpyro", "jax", "pythae")]
    data = "digits" if options.root is None else f"MNIST, {options.num_data or 'all'} images"
    return (
        f"{time.strftime('%Y-%m-%d')}, {cpu}, threads {options.threads}, cores {cores or 'any'}, "
        f"Python {platform.python_version()}, {', '.join(versions)}; {data}, batch {options.batch_size}"
    )


def installed(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"no {name}"


if __name__ == "__main__":
    main()
