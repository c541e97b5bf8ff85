"""``pyrovae score``."""

from __future__ import annotations

from typing import Literal

from pyrovae.cli.commands.device import device_named
from pyrovae.cli.commands.evaluate import estimator_of
from pyrovae.data import SplitName
from pyrovae.evaluation import Estimator
from pyrovae.matmul import Precision
from pyrovae.runs import DataFactory, Run, score_run

__all__ = ["score"]


def score(
    run: str,
    data: DataFactory | None = None,
    split: SplitName = "all",
    out: str = "scores.csv",
    overwrite: bool = False,
    method: Estimator | None = None,
    num_samples: int | None = None,
    num_data: int | None = None,
    weights: Literal["best", "last"] = "best",
    chunk_size: int | None = None,
    precision: Precision = "float32",
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Write log p(x) of each datum with its error, ELBO and anomaly score, a row a datum in the file's order.

    Args:
        run: the run's folder.
        data: the run's data at their present place, or other data.
        split: part of the data; all takes all of them, in the order of the file.
        out: a .csv or .parquet file, or a .npy file for a structured array.
        overwrite: replace an existing file.
        method: the estimator: Importance, which is the default, Annealed, Adaptive, or your own class.
        num_samples: short for --method Importance --method.num_samples.
        num_data: number of data, from the first; all if not given.
        weights: weights of the best validation ELBO, or of the last epoch.
        chunk_size: number of latents to decode at a time; chosen by the program's size if not given.
        precision: precision of the networks' matrix products: float32, tf32 on GPUs that have it, or bfloat16.
        device: cpu, cuda, or auto for cuda where there is one.
        seed: seed of the samples.
    """
    found = score_run(
        Run(run),
        out,
        estimator_of(method, num_samples),
        data=data,
        split=split,
        num_data=num_data,
        overwrite=overwrite,
        weights=weights,
        chunk_size=chunk_size,
        precision=precision,
        device=device_named(device),
        seed=seed,
    )
    if found is not None:
        print(f"{split} NLL {found.nll:.2f} nats per datum")
        print(f"  {found.num_reliable} of {found.num_data} estimates can be trusted by their own diagnostics")
        for sentence in found.sentences:
            print(f"  {sentence}")
        print(f"written to {found.path}")
