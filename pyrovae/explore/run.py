"""Session of a run: its program with its data, or with simulated data where these are not available."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pyrovae import checks
from pyrovae.explore.session import Session
from pyrovae.explore.table_session import TableSession
from pyrovae.runs import DataFactory, Run, other_data, simulated_data

__all__ = ["RunSession", "open_session"]


@dataclass(frozen=True)
class RunSession:
    """A session of a run.

    Attributes:
        session: the session.
        title: title of the page.
        notes: sentences on data that are not those of the run.
    """

    session: Session
    title: str
    notes: list[str]


def open_session(
    run: Run, data: DataFactory | None = None, *, num_data: int = 1000, num_samples: int = 100, seed: int = 0
) -> RunSession:
    """Open a session of a run; data drawn from the model replace test data that are not available.

    Args:
        run: the run.
        data: the run's data at their present place, or other data; those of the run's configuration if not given.
        num_data: number of test data that can be chosen, from the first.
        num_samples: number of importance samples for each datum.
        seed: seed of all noise.

    Raises:
        ValueError: if the run cannot be loaded, or the given data cannot.
    """
    program = run.load_program()
    title, notes = f"{type(program).__name__}: {run.folder.resolve().name}", []
    try:
        dataset = run.load(data=data)[0]
    except checks.InputError as error:
        if data is not None:
            raise
        torch.manual_seed(checks.seed(seed))
        dataset = simulated_data(program, run.describe_data(), checks.integer("num_data", num_data, minimum=2))
        title += " (no test data at hand: those shown are drawn from the model)"
        notes.append(f"data that the model draws stand in for test data: {error}")
    other = None if data is None else other_data(run, dataset)
    if other is not None:
        notes.append(other.sentence)
    kind = Session if run.describe_data().schema is None else TableSession
    session = kind(dataset, program, num_data=num_data, num_samples=num_samples, seed=seed)
    return RunSession(session, title, notes)
