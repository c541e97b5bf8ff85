"""Conversion of estimates of log p(x) to ArviZ's InferenceData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xarray
from torch import Tensor

from pyrovae.arviz_import import inference_data_of
from pyrovae.evaluation.likelihood.result import STATISTICS, LogMarginal

if TYPE_CHECKING:
    from pyrovae.arviz_import import InferenceData

__all__ = ["inference_data"]


def inference_data(result: LogMarginal) -> InferenceData:
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
    chains: dict[str, Any] = {}
    if result.log_likelihood.numel():
        figures["log_p_x_given_z"] = (("chain", "draw", "datum"), array(result.log_likelihood.T[None]))  # (1, S, B)
        for name, z in result.draws.items():
            dims = ("chain", "draw", "datum", *(f"{name}_dim_{i}" for i in range(z.dim() - 2)))
            chains[name] = (dims, array(z.transpose(0, 1)[None]))  # (1, S, B, ...)
    x = array(result.compact().x)
    groups = {
        "posterior": chains,
        "sample_stats": figures,
        "observed_data": {"x": (("datum", *(f"x_dim_{i}" for i in range(x.ndim - 1))), x)},
    }
    return inference_data_of(
        {name: _dataset(variables) for name, variables in groups.items() if variables},
        {
            "num_samples": int(result.num_samples.max()),
            "method": result.method,
            "is_refined": int(result.is_refined),  # netCDF has no booleans
        },
    )


def _dataset(variables: dict[str, Any]) -> xarray.Dataset:
    """Return a data set whose dimensions are numbered where ArviZ numbers them, for its selections by label."""
    made = xarray.Dataset(variables)
    numbered = (name for name in made.dims if name in ("chain", "draw", "datum") or "_dim_" in str(name))
    return made.assign_coords({name: range(made.sizes[name]) for name in numbered})
