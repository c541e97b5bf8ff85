"""``pyrovae evaluate``."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from typing import Any, Literal

import torch

from pyrovae import checks, distributed, matmul, progress
from pyrovae.cli.commands.adaptive import within
from pyrovae.cli.commands.device import device_named
from pyrovae.data import Split
from pyrovae.evaluation import Annealing, LogMarginal, Sandwich, cross_check, log_marginal
from pyrovae.evaluation import sandwich as judge
from pyrovae.evaluation.likelihood.disk_buffer import Spool
from pyrovae.execution.chunking import Chunks
from pyrovae.files import check_writable
from pyrovae.matmul import Precision
from pyrovae.programs import uses_labels
from pyrovae.runs import DataFactory, Run, caveats_of, labels_of, other_data, template_of

__all__ = ["evaluate"]


def evaluate(
    run: str,
    data: DataFactory | None = None,
    split: Literal["test", "validation", "train"] = "test",
    num_samples: int | None = None,
    method: Literal["importance", "annealed"] = "importance",
    annealing: Annealing | None = None,
    target_error: float | None = None,
    max_seconds: float | None = None,
    max_samples: int | None = None,
    proposal_scale: float = 1.0,
    prior_share: float = 0.0,
    sandwich: bool = False,
    num_simulated: int | None = None,
    num_checked: int = 20,
    num_images: int | None = None,
    weights: Literal["best", "last"] = "best",
    num_draws: int = 10,
    chunk_size: int | None = None,
    precision: Precision = "float32",
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Estimate the marginal likelihood of a run's data, with its errors, and say whether to trust it.

    Args:
        run: the run's folder.
        data: where the run's data are now, if not where they were; or other data.
        split: which part of the data.
        num_samples: weights K of each image; 5000 importance samples or 16 annealed chains if not given.
        method: importance, for importance sampling from the posterior, or annealed, for chains from there to p(z|x).
        annealing: the path of annealed chains, and of a sandwich's.
        target_error: draw samples and anneal chains where they are needed, until the set's estimated bias and 1.645
            Monte Carlo errors are within so many nats; a later call with a smaller one goes on from there.
        max_seconds: time after which no more is begun on the way to the target.
        max_samples: decoder runs in all after which no more is begun on the way to the target.
        proposal_scale: by which the posterior is widened to draw importance samples from.
        prior_share: share of the importance samples that come from the prior.
        sandwich: bound the estimate from both sides on data simulated from the model.
        num_simulated: images to simulate for the sandwich; 100 if not given.
        num_checked: random images that annealed chains from the prior estimate once more, to find modes that the
            posterior misses; 0 for none.
        num_images: take only the first so many images.
        weights: those of the best validation ELBO, or of the last epoch.
        num_draws: posterior draws of each image to keep in the netCDF file.
        chunk_size: latents that go through the decoder at a time; by the program's size if not given.
        precision: of the networks' matrix products: float32, tf32 on GPUs that have it, or bfloat16; what they return
            and log-probabilities are float32 always.
        device: cpu, cuda, or auto for cuda where there is one.
        seed: of the samples.
    """
    folder = Run(run)
    annealed = method == "annealed"
    adaptive = target_error is not None
    if adaptive and (
        num_samples is not None or annealed or annealing or sandwich or proposal_scale != 1 or prior_share
    ):
        raise checks.InputError(
            "target_error must be left out where samples, a method, a path, a proposal or a sandwich are chosen: "
            "with a target all of these follow from it"
        )
    if not adaptive and (max_seconds is not None or max_samples is not None):
        raise checks.InputError("max_seconds and max_samples must be left out without a target_error, which they limit")
    K = checks.integer("num_samples", (16 if annealed else 5000) if num_samples is None else num_samples)
    if adaptive and distributed.count() > 1:
        raise checks.InputError(
            "target_error must be left out where there are several processes, for one decides where effort is needed, "
            f"but {target_error} was given to {distributed.count()}"
        )
    checks.seed(seed)
    checks.integer("num_checked", num_checked, minimum=0)
    if num_simulated is not None and not sandwich:
        raise checks.InputError("num_simulated must be left out without --sandwich true, whose images it counts")
    simulated = checks.integer("num_simulated", 100 if num_simulated is None else num_simulated)
    if annealing is not None and not (annealed or sandwich):
        raise checks.InputError("annealing must be left out unless method is annealed or sandwich true, but was given")
    path = annealing or Annealing()
    dataset, program = folder.load(weights, data)
    other = other_data(folder, dataset, data is not None)
    where = device_named(device)
    part: Split = getattr(dataset.to(where), split).with_fixed_noise()
    program.to(where)
    count = len(part) if num_images is None else min(checks.integer("num_images", num_images), len(part))
    name = f"{split}-adaptive" if adaptive else f"{split}-{method}-{K}"
    name += _named(path) if annealed else ""
    name += f"-scale{proposal_scale:g}" if proposal_scale != 1 else ""
    name += f"-share{prior_share:g}" if prior_share else ""
    name += f"-{precision}" if precision != "float32" else ""
    name += f"-first{count}" if count < len(part) else ""
    name += "-last" if weights == "last" else ""
    name += "" if other is None else other.suffix

    in_precision = partial(matmul.precision, precision, where)
    with_labels = uses_labels(program.model) == "always"

    def estimated() -> Spool:
        """Estimate block by block, with noise that hangs on the block alone; several processes take turns."""
        spool = Spool(folder.folder / "evaluation")
        chunks, found = Chunks(chunk_size), list[LogMarginal]()
        blocks = torch.arange(count).split(100)
        turns = distributed.shard_indices(len(blocks))
        total = sum(len(blocks[i]) for i in turns)
        with progress.bar(f"{split}, K = {K}", total, "image", hidden=distributed.rank() > 0) as bar:
            for i in turns:
                x = part[blocks[i]]
                arguments = (x, labels_of(part)[blocks[i]]) if with_labels else (x,)
                chunks.choose(program.model, arguments)
                torch.manual_seed(distributed.derive_seed(seed, i))
                block = log_marginal(
                    program.model,
                    program.guide,
                    arguments,
                    K,
                    method,
                    annealing=path if annealed else None,
                    proposal_scale=proposal_scale,
                    prior_share=prior_share,
                    num_draws=num_draws,
                    chunk_size=chunks.size,
                )
                (spool.add if distributed.count() == 1 else found.append)(distributed.on_cpu(block))
                bar.update(len(x))
        for block in distributed.gather_shards(found, everywhere=False):
            spool.add(block)
        return spool

    def bounded(path: Annealing, **effort: int) -> Sandwich:
        return judge(
            program.model,
            program.guide,
            template_of(program, dataset),
            method=method,
            annealing=path,
            proposal_scale=proposal_scale,
            prior_share=prior_share,
            chunk_size=chunk_size,
            **effort,
        )

    if sandwich:  # what it would refuse, it shall refuse before the long run
        bounded(replace(path, num_temperatures=1), num_samples=1, num_simulated=1)
    distributed.on_rank_zero(lambda: check_writable(folder.folder / "evaluation"))
    torch.manual_seed(seed)
    start = time.perf_counter()
    if target_error is not None:
        x = part[:count]
        with in_precision():
            effort = within(
                folder,
                name,
                program,
                (x, labels_of(part)[:count]) if with_labels else x,
                target_error,
                max_seconds=max_seconds,
                max_samples=max_samples,
                seed=seed,
                num_checked=num_checked,
                num_draws=num_draws,
                chunk_size=chunk_size,
            )
        result, bounds = effort.marginal, None
        verdict = f"{effort.verdict} {result.verdict}"
    else:
        with in_precision():
            spool = estimated()
        if distributed.rank() > 0:  # the first has them all, and goes on alone
            return
        result = spool.joined()
        if num_checked and not (annealed and path.start == "prior"):
            with in_precision():
                result = _checked(
                    result, program, labels_of(part) if with_labels else None, num_checked, seed, part, chunk_size
                )
        torch.manual_seed(seed)
        with in_precision():
            bounds = bounded(path, num_samples=K, num_simulated=simulated) if sandwich else None
        effort, verdict = None, result.verdict
    caveats = caveats_of(program, dataset)
    summary = {
        "split": split,
        **result.summary(),
        "verdict": verdict,
        "adaptive": None if effort is None else effort.summary(),
        "sandwich": None if bounds is None else {**bounds.summary(), "annealing": asdict(path)},
        "annealing": asdict(path) if annealed else None,
        "proposal_scale": proposal_scale,
        "prior_share": prior_share,
        "bits_per_dim": dataset.bits_per_dim(result.nll) if math.isfinite(result.nll) and not caveats else None,
        "caveats": caveats,
        "other_data": None if other is None else other.sentence,
        "weights": weights,
        "precision": precision,
        "seed": seed,
        "seconds": time.perf_counter() - start,
        "versions": {package: version(package) for package in ("pyrovae", "torch", "pyro-ppl", "arviz")},
    }
    written = folder.save_evaluation(name, summary, result)
    _tell(
        result,
        summary,
        [
            verdict,
            *([] if bounds is None else [bounds.sentence]),
            *caveats,
            *([] if other is None else [other.sentence]),
        ],
    )
    print(f"written to {written} and {written.with_suffix('.nc')}")


def _checked(
    result: LogMarginal,
    program: Any,
    labels: torch.Tensor | None,
    num_checked: int,
    seed: int,
    part: Split,
    chunk_size: int | None,
) -> LogMarginal:
    """Return the result with a check by chains from the prior, where the latents are continuous."""
    x = result.x.to(part[:1])
    try:
        check = cross_check(
            program.model,
            program.guide,
            x if labels is None else (x, labels[: len(x)]),
            result,
            num_checked,
            seed=seed,
            chunk_size=chunk_size,
        )
    except checks.InputError:  # latents that cannot be annealed: the verdict says that modes were not looked for
        return result
    return replace(result, check=check)


def _named(path: Annealing) -> str:
    """Tell what a path has of its own, for the name of a file."""
    other = Annealing()
    name = f"-T{path.num_temperatures}"
    name += f"-L{path.num_leapfrogs}" if path.num_leapfrogs != other.num_leapfrogs else ""
    name += f"-accept{path.target_acceptance:g}" if path.target_acceptance != other.target_acceptance else ""
    return name + (f"-from-{path.start}" if path.start != other.start else "")


def _tell(result: LogMarginal, summary: dict[str, Any], sentences: list[str]) -> None:
    bits = "" if summary["bits_per_dim"] is None else f", {summary['bits_per_dim']:.4f} bits/dim"
    effort = f"{len(result.x)} images, K = {summary['num_samples']}"
    if summary["adaptive"] is not None:
        effort = f"{len(result.x)} images, {summary['num_evaluations'] / len(result.x):,.0f} decoder runs each"
    if summary["annealing"] is not None:
        effort += f" chains, T = {summary['annealing']['num_temperatures']}"
    print(f"{summary['split']} NLL {result.nll:.2f} nats per image{bits} ({effort})")
    one = "unknown over test images, for there is one"
    over = one if len(result.x) == 1 else f"{result.sampling_error:.2f} over test images"
    noise = result.monte_carlo_error
    print(f"  standard error {over}, {'unknown' if math.isnan(noise) else f'{noise:.4f}'} Monte Carlo")
    print(f"  ELBO {result.elbo.mean():.2f} nats per image")
    if summary["annealing"] is not None:
        print(f"  acceptance {summary['acceptance']['50%']:.2f}, {result.ess.median():.1f} effective chains (medians)")
    for sentence in sentences:
        print(f"  {sentence}")
