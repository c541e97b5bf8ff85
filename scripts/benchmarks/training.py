"""Time an epoch of pyrovae's fit against a hand-written PyTorch loop, Pyro's tutorial, NumPyro and pythae.

Each contender has a process of its own, bound to the same cores; they take turns epoch by epoch, so that a change of
the machine's speed meets all of them. The first round, which compiles and warms up, does not count. It is one epoch,
but ``--first_epochs`` of fit, which records rare batches and validation only after some dozens of epochs.
The seconds of each round go to ``training.json``; printed are medians over the rounds of the seconds, and of the ratios
within a round. All flush denormal floats, as pyrovae's commands do and XLA always does. A library that is not installed
is left out (the extra ``bench`` has all).
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict
from functools import partial
from typing import Any, get_args

import records
import turns

REFERENCES = ("hand-written, Adam()", "hand-written, Adam(fused=True)", "NumPyro, jitted epoch", "matrix products")


def main() -> None:
    options = parse()
    turns.limit_threads(options.threads)
    print(f"{records.machine()}, {records.versions()}, {options.threads} threads")
    if options.profile:
        turns.bind(options.threads)
        import training_profile

        training_profile.main(options)
        return
    for architecture in options.architectures:
        timing = measure(architecture, options)
        records.keep(options.out, "training", settings(architecture, options), asdict(timing))
        print(table(architecture, timing.seconds), flush=True)


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
    parser.add_argument(
        "--first_epochs", type=int, default=1, help="epochs of fit in the first round, which is left out"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=records.FOLDER, help="folder of the results")
    parser.add_argument("--profile", action="store_true", help="print where the time of a step goes instead")
    return parser.parse_args()


def settings(architecture: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what the times depend on, but for the machine."""
    import training_contenders as contenders

    return {
        "architecture": architecture,
        "data": "digits" if options.root is None else "MNIST",
        "num_data": len(contenders.load(contenders.Options.of(options, architecture)).train),
        "batch_size": options.batch_size,
        "threads": options.threads,
    }


def measure(architecture: str, options: argparse.Namespace) -> turns.Timing:
    """Time the contenders' epochs."""
    import training_contenders as contenders

    names = [f"pyrovae, compile={mode}" for mode in options.compile] + list(contenders.CONTENDERS)
    kept = [name for name in names if not name.startswith(tuple(options.without) or ("?",))]
    timing = turns.measure(partial(contend, architecture, options), kept, options.rounds, architecture)
    timing.left_out |= {name: "left out on request" for name in names if name not in kept}
    return timing


def contend(
    architecture: str, options: argparse.Namespace, name: str, its_turns: turns.Turns, notes: dict[str, Any]
) -> None:
    """Be one of the contenders, in a process of its own."""
    import torch
    import training_contenders as contenders

    turns.bind(options.threads)
    torch.set_flush_denormal(True)  # before the threads start, which inherit it
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    given = contenders.Options.of(options, architecture)
    mode = name.removeprefix("pyrovae, compile=")
    train = contenders.CONTENDERS[name] if mode == name else partial(contenders.pyrovae, mode)
    train(given, its_turns)


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


if __name__ == "__main__":
    main()
