"""Diagnosis of a run: the breakdown of log p(x) of its data, as figures and a picture in its folder."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from pyrovae import checks, figures
from pyrovae import evaluation as functions
from pyrovae.data import Split, SplitName
from pyrovae.evaluation import Diagnosis, Estimator
from pyrovae.files import check_writable
from pyrovae.runs.configuration import DataFactory
from pyrovae.runs.folder import Run
from pyrovae.runs.program import caveats_of, first_data, other_data

__all__ = ["RunDiagnosis", "diagnose_run"]


@dataclass(frozen=True)
class RunDiagnosis:
    """A diagnosis of a run, as it was written to the run's folder.

    Attributes:
        result: the breakdown of log p(x).
        caveats: sentences on the likelihood and the data.
        name: name of the diagnosis: the split, and a suffix for data that are not those of the run.
        path: path of the JSON file.
        picture: path of the picture.
    """

    result: Diagnosis
    caveats: list[str] = field(repr=False)
    name: str
    path: Path
    picture: Path


def diagnose_run(
    run: Run,
    estimator: Estimator | None = None,
    *,
    data: DataFactory | None = None,
    split: SplitName = "test",
    num_data: int = 1000,
    num_samples: int = 100,
    refinement_steps: int = 200,
    full_covariance: bool = False,
    weights: Literal["best", "last"] = "best",
    chunk_size: int | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> RunDiagnosis:
    """Break log p(x) of a run's data down into its parts, and write them to the run's folder.

    Args:
        run: the run.
        estimator: of log p(x); see :func:`pyrovae.diagnose`.
        data: the run's data at their present place, or other data; those of the run's configuration if not given.
        split: part of the data; ``all`` for all of them in the order in which they are stored.
        num_data: number of data, from the first.
        num_samples: number of samples of each datum for each ELBO.
        refinement_steps: number of steps in which the posterior is refined for each datum; 0 for none.
        full_covariance: True to refine the posterior to any covariance.
        weights: weights of the best validation ELBO, or of the last epoch.
        chunk_size: number of latents to run the model on at a time; chosen by the program's size if not given.
        device: device to run the program on.
        seed: seed of the samples.

    Raises:
        ValueError: if an option is bad, or the run and its data cannot be loaded.
    """
    checks.integer("num_data", num_data)
    checks.seed(seed)
    dataset, program = run.load(weights, data)
    other = None if data is None else other_data(run, dataset, split)
    part: Split = getattr(dataset.to(device), split).with_fixed_noise()
    program.to(device)
    check_writable(run.folder / "diagnosis")
    torch.manual_seed(seed)
    start = time.perf_counter()
    result = functions.diagnose(
        program.model,
        program.guide,
        first_data(program, part, num_data),
        num_samples=num_samples,
        refinement_steps=refinement_steps,
        full_covariance=full_covariance,
        estimator=estimator,
        chunk_size=chunk_size,
    )
    caveats = [*caveats_of(program, dataset), *([] if other is None else [other.sentence])]
    summary = {
        "split": split,
        **result.summary(),
        "num_samples": num_samples,
        "refinement_steps": refinement_steps,
        "full_covariance": full_covariance,
        "estimator": None if estimator is None else estimator.to_dict(),
        "caveats": caveats,
        "weights": weights,
        "seed": seed,
        "seconds": time.perf_counter() - start,
        "versions": {package: version(package) for package in ("pyrovae", "torch", "pyro-ppl", "arviz")},
    }
    name = split + ("" if other is None else other.suffix)
    path, picture = run.save_diagnosis(name, summary), run.folder / "figures" / f"diagnosis-{name}-nats.png"
    steps: dict[str, Any] = {name: each.value for name, each in result.figures.items() if not name.endswith("gap")}
    figures.save(figures.elbo_breakdown(**steps, saturated=result.rate_distortion.saturated), picture, dpi=120)
    return RunDiagnosis(result, caveats, name, path, picture)
