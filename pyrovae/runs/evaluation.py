"""Evaluation of a run: log p(x) of its data, block by block, with checks, bounds and caveats, in its folder."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from pyrovae import checks, distributed, matmul, progress
from pyrovae.data import DataSet, Split
from pyrovae.evaluation import (
    Adaptive,
    AdaptiveResult,
    Annealed,
    Estimator,
    Importance,
    LogMarginal,
    Sandwich,
    cross_check,
    log_marginal,
)
from pyrovae.evaluation import sandwich as bidirectional_sandwich
from pyrovae.evaluation.baseline import Baseline, independent_baseline
from pyrovae.evaluation.health import check_latents
from pyrovae.evaluation.likelihood.disk_buffer import DiskBuffer
from pyrovae.evaluation.likelihood.resemblance import resemblance
from pyrovae.evaluation.likelihood.result import finite
from pyrovae.execution.chunking import Chunks
from pyrovae.files import check_writable
from pyrovae.likelihoods import Likelihood
from pyrovae.matmul import Precision
from pyrovae.prediction import is_discrete
from pyrovae.programs import Batch, uses_labels
from pyrovae.runs.adaptive_state import AdaptiveStateFile
from pyrovae.runs.configuration import DataFactory
from pyrovae.runs.folder import Run
from pyrovae.runs.program import caveats_of, labels_of, other_data, template_of

__all__ = ["Evaluation", "evaluate_run"]

_BLOCK = 100  # number of data per block; each block has its own seed
_CHECKED = 200  # number of data whose latents are checked
_FITTED = 10_000  # number of training data for the model without latents
_FITTED_VALUES = 2**26  # and the number of their values, which bounds the memory


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of a run, as written to the run's folder.

    Attributes:
        result: log p(x) of each datum, with errors.
        summary: results of the set and options, as in the JSON file.
        sentences: the verdict, the result of the sandwich, and caveats.
        path: path of the JSON file; the results of each datum are beside it in a file ``.nc``.
    """

    result: LogMarginal
    summary: dict[str, Any]
    sentences: list[str]
    path: Path


def evaluate_run(
    run: Run,
    estimator: Estimator | None = None,
    *,
    data: DataFactory | None = None,
    split: Literal["test", "validation", "train"] = "test",
    num_data: int | None = None,
    sandwich: bool = False,
    reverse: Annealed | None = None,
    num_simulated: int | None = None,
    num_checked: int = 20,
    weights: Literal["best", "last"] = "best",
    num_draws: int = 10,
    chunk_size: int | None = None,
    precision: Precision = "float32",
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> Evaluation | None:
    """Estimate the marginal likelihood of a run's data, and write the result to the run's folder.

    Each block of 100 data has its own seed. Blocks are sharded over processes, and the first gathers the results.

    Args:
        run: the run.
        estimator: ``Importance()`` if not given.
        data: the run's data at their present place, or other data; those of the run's configuration if not given.
        split: part of the data.
        num_data: number of data to evaluate, from the first; all if not given.
        sandwich: whether to bound the estimator's bias on data simulated from the model.
        reverse: chains of the sandwich's upper bound; those of the estimator, or ``Annealed()``, if not given.
        num_simulated: number of data to simulate for the sandwich; 100 if not given.
        num_checked: number of random data that chains from the prior estimate again, to find modes that the guide
            misses; 0 for none. ``Adaptive`` has its own option for this.
        weights: weights of the best validation ELBO, or of the last epoch.
        num_draws: number of posterior draws of each datum to keep.
        chunk_size: number of latents to run the model on at a time; chosen by the program's size if not given.
        precision: precision of the networks' matrix products.
        device: device to run the program on.
        seed: seed of the samples.

    Returns:
        the evaluation; None in all processes except the first.

    Raises:
        ValueError: if an option is invalid, or the run and its data cannot be loaded.
    """
    estimator = Importance() if estimator is None else checks.instance("estimator", estimator, Estimator)
    checks.seed(seed)
    checks.integer("num_checked", num_checked, minimum=0)
    checks.integer("num_draws", num_draws, minimum=0)
    _check_options(estimator, sandwich, reverse, num_simulated)
    job = _Job.load(run, data, split, num_data, weights, num_draws, chunk_size, torch.device(device), seed)
    name = f"{split}-{estimator.label}{job.suffix(precision)}"
    in_precision = partial(matmul.precision, precision, job.device)

    def bound(estimator: Estimator, reverse: Annealed | None, count: int) -> Sandwich:
        like = template_of(job.program, job.dataset)
        model, guide = job.program.model, job.program.guide
        return bidirectional_sandwich(
            model, guide, like, estimator, num_simulated=count, reverse=reverse, chunk_size=chunk_size
        )

    if sandwich:  # raise errors of the sandwich before the long run
        few = Annealed(num_temperatures=1, num_chains=1, start=_reverse(reverse, estimator).start)
        bound(few if isinstance(estimator, Annealed) else Importance(1), few, 1)
    distributed.on_rank_zero(lambda: check_writable(run.folder / "evaluation"))
    start = time.perf_counter()
    with in_precision():
        if isinstance(estimator, Adaptive):
            result: LogMarginal | None = job.resume(run, name, estimator)
        else:
            result = job.by_blocks(run, estimator, split)
    if result is None:  # only the first process has the results, and continues
        return None
    with in_precision():
        from_prior = isinstance(estimator, Annealed) and estimator.start == "prior"
        if num_checked and result.check is None and not from_prior:
            result = job.with_check(result, num_checked)
        torch.manual_seed(seed)
        bounds = bound(estimator, reverse, num_simulated or 100) if sandwich else None
    caveats = caveats_of(job.program, job.dataset)
    baseline = None if caveats or job.other is not None else job.baseline(result)  # other data have no training data
    some = job.batch(slice(0, _CHECKED))
    latents = check_latents(job.program.model, job.program.guide, some, chunk_size=chunk_size)
    alike = None if bounds is None else resemblance(result, bounds.estimate)
    bits = job.dataset.bits_per_dim(result.nll) if math.isfinite(result.nll) and not caveats else None
    summary = {
        "split": split,
        **result.summary(bits),
        "estimator": estimator.to_dict(),
        "adaptive": None if result.adaptive is None else result.adaptive.summary(),
        "sandwich": None
        if bounds is None
        else {
            **bounds.summary(),
            "reverse": _reverse(reverse, estimator).options,
            "resemblance": None if alike is None else alike.summary(),
        },
        "bits_per_dim": bits,
        "baseline": None if baseline is None else _baseline_summary(baseline, result),
        "latents": latents,
        "caveats": caveats,
        "other_data": None if job.other is None else job.other.sentence,
        "weights": weights,
        "precision": precision,
        "seed": seed,
        "seconds": time.perf_counter() - start,
        "versions": {package: version(package) for package in ("pyrovae", "torch", "pyro-ppl", "arviz")},
    }
    sentences = [
        result.verdict,
        *([] if bounds is None else [bounds.sentence]),
        *([] if alike is None else [alike.sentence]),
        *([] if latents is None else [latents]),
        *([] if baseline is None else filter(None, [baseline.verdict(result.log_prob)])),
        *caveats,
        *([] if job.other is None else [job.other.sentence]),
    ]
    return Evaluation(result, summary, sentences, run.save_evaluation(name, summary, result))


def _baseline_summary(baseline: Baseline, result: LogMarginal) -> dict[str, Any]:
    gain, error = baseline.gain(result.log_prob)
    verdict = baseline.verdict(result.log_prob)
    return {
        "nll": finite(baseline.nll),
        "family": baseline.family,
        "gain": finite(gain),
        "gain_error": finite(error),
        "verdict": verdict,
    }


def _check_options(estimator: Estimator, sandwich: bool, reverse: Annealed | None, num_simulated: int | None) -> None:
    if isinstance(estimator, Adaptive) and distributed.count() > 1:
        raise checks.InputError(
            "estimator must not be Adaptive where there are several processes, because one decides where samples are "
            f"needed, but there are {distributed.count()}"
        )
    if isinstance(estimator, Adaptive) and sandwich:
        raise checks.InputError("sandwich must be false where the estimator is Adaptive: it bounds the others")
    if not sandwich and (reverse is not None or num_simulated is not None):
        given = "num_simulated" if reverse is None else "reverse"
        raise checks.InputError(f"{given} must be left out unless sandwich is true, whose option it is")
    if num_simulated is not None:
        checks.integer("num_simulated", num_simulated)


def _reverse(reverse: Annealed | None, estimator: Estimator) -> Annealed:
    """Return the chains of a sandwich's upper bound."""
    return reverse or (estimator if isinstance(estimator, Annealed) else Annealed())


@dataclass(frozen=True)
class _Job:
    """A trained program, the data to evaluate it on, and the options of the evaluation."""

    program: Any
    dataset: DataSet
    split: Split
    count: int
    other: Any
    weights: str
    num_draws: int
    chunk_size: int | None
    device: torch.device
    seed: int

    @classmethod
    def load(
        cls,
        run: Run,
        data: DataFactory | None,
        split: str,
        num_data: int | None,
        weights: Literal["best", "last"],
        num_draws: int,
        chunk_size: int | None,
        device: torch.device,
        seed: int,
    ) -> _Job:
        dataset, program = run.load(weights, data)
        other = other_data(run, dataset, data is not None)
        part: Split = getattr(dataset.to(device), split).with_fixed_noise()
        program.to(device)
        count = len(part) if num_data is None else min(checks.integer("num_data", num_data), len(part))
        return cls(program, dataset, part, count, other, weights, num_draws, chunk_size, device, seed)

    def suffix(self, precision: Precision) -> str:
        """Return a suffix of file names that distinguishes this evaluation from others by the same estimator."""
        suffix = f"-{precision}" if precision != "float32" else ""
        suffix += f"-first{self.count}" if self.count < len(self.split) else ""
        suffix += "-last" if self.weights == "last" else ""
        return suffix + ("" if self.other is None else self.other.suffix)

    def batch(self, index: torch.Tensor | slice) -> Batch:
        """Return data as the program takes them: x, or (x, y) if it always takes labels."""
        x = self.split[index]
        return (x, labels_of(self.split)[index]) if uses_labels(self.program.model) == "always" else x

    def by_blocks(self, run: Run, estimator: Estimator, part: str) -> LogMarginal | None:
        """Estimate block by block; return all results in the first process, and None in the others."""
        buffer = DiskBuffer(run.folder / "evaluation")
        chunks, results = Chunks(self.chunk_size), list[LogMarginal]()
        blocks = torch.arange(self.count).split(_BLOCK)
        shard = distributed.shard_indices(len(blocks))
        total, seeds = sum(len(blocks[i]) for i in shard), distributed.derive_seeds(self.seed, len(blocks))
        with progress.bar(f"{part}, {estimator.label}", total, "datum", hidden=distributed.rank() > 0) as bar:
            for i in shard:
                batch = self.batch(blocks[i])
                chunks.choose(self.program.model, batch if isinstance(batch, tuple) else (batch,))
                torch.manual_seed(seeds[i])
                result = log_marginal(
                    self.program.model,
                    self.program.guide,
                    batch,
                    estimator,
                    num_draws=self.num_draws,
                    chunk_size=chunks.size,
                )
                (buffer.add if distributed.count() == 1 else results.append)(distributed.on_cpu(result))
                bar.update(len(blocks[i]))
        for result in distributed.gather_shards(results, everywhere=False):
            buffer.add(result)
        return None if distributed.rank() > 0 else buffer.concatenated()

    def resume(self, run: Run, name: str, estimator: Adaptive) -> LogMarginal:
        """Estimate all data together, continuing an earlier call of the same name."""
        batch = self.batch(slice(0, self.count))
        arguments = batch if isinstance(batch, tuple) else (batch,)
        path = run.folder / "evaluation" / f"{name}.safetensors"
        file = AdaptiveStateFile(path, self.program, arguments, self.seed, self.num_draws)
        state = file.load()
        with progress.bar(name, estimator.max_evaluations, " decoder runs", unit_scale=True) as bar:

            def show(result: AdaptiveResult) -> None:
                errors = f"Monte Carlo error {result.monte_carlo_error:.2g}, bias {result.bias:.2g}"
                bar.set_postfix_str(f"{errors}, {result.num_unreliable} unreliable", refresh=False)
                bar.update(result.num_evaluations - bar.n)
                file.save(result.state)

            result = estimator.estimate_batches(
                self.program.model,
                self.program.guide,
                [arguments],
                num_draws=self.num_draws,
                chunks=Chunks(self.chunk_size),
                seed=self.seed,
                state=state,
                callback=show,
            )
            if result.adaptive is not None:
                show(result.adaptive)
        return result

    def baseline(self, result: LogMarginal) -> Baseline | None:
        """Return the best model without latents, fitted to the run's training data, if there is one of its kind."""
        train = self.dataset.train.with_fixed_noise()
        likelihood = getattr(self.program, "likelihood", None)
        if isinstance(likelihood, Likelihood):
            discrete = likelihood.discrete
        else:
            discrete = is_discrete(self.program.model, self.batch(slice(0, 2)))
        levels, counts = self.dataset.observed_levels, self.dataset.kind == "counts"
        x = result.x.to(train[:1])
        fitted = min(_FITTED, max(100, _FITTED_VALUES // x[0].numel()))
        return independent_baseline(train[:fitted], x, discrete=discrete, levels=levels, counts=counts)

    def with_check(self, result: LogMarginal, num_checked: int) -> LogMarginal:
        """Return the result with a check by chains from the prior, if the latents can be annealed."""
        x = result.x.to(self.split[:1])
        labels = uses_labels(self.program.model) == "always"
        data = (x, labels_of(self.split)[: len(x)]) if labels else x
        model, guide = self.program.model, self.program.guide
        try:
            check = cross_check(model, guide, data, result, num_checked, seed=self.seed, chunk_size=self.chunk_size)
        except checks.InputError:  # the latents cannot be annealed, and the verdict will say that there was no check
            return result
        return replace(result, check=check)
