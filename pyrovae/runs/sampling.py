"""Samples of a run's model, as a picture or as an array."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from pyrovae import checks, figures
from pyrovae.files import atomic_write
from pyrovae.prediction import generate
from pyrovae.runs.folder import Run

__all__ = ["sample_run"]


def sample_run(
    run: Run,
    out: str | os.PathLike[str] = "samples.png",
    *,
    num_samples: int = 64,
    noise: bool = False,
    seed: int = 0,
) -> Path:
    """Draw new data from a run's model, which needs no data, and write them to a file.

    Args:
        run: the run.
        out: a .png file for a picture, or a .npy file for an array ``(num_samples, *data_shape)``.
        num_samples: number of samples.
        noise: True to draw x from p(x|z), False for its mean.
        seed: seed of the samples.

    Returns:
        path of the file.

    Raises:
        ValueError: if an option is invalid, or the run cannot be loaded.
    """
    path = Path(out)
    checks.choice("out's ending", path.suffix, (".png", ".npy"))
    checks.integer("num_samples", num_samples)
    program = run.load_program()
    torch.manual_seed(checks.seed(seed))
    template = run.describe_data().template(program)
    x = generate(program.model, num_samples, template, noise=noise)
    if path.suffix == ".npy":
        with atomic_write(path) as file:
            np.save(file, x.numpy())
    else:
        columns = len(template[1]) if isinstance(template, tuple) else None  # one for each class
        figures.save(figures.samples(x, columns, noise=noise), path)
    return path
