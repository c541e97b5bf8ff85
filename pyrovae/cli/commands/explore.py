"""``pyrovae explore``."""

from __future__ import annotations

import torch

from pyrovae import checks
from pyrovae.explore import Session, serve
from pyrovae.runs import DataFactory, Run, other_data, simulated_data

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

    It is served until Ctrl+C is pressed, and needs no other machine. If the run's data are not available, images drawn
    from the model replace the test images.

    Args:
        run: the run's folder.
        data: the run's data at their present place, or other data.
        port: port of the page; 0 for any free one.
        num_data: number of test images to choose from, from the first.
        num_samples: number of importance samples for log p(x) of an image.
        seed: seed of all noise.
    """
    folder = Run(run)
    title = folder.folder.resolve().name
    program = folder.load_program()
    try:
        dataset = folder.load(data=data)[0]
    except checks.InputError as error:
        if data is not None:
            raise
        torch.manual_seed(checks.seed(seed))
        dataset = simulated_data(program, folder.describe_data(), checks.integer("num_data", num_data, minimum=2))
        title += " (no test images at hand: those shown are drawn from the model)"
        print(f"images that the model draws stand in for test images: {error}")
    other = other_data(folder, dataset, True) if data is not None else None
    if other is not None:
        print(other.sentence)
    session = Session(dataset, program, num_data=num_data, num_samples=num_samples, seed=seed)
    serve(session, f"{type(program).__name__}: {title}", port)
