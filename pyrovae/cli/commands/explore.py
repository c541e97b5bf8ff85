"""``pyrovae explore``."""

from __future__ import annotations

from pyrovae.explore import Session, serve
from pyrovae.runs import Run

__all__ = ["explore"]


def explore(run: str, port: int = 7860, num_images: int = 1000, num_samples: int = 100, seed: int = 0) -> None:
    """Serve a page, on 127.0.0.1 alone, to explore a run: move in its latents, draw, interpolate, sample.

    It is served until Ctrl+C is pressed. Nothing is asked of any other machine.

    Args:
        run: the run's folder.
        port: on which it is served; 0 for any that is free.
        num_images: test images that can be chosen, the first ones.
        num_samples: importance samples by which images are weighed.
        seed: of all noise.
    """
    folder = Run(run)
    data, program = folder.load()
    session = Session(data, program, num_images=num_images, num_samples=num_samples, seed=seed)
    serve(session, f"{type(program).__name__}: {folder.folder.resolve().name}", port)
