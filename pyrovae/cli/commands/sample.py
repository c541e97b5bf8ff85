"""``pyrovae sample``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pyrovae import checks, figures
from pyrovae.files import atomic_write
from pyrovae.prediction import generate
from pyrovae.runs import Run

__all__ = ["sample"]


def sample(run: str, num_samples: int = 64, out: str = "samples.png", noise: bool = False, seed: int = 0) -> None:
    """Draw new data from a run's model, as a picture or as an array.

    Args:
        run: the run's folder.
        num_samples: number of data.
        out: a .png file for a picture, or a .npy file for an array (N, ...).
        noise: draw x from p(x|z) instead of its mean.
        seed: seed of the samples.
    """
    path = Path(out)
    checks.choice("out's ending", path.suffix, (".png", ".npy"))
    checks.integer("num_samples", num_samples)
    folder = Run(run)
    program = folder.load_program()
    torch.manual_seed(checks.seed(seed))
    template = folder.describe_data().template(program)
    x = generate(program.model, num_samples, template, noise=noise)
    columns = len(template[1]) if isinstance(template, tuple) else None  # one for each class
    if path.suffix == ".npy":
        with atomic_write(path) as file:
            np.save(file, x.numpy())
    else:
        figures.save(figures.samples(x, columns, noise=noise), path)
    print(f"{num_samples} samples written to {path}")
