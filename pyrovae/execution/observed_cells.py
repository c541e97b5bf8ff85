"""Programs of data with missing values: p(x_obs, z) by a handler, and guides that see missing values as zeros."""

from __future__ import annotations

from typing import Any

import torch
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions.observed_entries import observe_entries
from pyrovae.execution.sites import is_observed
from pyrovae.execution.traces import evaluating, trace
from pyrovae.missing import fill_missing, has_missing, is_missing
from pyrovae.programs import Arguments, PyroFunction, modules_of
from pyrovae.rng import forked_rng

__all__ = ["MaskMissing", "allow_missing", "check_gaps", "check_takes_missing", "missing_of", "see_zeros"]

_MISSING = "_missing"  # key of the missing entries in a site's ``infer``


class MaskMissing(Messenger):
    r"""A handler that leaves missing values out: an observed site has the log-density of its entries that are not NaN.

    A model of complete data becomes that of the observed cells, :math:`p(x_\mathrm{obs}, z)`, whatever their pattern
    (Mattei & Frellsen, 2019, arXiv:1812.02633). :func:`~pyrovae.fit`, :func:`~pyrovae.log_marginal` and the others put
    it around the model themselves where data have missing values; with Pyro's SVI, put it there yourself.

    Raises:
        ValueError: when the program observes an incomplete value whose distribution does not factorise.

    Example:
        >>> vae = VAE(StandardNormal(2), Gaussian((3,), 2), DiagonalNormal((3,), 2))
        >>> x = torch.tensor([[1.0, float("nan"), 2.0]])
        >>> trace = pyro.poutine.trace(MaskMissing()(vae.model)).get_trace(x)
        >>> bool(torch.isfinite(trace.log_prob_sum()))
        True
    """

    def _pyro_sample(self, msg: Message) -> None:
        value = msg["value"]
        if not msg["is_observed"] or site_is_subsample(msg) or msg["infer"].get("_deterministic"):
            return
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel() > 0:
            msg["infer"] = {**msg["infer"], _MISSING: is_missing(value)}
            msg["fn"], msg["value"] = observe_entries(msg["fn"], value)


def missing_of(site: dict[str, Any]) -> Tensor | None:
    """Return which entries of a site's value are missing, within :class:`MaskMissing`; None if it does not say."""
    found: Tensor | None = (site["infer"] or {}).get(_MISSING)
    return found


def see_zeros(guide: PyroFunction) -> PyroFunction:
    """Return the guide, called with zeros in place of missing values.

    A guide one of whose modules has an attribute ``takes_missing`` that is true, as :class:`~pyrovae.networks.WithMask`
    has, is returned as it is.

    Args:
        guide: program of q(z|x).
    """
    if any(getattr(part, "takes_missing", False) for owner in modules_of(guide) for part in owner.modules()):
        return guide

    def filled(x: Tensor, *others: Tensor) -> Any:
        return guide(fill_missing(x), *others)

    return filled


def allow_missing(model: PyroFunction, guide: PyroFunction) -> tuple[PyroFunction, PyroFunction]:
    """Return the programs of the observed cells of data with missing values: the model masked, the guide with zeros."""
    return MaskMissing()(model), see_zeros(guide)


def check_gaps(model: Trace, guide: Trace, x: Tensor) -> None:
    """Refuse programs that do not leave missing values out: a wrong number would be the result.

    Args:
        model: trace of the model within :class:`MaskMissing`, with log-probabilities.
        guide: trace of the guide.
        x: data, ``(B, *data_shape)``.

    Raises:
        ValueError: if a missing value is not observed as NaN, or a latent or a density is NaN.
    """
    gaps = (missing_of(site) for site in model.nodes.values() if is_observed(site))
    found = sum(int(missing.sum()) for missing in gaps if missing is not None)
    expected = int(is_missing(x).sum())
    if found != expected:
        raise checks.InputError(
            "model must observe each missing value of x (NaN) as NaN for it to be left out, but of "
            f"{expected} it so observes {found}: it must not convert x to integers, compare it, or leave entries out"
        )
    for program, nodes in (("guide", guide.nodes), ("model", model.nodes)):
        for name, site in nodes.items():
            if site["type"] != "sample" or not isinstance(site["value"], Tensor):
                continue
            if has_missing(site["value"]) or has_missing(site["unscaled_log_prob"]):
                raise checks.InputError(
                    f"x may have missing values (NaN) only where no distribution depends on them, but site {name!r} of "
                    f"the {program} becomes NaN by them: it must read x by pyrovae.missing.fill_missing"
                )


def check_takes_missing(model: PyroFunction, guide: PyroFunction, arguments: Arguments) -> None:
    """Refuse programs that do not leave missing values out, by a run on a datum that has no cell.

    Args:
        model: program of p(x, z), already within :class:`MaskMissing`.
        guide: program of q(z|x), as :func:`allow_missing` returns it.
        arguments: their arguments.

    Raises:
        ValueError: see :func:`check_gaps`.
    """
    x, *others = (part[:2] for part in arguments)
    gappy = (torch.cat((torch.full_like(x[:1], torch.nan), x[1:])), *others)
    with evaluating(model, guide), forked_rng(x.device):
        guided, traced = trace(guide, gappy), trace(model, gappy)
        for found in (guided, traced):
            found.compute_log_prob()
    check_gaps(traced, guided, gappy[0])
