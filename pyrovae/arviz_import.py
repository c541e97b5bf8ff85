"""The functions of ArviZ that pyrovae uses, from version 0.23 or from version 1, which requires Python 3.12.

From version 1 on, ArviZ keeps results in xarray's ``DataTree`` in place of its ``InferenceData``. A netCDF file is the
same for both: a group for each data set of xarray.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import arviz
    import pandas
    import xarray

    InferenceData: TypeAlias = "arviz.InferenceData | xarray.DataTree"

__all__ = [
    "compare_elpd",
    "groups_of",
    "highest_density_interval",
    "import_arviz",
    "inference_data_of",
    "read_inference_data",
    "write_inference_data",
]


@cache
def import_arviz() -> Any:
    """Import ArviZ, which takes a second; 0.23 announces the next version by a ``FutureWarning``.

    Returns:
        the module.

    Example:
        >>> import_arviz().__name__
        'arviz'
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz


def _is_datatree() -> bool:
    """Return whether ArviZ is of version 1, and keeps results in xarray's ``DataTree``."""
    return "InferenceData" not in vars(import_arviz())


def inference_data_of(groups: Mapping[str, xarray.Dataset], attributes: Mapping[str, Any]) -> InferenceData:
    """Return ArviZ's InferenceData, which is a ``DataTree`` from version 1 on.

    Args:
        groups: data sets by the name of the group.
        attributes: attributes of the whole.
    """
    if not _is_datatree():
        return import_arviz().InferenceData(**groups, attrs=dict(attributes))
    import xarray

    root = xarray.Dataset(attrs=dict(attributes))
    return xarray.DataTree.from_dict({"/": root, **{f"/{name}": group for name, group in groups.items()}})


def groups_of(data: Any) -> dict[str, xarray.Dataset]:
    """Return the data sets of ArviZ's InferenceData by the name of the group."""
    if hasattr(data, "children"):  # a DataTree
        return {name: node.to_dataset() for name, node in data.children.items()}
    return {name: data[name] for name in data.groups()}


def write_inference_data(data: InferenceData, path: str | Path) -> None:
    """Write ArviZ's InferenceData as compressed netCDF, which ArviZ reads in either version."""
    import xarray

    xarray.Dataset(attrs=data.attrs).to_netcdf(path, mode="w", engine="h5netcdf")
    for name, group in groups_of(data).items():
        numbers = [key for key, values in group.variables.items() if values.dtype.kind in "biufc"]
        compressed = {key: {"zlib": True} for key in numbers}
        group.to_netcdf(path, mode="a", group=name, engine="h5netcdf", encoding=compressed)


def read_inference_data(path: str | Path) -> InferenceData:
    """Read ArviZ's InferenceData from netCDF at once, so that a broken part is found here, and no file is left open."""
    import xarray

    groups = xarray.open_groups(path, engine="h5netcdf")
    try:
        loaded = {name.strip("/"): group.load() for name, group in groups.items()}
    finally:
        for group in groups.values():
            group.close()
    root = loaded.pop("")
    return inference_data_of(loaded, root.attrs)


def highest_density_interval(samples: np.ndarray, share: float) -> np.ndarray:
    """Return ArviZ's shortest intervals that hold a share of samples ``(S, Q)``, as an array ``(Q, 2)``.

    Example:
        >>> highest_density_interval(np.random.default_rng(0).exponential(1.0, (10_000, 1)), 0.5).round(1)
        array([[0. , 0.7]])
    """
    if not _is_datatree():
        return np.asarray(import_arviz().hdi(samples[None], hdi_prob=share))
    from arviz_stats.base import array_stats

    return np.asarray(array_stats.hdi(samples, share, axis=0))


def compare_elpd(
    log_prob: Mapping[str, np.ndarray], num_samples: Mapping[str, int], warning: Mapping[str, bool]
) -> pandas.DataFrame:
    """Return ``arviz.compare`` of log p(x) of the same data, with the same columns and signs in either version.

    Args:
        log_prob: log p(x) in nats by model, ``(N,)``.
        num_samples: number of samples of each estimate.
        warning: whether k̂ is too large for some of the data, by model.

    Returns:
        a row for each model, the best first, with the columns ``rank``, ``elpd``, ``elpd_diff`` (the best model's less
        this one's), ``stacking_weight``, ``se``, ``dse`` and ``warning``. All are of sums over the data.
    """
    highest = np.stack(list(log_prob.values())).max(0)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # ArviZ uses deprecated functions of pandas, and divides by zero weights
        # Stacking exponentiates the values, which underflows for images; a common shift changes no weight.
        make = _elpd_1 if _is_datatree() else _elpd_0
        entries = {
            name: make(values, values - highest, num_samples[name], warning[name]) for name, values in log_prob.items()
        }
        if _is_datatree():
            table = import_arviz().compare(entries, method="stacking", round_to="none")
            table["elpd_diff"] = table["elpd_diff"].abs()  # negative or zero in version 1
        else:
            table = import_arviz().compare(entries, method="stacking", scale="log")
            table = table.rename(columns={"elpd_loo": "elpd"})
    table["warning"] = [warning[name] for name in table.index]
    table = table.rename(columns={"weight": "stacking_weight"})
    return table[["rank", "elpd", "elpd_diff", "stacking_weight", "se", "dse", "warning"]]


def _sums(values: np.ndarray) -> tuple[float, float]:
    """Return the sum of values and its standard error, as ArviZ has it."""
    return float(values.sum()), float(np.sqrt(len(values)) * values.std())


def _elpd_0(values: np.ndarray, shifted: np.ndarray, num_samples: int, warning: bool) -> Any:
    """Return log p(x) in the place of a leave-one-out estimate, for ArviZ 0.23."""
    import xarray
    from arviz.stats.stats_utils import ELPDData

    total, error = _sums(values)
    figures = {
        "elpd_loo": total,
        "se": error,
        "p_loo": np.nan,
        "n_samples": num_samples,
        "n_data_points": len(values),
        "warning": warning,
        "loo_i": xarray.DataArray(shifted, dims="datum", name="loo_i"),
        "scale": "log",
    }
    return ELPDData(data=list(figures.values()), index=list(figures))


def _elpd_1(values: np.ndarray, shifted: np.ndarray, num_samples: int, warning: bool) -> Any:
    """Return log p(x) in the place of a leave-one-out estimate, for ArviZ 1.3."""
    import xarray
    from arviz_stats.utils import ELPDDataLOO

    total, error = _sums(values)
    return ELPDDataLOO(
        elpd=total,
        se=error,
        p=np.nan,
        n_samples=num_samples,
        n_data_points=len(values),
        scale="log",
        warning=warning,
        good_k=0.7,  # read only where there are values of k̂
        elpd_i=xarray.DataArray(shifted, dims="datum", name="elpd_i"),
    )
