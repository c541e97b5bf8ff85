"""Contenders that take turns, round by round, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

__all__ = ["Contend", "Timing", "Turns", "bind", "limit_threads", "measure"]

Turns = Iterator[None]
Notes = dict[str, Any]
Contend = Callable[[str, Turns, Notes], None]
"""Be the contender of a name: ask for the next turn before each round, and note what is to be known at the end."""


@dataclass
class Timing:
    """What was measured.

    Attributes:
        seconds: the seconds of each round, by contender, but for the first, which compiles and warms up.
        notes: what the contenders noted, and as ``warnings`` those of pyrovae.
        left_out: why contenders are left out.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, Notes] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def limit_threads(threads: int) -> None:
    """Tell the libraries that the processes started from here import how many threads to use."""
    os.environ |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if threads == 1:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()


def bind(threads: int) -> None:
    """Bind this process to as many cores, once it has imported the large libraries; XLA has a thread for each."""
    if hasattr(os, "sched_getaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def measure(contend: Contend, names: Sequence[str], rounds: int, title: str) -> Timing:
    """Let contenders take turns, and one after the other that fails drop out."""
    spawn = multiprocessing.get_context("spawn")  # a copy of this process would share its threads' locks
    pipes: dict[str, Connection] = {}
    for name in names:
        pipes[name], its_end = spawn.Pipe()
        spawn.Process(target=_be, args=(contend, name, its_end), daemon=True).start()
        its_end.close()
    timing = Timing({name: [] for name in pipes})
    for i in range(rounds + 1):
        print(f"{title}: round {i} of {rounds}", file=sys.stderr)
        for name, pipe in list(pipes.items()):
            answer = _ask(pipe, True)
            if isinstance(answer, str):
                print(f"  {name} is left out: {answer}")
                timing.left_out[name] = answer
                del pipes[name], timing.seconds[name]
            elif i > 0:
                timing.seconds[name].append(answer)
    for name, pipe in pipes.items():
        notes = _ask(pipe, False)
        timing.notes[name] = notes if isinstance(notes, dict) else {"warnings": [notes]}
        for sentence in timing.notes[name]["warnings"]:
            print(f"  {name}: {sentence}")
    return timing


def _ask(pipe: Connection, again: bool) -> Any:
    try:
        with suppress(BrokenPipeError):  # it may have said why before it ended
            pipe.send(again)
        return pipe.recv()
    except EOFError:
        return "its process has ended"


def _be(contend: Contend, name: str, pipe: Connection) -> None:
    notes: Notes = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            contend(name, _turns(pipe), notes)
        except StopIteration:  # told to stop in the middle of its own loop
            pass
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}".splitlines()[0])
            return
    pipe.send(notes | {"warnings": [str(warning.message) for warning in caught if _is_of_pyrovae(warning)]})


def _is_of_pyrovae(warning: warnings.WarningMessage) -> bool:
    return issubclass(warning.category, UserWarning) and "pyrovae" in Path(warning.filename).parts


def _turns(pipe: Connection) -> Turns:
    """Yield when a round may begin; when the next is asked for, it has ended."""
    while pipe.recv():
        start = time.perf_counter()
        yield
        pipe.send(time.perf_counter() - start)
