"""``pyrovae evaluate``."""

from __future__ import annotations

from typing import Literal

from pyrovae import checks
from pyrovae.cli.commands.device import device_named
from pyrovae.data import SplitName
from pyrovae.evaluation import Annealed, Estimator, Importance
from pyrovae.matmul import Precision
from pyrovae.runs import DataFactory, Evaluation, Run, evaluate_run

__all__ = ["estimator_of", "evaluate"]


def evaluate(
    run: str,
    data: DataFactory | None = None,
    split: SplitName = "test",
    method: Estimator | None = None,
    num_samples: int | None = None,
    sandwich: bool = False,
    reverse: Annealed | None = None,
    num_simulated: int | None = None,
    num_checked: int = 20,
    codec: bool = False,
    num_data: int | None = None,
    weights: Literal["best", "last"] = "best",
    num_draws: int = 10,
    chunk_size: int | None = None,
    precision: Precision = "float32",
    device: str = "auto",
    seed: int = 0,
) -> None:
    """Estimate the marginal likelihood of a run's data with its errors, and say whether to trust it.

    Args:
        run: the run's folder.
        data: the run's data at their present place, or other data.
        split: part of the data; all takes all of them, in the order of the file.
        method: the estimator: Importance, which is the default, Annealed, Adaptive, or your own class.
        num_samples: short for --method Importance --method.num_samples.
        sandwich: bound the estimate from both sides on data simulated from the model.
        reverse: chains of the sandwich's upper bound; those of the method, if it is Annealed, or else Annealed.
        num_simulated: number of data to simulate for the sandwich; 100 if not given.
        num_checked: number of random data that annealed chains from the prior estimate again, to find modes that the
            posterior misses; 0 for none. Adaptive and Annealed have their own options for this.
        codec: also compress the data, and print the length of the file beside the NLL.
        num_data: number of data to evaluate, from the first; all if not given.
        weights: weights of the best validation ELBO, or of the last epoch.
        num_draws: number of posterior draws of each datum to keep in the netCDF file.
        chunk_size: number of latents to decode at a time; chosen by the program's size if not given.
        precision: precision of the networks' matrix products: float32, tf32 on GPUs that have it, or bfloat16; their
            results and log-probabilities are always float32.
        device: cpu, cuda, or auto for cuda where there is one.
        seed: seed of the samples.
    """
    found = evaluate_run(
        Run(run),
        estimator_of(method, num_samples),
        data=data,
        split=split,
        num_data=num_data,
        sandwich=sandwich,
        reverse=reverse,
        num_simulated=num_simulated,
        num_checked=num_checked,
        codec=codec,
        weights=weights,
        num_draws=num_draws,
        chunk_size=chunk_size,
        precision=precision,
        device=device_named(device),
        seed=seed,
    )
    if found is not None:
        _print(found)
        print(f"written to {found.path} and {found.path.with_suffix('.nc')}")


def estimator_of(method: Estimator | None, num_samples: int | None) -> Estimator | None:
    """Return the estimator that ``--method`` or ``--num_samples`` asks for; None where neither is given."""
    if num_samples is None:
        return method
    if method is not None:
        raise checks.InputError(
            f"num_samples must be left out where a method is given, which has options of its own, but {num_samples}"
            f" was given beside {method}"
        )
    return Importance(num_samples)


def _print(found: Evaluation) -> None:
    summary = found.summary
    first, *others, _ = found.result.lines(summary["bits_per_dim"])  # the verdict is the first of the sentences
    print(f"{summary['split']} {first}")
    if (baseline := summary["baseline"]) is not None:
        family = f"independent {baseline['family']} features"
        others.insert(2, f"  NLL without latents {baseline['nll']:.2f} ({family}, fitted to the training data)")
    if summary["ema_decay"] is not None:
        others.append(f"  weights: averages over the training (ema_decay {summary['ema_decay']:g})")
    if found.compressed is not None:
        others.insert(1, f"  {found.compressed.line}")
    for line in others:
        print(line)
    for subject, sentences in (("estimate", found.sentences), ("model", found.health.values())):
        for sentence in sentences:
            print(f"  of the {subject}: {sentence}")
