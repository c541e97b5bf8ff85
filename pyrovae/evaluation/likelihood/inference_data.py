"""Conversion of estimates of log p(x) to ArviZ's InferenceData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray
from torch import Tensor

from pyrovae.arviz_import import import_arviz
from pyrovae.evaluation.likelihood.result import STATISTICS, LogMarginal

if TYPE_CHECKING:
    import arviz

__all__ = ["inference_data"]


def inference_data(result: LogMarginal) -> arviz.InferenceData:
    """Return ArviZ's InferenceData of a result, with the groups that :meth:`LogMarginal.to_arviz` lists."""

    def array(tensor: Tensor) -> Any:
        return tensor.detach().cpu().numpy()

    figures: dict[str, Any] = {name: ("datum", array(getattr(result, name))) for name in STATISTICS}
    figures["tail"] = (("rank", "datum"), array(result.tail.float()))
    if result.convergence is not None:
        figures["convergence_num_samples"] = ("level", array(result.convergence.num_samples))
        for name in ("bound", "standard_error", "jackknife"):
            values = array(getattr(result.convergence, name).float())
            figures[f"convergence_{name}"] = (("level", "datum"), values)
    if result.paths is not None:
        figures["path_beta"] = ("temperature", array(result.paths.beta))
        for name, dim in (("log_weight", "moment"), ("acceptance", "move"), ("step_size", "move")):
            figures[f"path_{name}"] = ((dim, "path"), array(getattr(result.paths, name).float()))
    if result.log_unbiased is not None:
        figures["log_unbiased"] = (("alternative", "datum"), array(result.log_unbiased))
    if result.integral is not None:
        for name, values in vars(result.integral).items():
            figures[f"integral_{name}"] = ("datum", array(values))
    if result.prior_found is not None:
        figures["prior_found"] = ("datum", array(result.prior_found))
    if result.check is not None:
        for name in ("index", "log_prob", "difference", "standard_error"):
            figures[f"check_{name}"] = ("checked", array(getattr(result.check, name)))
    draws = {name: array(z.transpose(0, 1)[None]) for name, z in result.draws.items()}  # (1, S, B, ...)
    if result.log_likelihood.numel():
        figures["log_p_x_given_z"] = (("chain", "draw", "datum"), array(result.log_likelihood.T[None]))  # (1, S, B)
    latent_dims = {
        name: ["datum", *(f"{name}_dim_{i}" for i in range(z.dim() - 2))] for name, z in result.draws.items()
    }
    data: arviz.InferenceData = import_arviz().from_dict(
        posterior=draws if result.log_likelihood.numel() else None,
        observed_data={"x": array(result.compact().x)},
        coords={"datum": range(len(result.x))},
        dims={**latent_dims, "x": ["datum", *(f"x_dim_{i}" for i in range(result.x.dim() - 1))]},
        attrs={"num_samples": int(result.num_samples.max()), "method": result.method},
    )
    data.add_groups({"sample_stats": xarray.Dataset(figures, coords={"datum": range(len(result.x))})})
    return data
