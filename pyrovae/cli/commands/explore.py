"""``pyrovae explore``."""

from __future__ import annotations

from pyrovae.explore import open_session, serve
from pyrovae.runs import DataFactory, Run

__all__ = ["explore"]


def explore(
    run: str,
    data: DataFactory | None = None,
    port: int = 7860,
    num_data: int = 1000,
    num_samples: int = 100,
    seed: int = 0,
) -> None:
    """Serve a page to explore a run, on 127.0.0.1 only: move in its latents, draw, interpolate, sample.

    It is served until Ctrl+C is pressed, and needs no other machine. If the run's data are not available, data drawn
    from the model replace the test data.

    Args:
        run: the run's folder.
        data: the run's data at their present place, or other data.
        port: port of the page; 0 for any free one.
        num_data: number of test data to choose from, from the first.
        num_samples: number of importance samples for log p(x) of a datum.
        seed: seed of all noise.
    """
    opened = open_session(Run(run), data, num_data=num_data, num_samples=num_samples, seed=seed)
    for note in opened.notes:
        print(note)
    serve(opened.session, opened.title, port)
