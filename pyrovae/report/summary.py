"""The page's beginning, in words: what was trained, how good it is, whether to trust that, and what to do next."""

from __future__ import annotations

import json
import shlex
from typing import Any

import torch

from pyrovae import checks
from pyrovae.data import DataSet
from pyrovae.execution import evaluating
from pyrovae.likelihoods import Likelihood
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from pyrovae.runs import DataRecord, Run, common_evaluation
from pyrovae.training import History

__all__ = ["accuracy", "best_evaluation", "likelihood", "next_steps", "reproduction_steps", "trained"]

_COLLAPSED = 0.1  # nats, below which the codes say nothing of the data


def trained(data: DataRecord, program: Any, history: History) -> str:
    """Say what the program is, on what it was trained and how well that went.

    Args:
        data: what the run keeps of its data.
        program: the trained program.
        history: of its training.
    """
    conditionals = [
        type(part).__name__ for part in program.children() if isinstance(part, Prior | Likelihood | Posterior)
    ]
    latent_dim = getattr(getattr(program, "prior", None), "latent_dim", None)
    bounded = getattr(getattr(program, "posterior", None), "has_density", True)
    name = type(program).__name__
    article = "An" if name[0] in "AEIO" else "A"
    return (
        f"{article} {name}"
        + (f" of {latent_dim} latent{'s' if latent_dim != 1 else ''}" if latent_dim is not None else "")
        + (f" ({', '.join(conditionals)})" if conditionals else "")
        + f", trained on {data.sizes['train']:,} images of {data.name} "
        f"({data.kind}, shape {' x '.join(map(str, data.data_shape))}) for {_counted(len(history.epochs), 'epoch')}. "
        f"The best validation {'ELBO' if bounded else 'objective'}, {_signed(history.best_value)} nats per image, "
        f"came after epoch {history.best_epoch}; the weights are those of that epoch."
    )


def best_evaluation(entries: dict[str, dict[str, Any]]) -> str | None:
    """Name the evaluation of test images that came closest to log p(x), if there is one.

    Args:
        entries: figures of the run's evaluations, by name.
    """
    usable = {name: entry for name, entry in entries.items() if entry.get("nll") is not None}
    try:
        return common_evaluation({"run": usable})
    except checks.InputError:
        return None


def likelihood(entry: dict[str, Any]) -> dict[str, Any]:
    """Say how likely test images are, and whether to trust the number, in sentences that the evaluation has.

    Args:
        entry: figures of an evaluation.

    Returns:
        the ``sentence``, the ``figures`` (what, how much, how certain), and ``trust``, a sentence each.
    """
    nll, error, noise = f"{entry['nll']:.2f}", entry["standard_error"], entry["mc_error"]
    errors = [] if error is None else [f"±{error:.2f} over the choice of images"]
    errors += [] if noise is None else [f"±{noise:.2g} over that of samples"]
    bits = entry["bits_per_dim"]
    sentence = f"The negative log-likelihood of {entry['num_data']:,} test images is {nll} nats per image"
    sentence += f" ({', '.join(errors)})" if errors else ""
    sentence += "." if bits is None else f", or {bits:.3f} bits per dimension."
    found = [("NLL, nats per image", nll, " ".join(errors[:1]))]
    found += [] if bits is None else [("bits per dimension", f"{bits:.3f}", "")]
    if entry["elbo"] is not None:
        found.append(("ELBO, nats per image", _signed(entry["elbo"]), ""))
    if entry["share_annealed"] < 1 and entry["pareto_k"].get("50%") is not None:
        found.append(("k̂ above its threshold", f"{entry['pareto_k']['share_above']:.1%}", "of the images"))
    sandwich = entry.get("sandwich")
    trust = [entry["verdict"], *([] if sandwich is None else [sandwich["sentence"]]), *entry["caveats"]]
    return {"sentence": sentence, "figures": found, "trust": trust}


def next_steps(
    run: Run, data: DataRecord, program: Any, history: History, entry: dict[str, Any] | None
) -> list[tuple[str, str]]:
    """Say what to do next, each with its command, which may be empty.

    Args:
        run: the run.
        data: what it keeps of its data.
        program: the trained program.
        history: of its training.
        entry: figures of the best evaluation, if there is one.
    """
    folder = shlex.quote(str(run.folder))
    best, last = history.epochs[history.best_epoch - 1], history.epochs[-1]
    bounded = getattr(getattr(program, "posterior", None), "has_density", True)
    refitted = (run.folder / "refitted.json").exists()
    steps = []
    if bounded and best.validation_kl < _COLLAPSED:
        told = (
            f"The codes carry {abs(best.validation_kl):.2f} nats per image, next to nothing: the posterior has "
            "collapsed to the prior. A weight of the KL that grows over the first epochs, or a smaller learning rate, "
            "may help."
        )
        warmup = max(1, min(20, len(history.epochs) // 2))
        steps.append((told, f"pyrovae train --config {folder}/config.yaml --kl_warmup {warmup} --run NEW_FOLDER"))
    elif last.epoch == history.best_epoch and last.epoch > 1 and not refitted:
        told = "The last epoch is the best one: more epochs may be better still."
        steps.append((told, f"pyrovae train --resume true --epochs {2 * last.epoch} --run {folder}"))
    if not bounded:
        told = "A deterministic encoder has no marginal likelihood: compare reconstructions instead."
        if refitted:
            return [*steps, (told, "")]
        told += " Its codes are not like the prior; fit one to them to draw samples."
        return [*steps, (told, f"pyrovae refit_prior {folder} --out NEW_FOLDER")]
    if entry is None:
        told = "The likelihood of the test images, and whether to trust it, is not known yet."
        return [*steps, (told, f"pyrovae evaluate {folder}")]
    if entry["share_annealed"] == 0 and entry["pareto_k"].get("50%") is None:
        told = f"{_counted(entry['num_samples'], 'sample')} of each image tell too little: take more."
        steps.append((told, f"pyrovae evaluate {folder} --num_samples 5000"))
    elif entry["share_annealed"] == 0 and entry["pareto_k"]["share_above"] > 0:
        told = "Where k̂ is too large, importance samples are not enough: Adaptive anneals chains there."
        steps.append((told, f"pyrovae evaluate {folder} --method Adaptive"))
    if entry["num_data"] < data.sizes["test"]:
        every, some = f"{data.sizes['test']:,}", f"{entry['num_data']:,}"
        told = f"Of {every} test images {some} were evaluated: publish a number of them all."
        steps.append((told, f"pyrovae evaluate {folder}"))
    if not run.diagnoses():
        told = "A diagnosis tells where the nats go: gaps of the posterior, distortion, rate, active units."
        steps.append((told, f"pyrovae diagnose {folder}"))
    return steps


def reproduction_steps(run: Run) -> list[tuple[str, str]]:
    """Say how to make the run again, with a command each.

    Args:
        run: the run.
    """
    folder = shlex.quote(str(run.folder))
    told = "The same run again, from the configuration below:"
    steps = [(told, f"pyrovae train --config {folder}/config.yaml --run NEW_FOLDER")]
    path = run.folder / "refitted.json"
    if path.exists():
        try:
            origin = shlex.quote(str(json.loads(path.read_text(encoding="utf-8"))["run"]))
        except (KeyError, TypeError, ValueError) as error:
            raise checks.InputError(f"{path} must name the run that was refitted: {checks.reason(error)}") from error
        told = f"Its prior was refitted to the codes of {origin}, with the prior of the configuration below:"
        return [(told, f"pyrovae refit_prior {origin} --out NEW_FOLDER")]
    return steps


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def accuracy(data: DataSet, program: Any) -> str:
    """Say how often a program that names classes is right on test data, if it is one and their classes are known.

    Args:
        data: the data set.
        program: the trained program.
    """
    if data.test.labels is None or not callable(getattr(program, "classify", None)):
        return ""
    with evaluating(program.guide):
        told = torch.cat([program.classify(x).argmax(-1) for x in data.test.batches(1000)])
    known = data.test.labels >= 0
    right = (told == data.test.labels)[known].double().mean().item()
    return f" It names the class of {right:.1%} of the test images." if bool(known.any()) else ""
