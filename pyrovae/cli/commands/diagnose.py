"""``pyrovae diagnose``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any, Literal

import torch

from pyrovae import checks, evaluation, figures, progress
from pyrovae.cli.commands.device import device_named
from pyrovae.data import Split
from pyrovae.files import check_writable
from pyrovae.programs import Arguments
from pyrovae.runs import DataFactory, Run, caveats_of, first_data, other_data

__all__ = ["diagnose"]


def diagnose(
    run: str,
    data: DataFactory | None = None,
    split: Literal["test", "validation", "train"] = "test",
    num_data: int = 1000,
    num_samples: int = 100,
    refinement_steps: int = 200,
    full_covariance: bool = False,
    method: evaluation.Estimator | None = None,
    weights: Literal["best", "last"] = "best",
    chunk_size: int | None = None,
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Break down log p(x) into gaps of the posterior, distortion, and the parts of the rate; count active units.

    Args:
        run: the run's folder.
        data: the run's data at their present place, or other data.
        split: part of the data.
        num_data: number of data, from the first.
        num_samples: number of samples for each datum and ELBO.
        refinement_steps: number of steps in which the posterior is refined for each datum; 0 for none.
        full_covariance: refine the posterior to any covariance.
        method: the estimator of log p(x): Annealed, which is the default if latents can be annealed, Importance,
            Adaptive, or your own class.
        weights: weights of the best validation ELBO, or of the last epoch.
        chunk_size: number of latents to decode at a time; chosen by the program's size if not given.
        device: cpu, cuda, or auto for cuda where there is one.
        seed: seed of the samples.
    """
    folder = Run(run)
    checks.integer("num_data", num_data)
    checks.seed(seed)
    dataset, program = folder.load(weights, data)
    other = other_data(folder, dataset, data is not None)
    where = device_named(device)
    part: Split = getattr(dataset.to(where), split).with_fixed_noise()
    program.to(where)

    def watched(what: str, batches: list[Arguments]) -> Iterator[Arguments]:
        with progress.bar(what, sum(len(batch[0]) for batch in batches), "image") as bar:
            for batch in batches:
                yield batch
                bar.update(len(batch[0]))

    check_writable(folder.folder / "diagnosis")
    torch.manual_seed(seed)
    start = time.perf_counter()
    result = evaluation.diagnose(
        program.model,
        program.guide,
        first_data(program, part, num_data),
        num_samples=num_samples,
        refinement_steps=refinement_steps,
        full_covariance=full_covariance,
        estimator=method,
        chunk_size=chunk_size,
        wrap_batches=watched,
    )
    caveats = [*caveats_of(program, dataset), *([] if other is None else [other.sentence])]
    summary = {
        "split": split,
        **result.summary(),
        "num_samples": num_samples,
        "refinement_steps": refinement_steps,
        "full_covariance": full_covariance,
        "estimator": None if method is None else {"class": type(method).__name__, **method.options},
        "caveats": caveats,
        "weights": weights,
        "seed": seed,
        "seconds": time.perf_counter() - start,
        "versions": {package: version(package) for package in ("pyrovae", "torch", "pyro-ppl", "arviz")},
    }
    name = split + ("" if other is None else other.suffix)
    path = folder.save_diagnosis(name, summary)
    picture = folder.folder / "figures" / f"diagnosis-{name}-nats.png"
    steps: dict[str, Any] = {name: fig.value for name, fig in result.figures.items() if not name.endswith("gap")}
    figures.save(figures.elbo_breakdown(**steps, saturated=result.rate_distortion.saturated), picture, dpi=120)
    print(f"{len(result.evidence.x)} {split} images")
    print(result.table())
    for sentence in (*result.notes, *caveats):
        print(f"  {sentence}")
    print(f"written to {path} and {picture}")
