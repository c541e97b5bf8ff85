"""Samples of a run's model, as a picture, as an array or as a table."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from pyrovae import checks, figures
from pyrovae.files import atomic_write
from pyrovae.prediction import generate
from pyrovae.runs.folder import Run
from pyrovae.runs.table_file import write_table

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
        out: a .png file for a picture, a .npy file for an array ``(num_samples, *data_shape)``, or for a run on a
            table a .csv or .parquet file.
        num_samples: number of samples.
        noise: True to draw x from p(x|z), False for its mean.
        seed: seed of the samples.

    Returns:
        path of the file.

    Raises:
        ValueError: if an option is invalid, or the run cannot be loaded.
    """
    path = Path(out)
    described = run.describe_data()
    schema = described.schema
    checks.choice(
        "out's ending", path.suffix, (".png", ".npy") if schema is None else (".csv", ".parquet", ".npy", ".png")
    )
    checks.integer("num_samples", num_samples)
    program = run.load_program()
    torch.manual_seed(checks.seed(seed))
    template = described.template(program)
    x = generate(program.model, num_samples, template, noise=noise)
    if path.suffix == ".npy":
        with atomic_write(path) as file:
            np.save(file, x.numpy())
    elif schema is not None and path.suffix != ".png":
        write_table(path, [schema.to_frame(x)], num_samples)
    else:
        columns = len(template[1]) if isinstance(template, tuple) else None  # one for each class
        figures.save(figures.samples(x, columns, noise=noise), path)
    return path
