"""Summary of a run in words: the program, its likelihood and its reliability, and next steps."""

from __future__ import annotations

import json
import shlex
from typing import Any

import torch

from pyrovae import checks
from pyrovae.data import DataSet, SplitName
from pyrovae.evaluation.health import COLLAPSED, findings
from pyrovae.execution import evaluating
from pyrovae.likelihoods import Likelihood
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from pyrovae.runs import DataRecord, OtherData, Run, common_evaluation, evaluations_of, first_data
from pyrovae.training import History

__all__ = ["accuracy", "best_evaluation", "health", "likelihood", "next_steps", "reproduction_steps", "trained"]


_CHECKED = 1000  # number of data that the program's health is checked on


def trained(data: DataRecord, program: Any, history: History, *, saved: bool = False) -> str:
    """Describe the program, its data and the best epoch of its training.

    Args:
        saved: whether it was trained in Python and saved, with the weights that it had then.
        data: the run's record of its data.
        program: the trained program.
        history: history of its training.
    """
    conditionals = [
        type(part).__name__ for part in program.children() if isinstance(part, Prior | Likelihood | Posterior)
    ]
    latent_dim = getattr(getattr(program, "prior", None), "latent_dim", None)
    bounded = getattr(getattr(program, "posterior", None), "has_density", True)
    name = type(program).__name__
    article = "An" if name[0] in "AEIO" else "A"
    epochs = f" for {_counted(len(history.epochs), 'epoch')}" if history.epochs else ""
    best = (
        f" The best validation {'ELBO' if bounded else 'objective'}, {_signed(history.best_value)} nats per datum, "
        f"came after epoch {history.best_epoch}" + ("." if saved else "; the weights are those of that epoch.")
    )
    return (
        f"{article} {name}"
        + (f" of {latent_dim} latent{'s' if latent_dim != 1 else ''}" if latent_dim is not None else "")
        + (f" ({', '.join(conditionals)})" if conditionals else "")
        + f", trained on {data.sizes['train']:,} {'data' if data.schema is None else 'rows'} of {data.name} "
        f"({data.kind}, shape {' x '.join(map(str, data.data_shape))}){epochs}."
        + (best if history.epochs else "")
        + (" The weights are those that it had when it was saved." if saved else "")
    )


def best_evaluation(
    entries: dict[str, dict[str, Any]], other: OtherData | None = None, split: SplitName = "test"
) -> str | None:
    """Return the name of the evaluation of a split that came closest to log p(x), or None.

    Args:
        entries: results of the run's evaluations, by name.
        other: other data that were evaluated; the run's own if None.
        split: part of the data.
    """
    usable = {name: entry for name, entry in evaluations_of(entries, other).items() if entry.get("nll") is not None}
    try:
        name = common_evaluation({"run": usable}, split)
    except checks.InputError:
        return None
    return name if other is None else name + other.suffix


def likelihood(entry: dict[str, Any]) -> dict[str, Any]:
    """Describe the likelihood of test data and its reliability, with the sentences of the evaluation.

    Args:
        entry: results of an evaluation.

    Returns:
        the ``sentence``; the ``figures``, each with name, value and error; and ``trust``, a list of sentences.
    """
    nll, error, noise = f"{entry['nll']:.2f}", entry["standard_error"], entry["mc_error"]
    errors = [] if error is None else [f"±{error:.2f} over the choice of data"]
    errors += [] if noise is None else [f"±{noise:.2g} over that of samples"]
    bits = entry["bits_per_dim"]
    sentence = f"The negative log-likelihood of {entry['num_data']:,} test data is {nll} nats per datum"
    sentence += f" ({', '.join(errors)})" if errors else ""
    sentence += "." if bits is None else f", or {bits:.3f} bits per dimension."
    found = [("NLL, nats per datum", nll, " ".join(errors[:1]))]
    found += [] if bits is None else [("bits per dimension", f"{bits:.3f}", "")]
    if entry["elbo"] is not None:
        found.append(("ELBO, nats per datum", _signed(entry["elbo"]), ""))
    if entry["share_annealed"] < 1 and entry["pareto_k"].get("50%") is not None:
        found.append(("k̂ above its threshold", f"{entry['pareto_k']['share_above']:.1%}", "of the data"))
    sandwich = entry.get("sandwich")
    baseline = entry.get("baseline") or {}
    if baseline.get("nll") is not None:
        found.append(("NLL without latents, nats per datum", f"{baseline['nll']:.2f}", baseline["family"]))
    certificate = (entry.get("certificate") or {}).get("sentence")
    certified = None if certificate is None else f"{certificate}: of these data and this model."
    further = [certified, (sandwich or {}).get("sentence")]
    trust = [entry["verdict"], *(sentence for sentence in further if sentence), *entry["caveats"]]
    return {"sentence": sentence, "figures": found, "trust": trust}


def health(program: Any, data: DataSet | None, history: History, entry: dict[str, Any] | None) -> list[str]:
    """Return what is wrong with the model and the curves of its training, in sentences.

    Args:
        program: the trained program.
        data: the run's data, if they are there.
        history: history of its training.
        entry: results of the best evaluation, or None.
    """
    found = {} if entry is None else dict(entry.get("health") or {})
    if data is not None:
        found |= findings(program.model, program.guide, first_data(program, data.validation, _CHECKED))
    return list({**found, **history.findings()}.values())


def next_steps(
    run: Run, data: DataRecord, program: Any, history: History, entry: dict[str, Any] | None
) -> list[tuple[str, str]]:
    """Suggest next steps, each with a command, which may be empty.

    Args:
        run: the run.
        data: the run's record of its data.
        program: the trained program.
        history: history of its training.
        entry: results of the best evaluation, or None.
    """
    folder = shlex.quote(str(run.folder))
    bounded = getattr(getattr(program, "posterior", None), "has_density", True)
    fixed = run.was_saved or (run.folder / "refitted.json").exists()
    steps = []
    best, last = (history.epochs[history.best_epoch - 1], history.epochs[-1]) if history.epochs else (None, None)
    if bounded and best is not None and best.validation_kl < COLLAPSED:
        text = (
            f"The codes carry {abs(best.validation_kl):.2f} nats per datum, next to nothing: the posterior has "
            "collapsed to the prior. A weight of the KL that grows over the first epochs, or a smaller learning rate, "
            "may help."
        )
        warmup = max(1, min(20, len(history.epochs) // 2))
        command = f"pyrovae train --config {folder}/config.yaml --kl_warmup {warmup} --run NEW_FOLDER"
        steps.append((text, "" if run.was_saved else command))
    elif last is not None and last.epoch == history.best_epoch and last.epoch > 1 and not fixed:
        text = "The last epoch is the best one: more epochs may be better still."
        steps.append((text, f"pyrovae train --resume true --epochs {2 * last.epoch} --run {folder}"))
    if not bounded:
        text = "A deterministic encoder has no marginal likelihood: compare reconstructions instead."
        if (run.folder / "refitted.json").exists():
            return [*steps, (text, "")]
        text += " Its codes are not like the prior; fit one to them to draw samples."
        return [*steps, (text, f"pyrovae refit_prior {folder} --out NEW_FOLDER")]
    if entry is None:
        text = "The likelihood of the test data, and whether to trust it, is not known yet."
        return [*steps, (text, f"pyrovae evaluate {folder}")]
    if entry["share_annealed"] == 0 and entry["pareto_k"].get("50%") is None:
        text = f"{_counted(entry['num_samples'], 'sample')} of each datum are too few for k̂: take more."
        steps.append((text, f"pyrovae evaluate {folder} --num_samples 5000"))
    elif entry["share_annealed"] == 0 and entry["pareto_k"]["share_above"] > 0:
        text = "Where k̂ is too large, importance samples are not enough: Adaptive anneals chains there."
        steps.append((text, f"pyrovae evaluate {folder} --method Adaptive"))
    if entry["num_data"] < data.sizes["test"]:
        every, some = f"{data.sizes['test']:,}", f"{entry['num_data']:,}"
        text = f"Of {every} test data {some} were evaluated: publish a number of them all."
        steps.append((text, f"pyrovae evaluate {folder}"))
    if not run.diagnoses():
        text = "A diagnosis shows where the nats go: gaps of the posterior, distortion, rate, active units."
        steps.append((text, f"pyrovae diagnose {folder}"))
    return steps


def reproduction_steps(run: Run) -> list[tuple[str, str]]:
    """Describe how to repeat the run, each step with a command.

    Args:
        run: the run.
    """
    folder = shlex.quote(str(run.folder))
    text = "The same run again, from the configuration below:"
    steps = [(text, f"pyrovae train --config {folder}/config.yaml --run NEW_FOLDER")]
    if run.was_saved:
        return [
            ("It was trained in Python and saved by pyrovae.save; this is the configuration of program and data:", "")
        ]
    path = run.folder / "refitted.json"
    if path.exists():
        try:
            origin = shlex.quote(str(json.loads(path.read_text(encoding="utf-8"))["run"]))
        except (KeyError, OSError, RecursionError, TypeError, ValueError) as error:
            raise checks.InputError(f"{path} must name the run that was refitted: {checks.reason(error)}") from error
        text = f"Its prior was refitted to the codes of {origin}, with the prior of the configuration below:"
        return [(text, f"pyrovae refit_prior {origin} --out NEW_FOLDER")]
    return steps


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def accuracy(data: DataSet, program: Any) -> str:
    """Describe the accuracy of a classifying program on test data; empty for other programs or unknown classes.

    Args:
        data: the data set.
        program: the trained program.
    """
    if data.test.labels is None or not callable(getattr(program, "classify", None)):
        return ""
    with evaluating(program.guide):
        predicted = torch.cat([program.classify(x).argmax(-1) for x in data.test.batches(1000)])
    known = data.test.labels >= 0
    right = (predicted == data.test.labels)[known].double().mean().item()
    return f" It names the class of {right:.1%} of the test data." if bool(known.any()) else ""
