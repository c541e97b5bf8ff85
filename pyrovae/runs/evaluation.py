"""Evaluation of a run: log p(x) of its data, block by block, with checks, bounds and caveats, in its folder."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from pyrovae import checks, distributed, matmul, progress
from pyrovae.data import SplitName
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
from pyrovae.evaluation.baseline import Baseline, independent_baseline, table_baseline
from pyrovae.evaluation.health import findings
from pyrovae.evaluation.likelihood.disk_buffer import DiskBuffer
from pyrovae.evaluation.likelihood.resemblance import resemblance
from pyrovae.execution.chunking import Chunks
from pyrovae.files import check_writable
from pyrovae.likelihoods import Likelihood, TableLikelihood
from pyrovae.matmul import Precision
from pyrovae.prediction import is_discrete
from pyrovae.programs import Batch
from pyrovae.reprs import json_number
from pyrovae.runs.adaptive_state import AdaptiveStateFile
from pyrovae.runs.blocks import Blocks
from pyrovae.runs.compression import Compressed, compressed_size
from pyrovae.runs.configuration import DataFactory
from pyrovae.runs.folder import Run
from pyrovae.runs.program import caveats_of, template_of
from pyrovae.runs.run_log import log_evaluation

__all__ = ["Evaluation", "check_processes", "evaluate_run"]

_CHECKED = 1000  # number of data that the program's health is checked on
_FITTED = 10_000  # number of training data for the model without latents
_FITTED_VALUES = 2**26  # largest number of values of these, which bounds the memory


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of a run, as written to the run's folder.

    Attributes:
        result: log p(x) of each datum, with errors.
        summary: results of the set and options, as in the JSON file.
        sentences: of the estimate: the verdict, the result of the sandwich, and caveats.
        health: of the model: what is wrong with it, in sentences by kind.
        path: path of the JSON file; the results of each datum are beside it in a file ``.nc``.
        compressed: length of the data as a file that the program compresses, if asked for.
    """

    result: LogMarginal
    summary: dict[str, Any] = field(repr=False)
    sentences: list[str] = field(repr=False)
    health: dict[str, str] = field(repr=False)
    path: Path
    compressed: Compressed | None = None


def evaluate_run(
    run: Run,
    estimator: Estimator | None = None,
    *,
    data: DataFactory | None = None,
    split: SplitName = "test",
    num_data: int | None = None,
    sandwich: bool = False,
    reverse: Annealed | None = None,
    num_simulated: int | None = None,
    num_checked: int = 20,
    codec: bool = False,
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
        split: part of the data; ``all`` for all of them in the order in which they are stored.
        num_data: number of data to evaluate, from the first; all if not given.
        sandwich: True to bound the estimator's bias on data simulated from the model.
        reverse: chains of the sandwich's upper bound; those of the estimator, or ``Annealed()``, if not given.
        num_simulated: number of data to simulate for the sandwich; 100 if not given.
        num_checked: number of random data that chains from the prior estimate again, to find modes that the guide
            misses; 0 for none. ``Adaptive`` and ``Annealed`` have their own options for this.
        codec: True to compress the data, too, for the length of the file, see :func:`pyrovae.codec.compress`.
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
    checks.integer("num_checked", num_checked, minimum=0)
    checks.integer("num_draws", num_draws, minimum=0)
    _check_options(estimator, sandwich, reverse, num_simulated)
    blocks = Blocks.load(run, data=data, split=split, num_data=num_data, weights=weights, device=device, seed=seed)
    job = _Job(blocks, num_draws, chunk_size)
    name = f"{split}-{estimator.label}{blocks.suffix(precision)}"
    in_precision = partial(matmul.precision, precision, blocks.device)
    if sandwich:  # raise errors of the sandwich before the long run
        few = Annealed(num_temperatures=1, num_chains=1, start=_reverse(reverse, estimator).start)
        job.sandwich(few if isinstance(estimator, Annealed) else Importance(1), few, 1)
    distributed.on_rank_zero(lambda: check_writable(run.folder / "evaluation"))
    start = time.perf_counter()
    compressed = compressed_size(blocks) if codec else None
    with in_precision():
        if isinstance(estimator, Adaptive):
            result: LogMarginal | None = job.resume(run, name, estimator)
        else:
            result = job.by_blocks(run, estimator, split)
    if result is None:  # only the first process has the results, and continues
        return None
    with in_precision():
        from_prior = isinstance(estimator, Annealed) and estimator.start == "prior"
        if num_checked and result.check is None and not from_prior and not result.is_exact:
            result = job.with_check(result, num_checked)
        torch.manual_seed(seed)
        shown = distributed.rank() == 0
        bounds = job.sandwich(estimator, reverse, num_simulated or 100, progress=shown) if sandwich else None
    caveats = caveats_of(blocks.program, blocks.dataset)
    baseline = None if caveats or blocks.other is not None else job.baseline(result)  # other data have no training data
    health = job.health()
    if baseline is not None and (no_better := baseline.verdict(result.log_prob)) is not None:
        health["baseline"] = no_better
    alike = None if bounds is None else resemblance(result, bounds.estimate)
    bits = blocks.dataset.bits_per_dim(result.nll) if math.isfinite(result.nll) and not caveats else None
    summary = {
        "split": split,
        **result.summary(bits),
        "estimator": estimator.to_dict(),
        "adaptive": None if result.adaptive is None else result.adaptive.summary(),
        "sandwich": None
        if bounds is None
        else {
            **bounds.summary(),
            "reverse": {**_reverse(reverse, estimator).options, "keep_guide": False},  # no effect on reverse chains
            "resemblance": None if alike is None else alike.summary(),
        },
        "bits_per_dim": bits,
        "compressed": None
        if compressed is None
        else {part: getattr(compressed, part) for part in ("num_bytes", "nats", "bits_per_dim", "num_particles")},
        "baseline": None if baseline is None else _baseline_summary(baseline, result),
        "health": health,
        "caveats": caveats,
        "other_data": None if blocks.other is None else blocks.other.sentence,
        "weights": weights,
        "ema_decay": run.config().get("ema_decay"),
        "precision": precision,
        "seed": seed,
        "seconds": time.perf_counter() - start,
        "versions": {package: version(package) for package in ("pyrovae", "torch", "pyro-ppl", "arviz")},
    }
    sentences = [
        result.verdict,
        *([] if bounds is None else [bounds.sentence]),
        *([] if alike is None else [alike.sentence]),
        *caveats,
        *([] if blocks.other is None else [blocks.other.sentence]),
    ]
    path = run.save_evaluation(name, summary, result)
    log_evaluation(run, path.stem, summary)
    return Evaluation(result, summary, sentences, health, path, compressed)


def _baseline_summary(baseline: Baseline, result: LogMarginal) -> dict[str, Any]:
    gain, error = baseline.gain(result.log_prob)
    return {
        "nll": json_number(baseline.nll),
        "family": baseline.family,
        "gain": json_number(gain),
        "gain_error": json_number(error),
    }


def check_processes(estimator: Estimator) -> None:
    """Check that an estimator that takes all data together is run by one process."""
    if isinstance(estimator, Adaptive) and distributed.count() > 1:
        raise checks.InputError(
            "estimator must not be Adaptive where there are several processes, because one decides where samples are "
            f"needed, but there are {distributed.count()}"
        )


def _check_options(estimator: Estimator, sandwich: bool, reverse: Annealed | None, num_simulated: int | None) -> None:
    check_processes(estimator)
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
    """The blocks of data, and options of the evaluation."""

    blocks: Blocks
    num_draws: int
    chunk_size: int | None

    def by_blocks(self, run: Run, estimator: Estimator, part: str) -> LogMarginal | None:
        """Estimate block by block; return all results in the first process, and None in the others."""
        program, buffer = self.blocks.program, DiskBuffer(run.folder / "evaluation")

        def estimate(batch: Batch, chunk: int) -> LogMarginal:
            model, guide, kept = program.model, program.guide, self.num_draws
            return log_marginal(model, guide, batch, estimator, num_draws=kept, chunk_size=chunk, progress=False)

        for result in self.blocks.map(f"{part}, {estimator.label}", estimate, chunk_size=self.chunk_size):
            buffer.add(result)
        return None if distributed.rank() > 0 else buffer.concatenated()

    def resume(self, run: Run, name: str, estimator: Adaptive) -> LogMarginal:
        """Estimate all data together, continuing an earlier call of the same name."""
        batch = self.blocks.batch(slice(0, self.blocks.count))
        arguments = batch if isinstance(batch, tuple) else (batch,)
        path = run.folder / "evaluation" / f"{name}.safetensors"
        file = AdaptiveStateFile(path, self.blocks.program, arguments, self.blocks.seed, self.num_draws)
        state = file.load()
        with progress.bar(name, estimator.max_evaluations, " decoder runs", unit_scale=True) as bar:

            def show(result: AdaptiveResult) -> None:
                bar.set_postfix_str(result.progress, refresh=False)
                bar.update(result.num_evaluations - bar.n)
                file.save(result.state)

            result = estimator.estimate_batches(
                self.blocks.program.model,
                self.blocks.program.guide,
                [arguments],
                num_draws=self.num_draws,
                chunks=Chunks(self.chunk_size),
                seed=self.blocks.seed,
                state=state,
                callback=show,
            )
            if result.adaptive is not None:
                show(result.adaptive)
        return result

    def sandwich(
        self, estimator: Estimator, reverse: Annealed | None, count: int, *, progress: bool = False
    ) -> Sandwich:
        """Bound log p(x) of ``count`` data that are simulated from the model from both sides."""
        program = self.blocks.program
        has_gaps = self.blocks.part.has_missing  # simulated data have those of the run's data
        like = self.blocks.batch(slice(0, count)) if has_gaps else template_of(program, self.blocks.dataset)
        options: dict[str, Any] = {"num_simulated": count, "reverse": reverse, "chunk_size": self.chunk_size}
        options["progress"] = progress
        return bidirectional_sandwich(program.model, program.guide, like, estimator, **options)

    def health(self) -> dict[str, str]:
        """Return a sentence for each problem of the model that some of the data show, by name."""
        program, some = self.blocks.program, self.blocks.batch(slice(0, _CHECKED))
        return findings(program.model, program.guide, some, chunk_size=self.chunk_size)

    def baseline(self, result: LogMarginal) -> Baseline | None:
        """Return the best model without latents, fitted to the run's training data, if there is one of its kind."""
        train = self.blocks.dataset.train.with_fixed_noise()
        likelihood = getattr(self.blocks.program, "likelihood", None)
        if isinstance(likelihood, Likelihood):
            discrete = likelihood.discrete
        else:
            discrete = is_discrete(self.blocks.program.model, self.blocks.batch(slice(0, 2)))
        levels, counts = self.blocks.dataset.observed_levels, self.blocks.dataset.kind == "counts"
        fitted = min(_FITTED, max(100, _FITTED_VALUES // math.prod(self.blocks.dataset.data_shape)))
        first = train.take(torch.arange(min(fitted, len(train))))
        some = torch.cat(list(first.batches(1000)))  # in parts: their noise is hashed as integers of eight bytes
        if isinstance(likelihood, TableLikelihood):
            comparable = likelihood.caveat("table") is None  # probabilities are compared with probabilities
            return table_baseline(likelihood.schema, some, result.x) if comparable else None
        return independent_baseline(some, result.x, discrete=discrete, levels=levels, counts=counts)

    def with_check(self, result: LogMarginal, num_checked: int) -> LogMarginal:
        """Return the result with a check by chains from the prior, if the latents can be annealed."""
        model, guide = self.blocks.program.model, self.blocks.program.guide
        options: dict[str, Any] = {"seed": self.blocks.seed, "chunk_size": self.chunk_size}
        try:
            check = cross_check(
                model, guide, self.blocks.batch, result, num_checked, progress=distributed.rank() == 0, **options
            )
        except checks.InputError:  # the latents cannot be annealed, and the verdict will say that there was no check
            return result
        return replace(result, check=check)
