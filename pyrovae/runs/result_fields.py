"""Fields of the files of evaluations and diagnoses, checked when they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyrovae.arviz_import import groups_of
from pyrovae.evaluation.comparison_table import join_names
from pyrovae.evaluation.likelihood.result import STATISTICS
from pyrovae.runs.json_fields import COUNT, FLAG, NUMBER, TEXT, Each, Fields, optional, or_null

if TYPE_CHECKING:
    from pyrovae.arviz_import import InferenceData

__all__ = ["DIAGNOSIS", "EVALUATION", "check_values"]

EVALUATION: Fields = {
    **dict.fromkeys(("split", "method", "verdict"), TEXT),
    **dict.fromkeys(("nll", "standard_error", "mc_error", "elbo", "bits_per_dim"), or_null(NUMBER)),
    **dict.fromkeys(("num_samples", "num_data", "seed"), COUNT),
    "num_evaluations": optional(COUNT),
    "bias": optional(NUMBER),
    "share_annealed": NUMBER,
    "acceptance": optional({"50%": optional(NUMBER)}),
    "pareto_k": {"50%": optional(NUMBER), "share_above": NUMBER},
    "ess": {"50%": or_null(NUMBER)},
    "convergence": optional(
        Each(list, {"num_samples": COUNT, **dict.fromkeys(("bound", "standard_error", "jackknife"), or_null(NUMBER))})
    ),
    "certificate": optional({"confidence": NUMBER, "nll": NUMBER, "num_data": COUNT, "sentence": TEXT}),
    "sandwich": optional(
        {
            **dict.fromkeys(("gap", "gap_error", "lower", "upper"), or_null(NUMBER)),
            "num_simulated": COUNT,
            "sentence": TEXT,
            "resemblance": optional({"sentence": TEXT}),
        }
    ),
    "adaptive": optional({"reached": FLAG}),
    "estimator": {},  # options of a class that may be the user's own
    "baseline": optional({"nll": or_null(NUMBER), "family": TEXT}),
    "health": optional(Each(dict, TEXT)),
    "caveats": Each(list, TEXT),
    "other_data": optional(TEXT),
    "weights": optional(TEXT),
}
"""Fields that are read of an evaluation's JSON file; others may hold anything."""

_PARTS = (
    *("log_prob", "inference_gap", "approximation_gap", "amortization_gap", "refined_elbo"),
    *("distortion", "rate", "mutual_information", "marginal_kl"),
)
DIAGNOSIS: Fields = {
    "elbo": or_null(NUMBER),  # null if it is infinite
    "num_data": COUNT,
    **{name: optional(NUMBER) for part in _PARTS for name in (part, f"{part}_mc_error", f"{part}_standard_error")},
    **dict.fromkeys(("elbo_mc_error", "elbo_standard_error", "largest_mutual_information"), optional(NUMBER)),
    **dict.fromkeys(("active_units", "num_units"), optional(COUNT)),
    "calibration": optional({"num_simulated": COUNT, "num_draws": COUNT, "histograms": Each(dict, Each(list, COUNT))}),
    **dict.fromkeys(("notes", "caveats"), optional(Each(list, TEXT))),
    "health": optional(Each(dict, TEXT)),
}
"""Fields that are read of a diagnosis's JSON file; others may hold anything."""

_FROM_THE_FIRST = "log_prob", "standard_error", "pareto_k", "ess", "elbo"  # older evaluations lack the other statistics


def check_values(values: InferenceData) -> None:
    """Raise an error unless the netCDF file of an evaluation has its statistics for each datum, and the data.

    Statistics that came later may be missing.

    Args:
        values: what was read.

    Raises:
        ValueError: if a statistic or the data are missing, are no numbers, or are not of the same number.
    """
    groups = groups_of(values)
    stats, data = (groups.get(name) for name in ("sample_stats", "observed_data"))
    if stats is None or data is None or "x" not in data:
        raise ValueError("it lacks the groups sample_stats and observed_data, or the data x in it")
    missing = [name for name in _FROM_THE_FIRST if name not in stats]
    if missing:
        raise ValueError(f"it lacks {join_names(missing)}")
    x = data["x"]
    if x.dtype.kind not in "biuf" or any(stats[name].dtype.kind not in "biuf" for name in stats.data_vars):
        raise ValueError("it must hold numbers alone")
    if x.ndim == 0 or len(x) == 0 or any(stats[name].shape != (len(x),) for name in STATISTICS if name in stats):
        raise ValueError("there must be one of each statistic for each datum")
