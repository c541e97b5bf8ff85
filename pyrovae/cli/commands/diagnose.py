"""``pyrovae diagnose``."""

from __future__ import annotations

from typing import Literal

from pyrovae.cli.commands.device import device_named
from pyrovae.data import SplitName
from pyrovae.evaluation import Estimator
from pyrovae.runs import DataFactory, Run, diagnose_run

__all__ = ["diagnose"]


def diagnose(
    run: str,
    data: DataFactory | None = None,
    split: SplitName = "test",
    num_data: int = 1000,
    num_samples: int = 100,
    refinement_steps: int = 200,
    full_covariance: bool = False,
    method: Estimator | None = None,
    num_simulated: int = 500,
    weights: Literal["best", "last"] = "best",
    chunk_size: int | None = None,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Break down log p(x) into gaps of the posterior, distortion, and the parts of the rate; count active units.

    Args:
        run: the run's folder.
        data: the run's data at their present place, or other data.
        split: part of the data; all takes all of them, in the order of the file.
        num_data: number of data, from the first.
        num_samples: number of samples for each datum and ELBO.
        refinement_steps: number of steps in which the posterior is refined for each datum; 0 for none.
        full_covariance: refine the posterior to any covariance.
        method: the estimator of log p(x): Annealed, which is the default if latents can be annealed, Importance,
            Adaptive, or your own class.
        num_simulated: number of data to simulate from the model, to see by ranks whether the posterior is too narrow,
            too wide or biased; 0 for none.
        weights: weights of the best validation ELBO, or of the last epoch.
        chunk_size: number of latents to decode at a time; chosen by the program's size if not given.
        device: cpu, cuda, or auto for cuda where there is one.
        seed: seed of the samples.
    """
    found = diagnose_run(
        Run(run),
        method,
        data=data,
        split=split,
        num_data=num_data,
        num_samples=num_samples,
        refinement_steps=refinement_steps,
        full_covariance=full_covariance,
        num_simulated=num_simulated,
        weights=weights,
        chunk_size=chunk_size,
        device=device_named(device),
        seed=seed,
    )
    print(f"{len(found.result.evidence.x)} {split} data")
    print(found.result.table())
    for sentence in (*found.result.notes, *found.caveats):
        print(f"  {sentence}")
    for sentence in found.result.health.values():
        print(f"  of the model: {sentence}")
    print(f"written to {', '.join(map(str, (found.path, *found.pictures)))}")
