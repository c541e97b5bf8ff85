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
    """Serve a page, on 127.0.0.1 alone, to explore a run: move in its latents, draw, interpolate, sample.

    It is served until Ctrl+C is pressed. Nothing is asked of any other machine. Where the run's data are not at hand,
    images that the model draws stand in for test images.

    Args:
        run: the run's folder.
        data: where the run's data are now, if not where they were; or other data.
        port: on which it is served; 0 for any that is free.
        num_data: test images that can be chosen, the first ones.
        num_samples: importance samples by which images are weighed.
        seed: of all noise.
    """
    folder = Run(run)
    told = folder.folder.resolve().name
    program = folder.load_program()
    try:
        dataset = folder.load(data=data)[0]
    except checks.InputError as error:
        if data is not None:
            raise
        torch.manual_seed(checks.seed(seed))
        dataset = simulated_data(program, folder.describe_data(), checks.integer("num_data", num_data, minimum=2))
        told += " (no test images at hand: those shown are drawn from the model)"
        print(f"images that the model draws stand in for test images: {error}")
    other = other_data(folder, dataset, True) if data is not None else None
    if other is not None:
        print(other.sentence)
    session = Session(dataset, program, num_data=num_data, num_samples=num_samples, seed=seed)
    serve(session, f"{type(program).__name__}: {told}", port)
