"""Section of the page about a diagnosis: the parts of log p(x)."""

from __future__ import annotations

import math
from typing import Any

import torch

from pyrovae import checks, figures
from pyrovae.evaluation.calibration import rank_bands
from pyrovae.runs import Run

__all__ = ["section"]

_LABELS = {
    "log_prob": "log p(x)",
    "inference_gap": "gap of the guide",
    "approximation_gap": "approximation gap",
    "amortization_gap": "amortization gap",
    "elbo": "ELBO",
    "distortion": "distortion, −E log p(x|z)",
    "rate": "rate, KL(q(z|x) ‖ p(z))",
    "mutual_information": "mutual information of x and z",
    "marginal_kl": "marginal KL(q(z) ‖ p(z))",
}
_MOST_DRAWS = 10_000  # which bounds the memory; a diagnosis has 63
_DRAWN = ("log_prob", "refined_elbo", "elbo", "distortion", "rate", "mutual_information", "marginal_kl")


def section(run: Run, split: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Return the section of a diagnosis.

    Args:
        run: the run.
        split: name of the split of the data.
        entry: results of the diagnosis; those that are missing or None are left out.

    Raises:
        ValueError: if the results cannot be drawn.
    """
    rows = [
        (
            label,
            f"{entry[name]:.2f}".replace("-", "−"),
            *(_error(entry.get(f"{name}_{of}")) for of in ("mc_error", "standard_error")),
        )
        for name, label in _LABELS.items()
        if entry.get(name) is not None and (name != "inference_gap" or entry.get("approximation_gap") is None)
    ]
    if entry.get("active_units") is not None and entry.get("num_units") is not None:
        rows.append(("active units", f"{entry['active_units']:d} of {entry['num_units']:d}", "", ""))
    rows.append(("data", f"{entry['num_data']:,d}", "", ""))
    largest = entry.get("largest_mutual_information") or math.inf
    saturated = (entry.get("mutual_information") or 0.0) > 0.9 * largest
    drawn = {name: entry.get(name) for name in _DRAWN}
    sentences = [sentence for key in ("notes", "caveats") for sentence in entry.get(key) or ()]
    sentences += (entry.get("health") or {}).values()
    try:
        picture = figures.elbo_breakdown(**{**drawn, "elbo": entry["elbo"]}, saturated=saturated)
        ranks = _ranks(entry.get("calibration"))
    except Exception as error:  # numbers from elsewhere, which matplotlib, torch and NumPy refuse each in its way
        path = run.folder / "diagnosis" / f"{split}.json"
        raise checks.InputError(
            f"{path} must hold the figures of a diagnosis, which can be drawn: {checks.reason(error)}"
        ) from error
    caption = (
        "The negative ELBO twice: as -log p(x) and the gaps of the guide; and as distortion, the cost of the datum "
        "given its code, and rate, the cost of the code."
    )
    return {
        "name": split,
        "title": f"where the nats go, {split} data",
        "sentences": sentences,
        "rows": rows,
        "pictures": {"nats": (picture, caption), **ranks},
    }


def _ranks(entry: dict[str, Any] | None) -> dict[str, Any]:
    """Return the picture of the ranks of true latents, if the diagnosis has them."""
    if entry is None:
        return {}
    histograms = {name: torch.tensor(histogram) for name, histogram in entry["histograms"].items()}
    bins, count = min(entry["num_draws"], _MOST_DRAWS) + 1, entry["num_simulated"]
    if any(each.shape != (bins,) or each.sum() != count for each in histograms.values()):
        raise ValueError(f"each histogram must have {bins} counts, of {count} data in all")
    bands = rank_bands(entry["num_simulated"], entry["num_draws"], len(histograms))
    caption = (
        f"Ranks of the latents of {entry['num_simulated']:,} simulated data among draws of the posterior, for each "
        "latent and for log p(x|z): their distribution function less that of uniform ranks. Above the band on the left "
        "and below it on the right, the posterior is too narrow; the reverse, too wide; on one side only, biased."
    )
    return {"ranks": (figures.rank_ecdf(histograms, bands), caption)}


def _error(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
