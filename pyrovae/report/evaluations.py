"""Section of the page about an evaluation: its results, its sentences, and figures of the values of each datum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyrovae import checks, figures
from pyrovae.evaluation import pareto_threshold
from pyrovae.evaluation.likelihood.certificate import round_up
from pyrovae.runs import Run
from pyrovae.runs.json_fields import NUMBER

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["section"]


def section(run: Run, name: str, entries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the section of an evaluation.

    Args:
        run: the run.
        name: name of the evaluation.
        entries: results of all of the run's evaluations, by name.

    Raises:
        ValueError: if the file of the values of each datum cannot be read, or shows no figures of them.
    """
    entry, path = entries[name], run.folder / "evaluation" / name
    text = {
        "name": name,
        "title": f"{entry['split']} likelihood, {_title(entry)}",
        "sentences": [entry["verdict"], *_certificate(entry), *_bounds(entry), *entry["caveats"]],
        "rows": _rows(entry),
        "convergence": [_level(row) for row in entry.get("convergence") or []],
    }
    values, described = run.values(name), run.data_record()
    try:
        pictures = _pictures(values, entry, _references(entry, entries))
        if described is not None and described.schema is not None:
            del pictures["extremes"]  # rows of a table are no pictures
        return {**text, "pictures": pictures}
    except Exception as error:  # arrays from elsewhere, which matplotlib, torch and NumPy refuse each in its way
        raise checks.InputError(f"{path}.nc must hold the figures of each datum: {checks.reason(error)}") from error


def _title(entry: dict[str, Any]) -> str:
    temperatures = entry["estimator"].get("num_temperatures")
    return f"{entry['method']}, K = {entry['num_samples']}" + ("" if temperatures is None else f", T = {temperatures}")


def _rows(entry: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of the table, without values that older evaluations lack."""

    def nats(key: str, digits: int) -> str:
        return "unknown" if entry[key] is None else f"{_signed(entry[key], digits)} nats"

    unit = "weights" if entry["share_annealed"] == 1.0 else "samples"
    rows = [
        ("negative log-likelihood, per datum", nats("nll", 2)),
        ("standard error over test data", nats("standard_error", 2)),
        ("Monte Carlo error", nats("mc_error", 4)),
    ]
    if entry.get("bias") is not None:
        rows.append(("estimated bias, from the weights themselves", nats("bias", 4)))
    if (certificate := entry.get("certificate")) is not None:
        share = f"{100 * certificate['confidence']:.6g} %"
        bound = f"{round_up(certificate['nll'], 3)} nats".replace("-", "−")
        rows.append((f"certified with {share} confidence: at most", bound))
    for lower, upper, gap, error, count in _sandwich(entry, "lower", "upper", "gap", "gap_error", "num_simulated"):
        spread = "" if error is None else f" ± {error:.4f}"
        bounds = f"{_signed(lower, 3)} and {_signed(upper, 3)} nats"
        rows.append((f"bounds of log p(x) of {count} simulated data", bounds))
        rows.append(("gap between these two bounds", f"{_signed(gap, 4)}{spread} nats"))
    if entry["bits_per_dim"] is not None:
        rows.append(("bits per dimension", f"{entry['bits_per_dim']:.4f}"))
    rows += [("ELBO, per datum", nats("elbo", 2)), ("data", f"{entry['num_data']:,}")]
    if entry.get("num_evaluations") is not None:
        rows.append(("decoder runs per datum", f"{entry['num_evaluations'] / max(1, entry['num_data']):,.0f}"))
    if 0 < entry["share_annealed"] < 1:
        rows.append(("share of data annealed", f"{entry['share_annealed']:.1%}"))
    if entry["share_annealed"] < 1:
        rows.append(("Pareto k̂: share above threshold", f"{entry['pareto_k']['share_above']:.1%}"))
    if (accepted := (entry.get("acceptance") or {}).get("50%")) is not None:
        rows.append(("acceptance of moves, median", f"{accepted:.2f}"))
    ess = entry["ess"]["50%"]
    rows.append((f"effective {unit}, median", "unknown" if ess is None else f"{ess:.{0 if unit == 'samples' else 1}f}"))
    options = entry["estimator"]
    scale, share = (options.get(name) for name in ("proposal_scale", "prior_share"))
    if NUMBER.holds(scale) and scale != 1:
        rows.append(("scale of the proposal", f"{scale:g}"))
    if NUMBER.holds(share) and share != 0:
        rows.append(("share of the samples from the prior", f"{share:.1%}"))
    return [*rows, ("seed", str(entry["seed"]))]


def _bounds(entry: dict[str, Any]) -> list[str]:
    """Return what a sandwich says, and how real data compare with the simulated ones."""
    alike = (entry.get("sandwich") or {}).get("resemblance")
    return [*_sandwich(entry, "sentence"), *([] if alike is None else [alike["sentence"]])]


def _certificate(entry: dict[str, Any]) -> list[str]:
    """Return the sentence of the certificate as a list with one item; an empty list without one."""
    found = entry.get("certificate")
    if found is None:
        return []
    return [f"{found['sentence']}: of these {found['num_data']:,} data and this model."]


def _sandwich(entry: dict[str, Any], *keys: str) -> list[Any]:
    """Return values of the sandwich as a list with one item; an empty list without a sandwich."""
    found = entry.get("sandwich")
    if found is None:
        return []
    return [found[keys[0]] if len(keys) == 1 else tuple(found[key] for key in keys)]


def _level(row: dict[str, Any]) -> list[str]:
    bound, error, jackknife = (row[key] for key in ("bound", "standard_error", "jackknife"))
    return [
        f"{row['num_samples']:,}",
        _signed(bound, 3),
        _signed(error, 4),
        "" if jackknife is None else _signed(jackknife, 3),
    ]


def _signed(value: float | None, digits: int) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _references(entry: dict[str, Any], entries: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return log p(x) by evaluations of the same data that went further than importance sampling."""
    same = ("split", "num_data", "weights", "caveats")
    return {
        _title(other): -other["nll"]
        for other in entries.values()
        if entry["share_annealed"] == 0
        and other["share_annealed"] > 0
        and other.get("nll") is not None
        and all(other.get(key) == entry.get(key) for key in same)
    }


def _pictures(values: Any, entry: dict[str, Any], references: dict[str, float]) -> dict[str, tuple[Figure, str]]:
    stats = values.sample_stats

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.array(stats[name].values))

    log_prob, error, k_hat = (tensor(name) for name in ("log_prob", "standard_error", "pareto_k"))
    x = torch.from_numpy(np.array(values.observed_data["x"].values))
    K = tensor("num_samples") if "num_samples" in stats else torch.tensor(entry["num_samples"]).expand(len(x))
    fitted = bool((~k_hat.isnan()).any())
    annealed = ~tensor("acceptance").isnan() if "acceptance" in stats else torch.zeros(len(x), dtype=torch.bool)
    mixed = bool(annealed.any()) and not bool(annealed.all())
    pictures = {}
    if fitted:
        pictures["pareto"] = (
            figures.pareto_map(log_prob, k_hat, pareto_threshold(K)),
            "Pareto's k̂ of each datum's weights. Above the threshold importance sampling fails: the datum's "
            "log p(x) is estimated too low, and its reported error is too small.",
        )
    if mixed or not fitted:
        pictures["error"] = (
            figures.error_map(log_prob, error, annealed if mixed else None),
            "The Monte Carlo error of each datum's log p(x), against log p(x).",
        )
    doubt = (k_hat, "k̂") if fitted and not mixed else (error, "Monte Carlo error, nats")
    pictures["extremes"] = (
        figures.extremes(x, log_prob, *doubt),
        f"The data that the model explains worst, each with its log p(x), and those whose log p(x) is estimated "
        f"worst, each with its {doubt[1]}.",
    )
    if "tail" in stats:
        pictures["tails"] = (
            figures.weight_tails(tensor("tail"), k_hat, K),
            "The largest weights of some data, as shares of their sum. Where the first is most of the sum, one "
            "sample determines the estimate.",
        )
    if table := entry.get("convergence"):
        pictures["convergence"] = (
            figures.convergence_plot(
                table, elbo=entry["elbo"] if entry["share_annealed"] == 0 else None, references=references
            ),
            "The bound by number of weights, from one run. While it still rises, the estimate is too low.",
        )
    if "path_beta" in stats:
        pictures["paths"] = (
            figures.annealing_paths(*(tensor(f"path_{k}") for k in ("beta", "log_weight", "acceptance", "step_size"))),
            "Annealed chains from the initial distribution (β = 0) to p(z|x) (β = 1): their mean log weight, the "
            "acceptance of their moves and the step size.",
        )
    return pictures
