"""``pyrovae impute``."""

from __future__ import annotations

from typing import Literal

from pyrovae.cli.commands.device import device_named
from pyrovae.cli.commands.evaluate import estimator_of
from pyrovae.data import SplitName
from pyrovae.evaluation import Estimator
from pyrovae.matmul import Precision
from pyrovae.runs import DataFactory, Run, impute_run

__all__ = ["impute"]


def impute(
    run: str,
    data: DataFactory | None = None,
    split: SplitName = "all",
    out: str = "imputed.npy",
    overwrite: bool = False,
    method: Estimator | None = None,
    num_samples: int | None = None,
    scales: bool = False,
    num_imputations: int = 0,
    num_data: int | None = None,
    weights: Literal["best", "last"] = "best",
    precision: Precision = "float32",
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Write data with their missing values (NaN) imputed, a row a datum in the file's order.

    Args:
        run: the run's folder.
        data: the run's data at their present place, or other data.
        split: part of the data; all takes all of them, in the order of the file.
        out: a .npy file for an array of the data's shape, or a .csv file with names.
        overwrite: replace an existing file.
        method: the estimator: Importance, which is the default, Annealed, Adaptive, or your own class.
        num_samples: short for --method Importance --method.num_samples.
        scales: also write the standard deviation of each value, 0 where it was observed.
        num_imputations: number of draws of each datum to write instead of the conditional means.
        num_data: number of data, from the first; all if not given.
        weights: weights of the best validation ELBO, or of the last epoch.
        precision: precision of the networks' matrix products: float32, tf32 on GPUs that have it, or bfloat16.
        device: cpu, cuda, or auto for cuda where there is one.
        seed: seed of the samples.
    """
    found = impute_run(
        Run(run),
        out,
        estimator_of(method, num_samples),
        data=data,
        split=split,
        num_data=num_data,
        scales=scales,
        num_imputations=num_imputations,
        overwrite=overwrite,
        weights=weights,
        precision=precision,
        device=device_named(device),
        seed=seed,
    )
    if found is not None:
        print(f"{found.num_missing} missing values of {found.num_data} data imputed")
        print(f"  {found.num_reliable} of {found.num_data} data are complete, or have weights that can be trusted")
        for sentence in found.sentences:
            print(f"  {sentence}")
        print(f"written to {found.path}")
