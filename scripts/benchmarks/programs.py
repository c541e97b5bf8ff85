"""Time a training step of many programs, in fit's three modes and by hand, and say which are recorded and compiled.

The programs are those of ``programs_setups.py``. Each contender has a process of its own; they take turns epoch by
epoch. The first epoch, which records and compiles, does not count. The seconds of each round go to ``programs.json``,
with the share of the last epoch's steps that replayed a recording or the compiled one, and with pyrovae's warnings,
which say why a step was not. Then a step of every prior, posterior, flow, likelihood, objective and program of pyrovae
is recorded on small networks, and ``classes.json`` has for each whether that worked, or why not.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any, get_args

import records
import turns

BY_HAND = "by hand, Adam(fused=True)"


def main() -> None:
    options = parse()
    turns.limit_threads(options.threads)
    import programs_classes
    import programs_setups

    for name in options.programs or programs_setups.SETUPS:
        settings, results = measure(name, options)
        records.keep(options.out, "programs", settings, results)
        print(name, {key: value for key, value in results.items() if key != "notes"}, flush=True)
    if not options.without_classes:
        found = programs_classes.record_all()
        records.keep(options.out, "classes", {"mode": "graph"}, found)
        print(found)


def parse() -> argparse.Namespace:
    import programs_setups

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", nargs="*", choices=list(programs_setups.SETUPS), help="all if not given")
    parser.add_argument("--without_classes", action="store_true", help="leave out the recording of every class")
    parser.add_argument("--num_batches", type=int, default=12, help="steps of an epoch")
    words = "epochs after the first; in the second, fourth and eighth of all, fit compares a step with Pyro"
    parser.add_argument("--rounds", type=int, default=5, help=words)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=records.FOLDER, help="folder of the results")
    return parser.parse_args()


def measure(name: str, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings and the results of one program."""
    import programs_setups

    from pyrovae.compilation import Compile

    setup = programs_setups.SETUPS[name](2)
    contenders = [*get_args(Compile), BY_HAND]
    timing = turns.measure(partial(contend, name, options), contenders, options.rounds, name)
    settings = {
        "program": name,
        "data_shape": list(setup.data.data_shape),
        "batch_size": setup.batch_size,
        "threads": options.threads,
    }
    return settings, asdict(timing) | {"num_steps": options.num_batches}


def contend(program: str, options: argparse.Namespace, name: str, its_turns: turns.Turns, notes: turns.Notes) -> None:
    """Be one mode of fit, or the program by hand, in a process of its own."""
    import programs_setups
    import torch

    turns.bind(options.threads)
    torch.set_flush_denormal(True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    setup = programs_setups.SETUPS[program](options.num_batches)
    if name == BY_HAND:
        programs_setups.train_by_hand(setup, its_turns)
        return
    counts = {"replayed": 0, "compiled": 0}

    def counted() -> Iterator[None]:
        for _ in its_turns:
            counts.update(replayed=0, compiled=0)
            yield
            notes.update({key: min(1.0, count / options.num_batches) for key, count in counts.items()})

    with programs_setups.counting(counts):
        programs_setups.train(setup, name, options.rounds + 1, counted())


if __name__ == "__main__":
    main()
