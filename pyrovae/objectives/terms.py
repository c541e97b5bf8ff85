"""Reconstruction and KL of an ELBO, from its traces, and the site at which a loss is not finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer import ELBO, Trace_ELBO
from pyro.poutine import Trace
from torch import Tensor

from pyrovae.execution.sites import check_all_sampled, is_factor, is_latent, is_observed
from pyrovae.programs import Arguments, PyroFunction

__all__ = [
    "NonFiniteLoss",
    "Traces",
    "collect_traces",
    "estimate_elbo_terms",
    "nonfinite_site",
    "sample_elbo_terms",
    "sum_terms",
]

Traces: TypeAlias = list[tuple[Trace, Trace]]
"""Pairs of a model's and a guide's trace, one per particle."""


class NonFiniteLoss(FloatingPointError):
    """The error that the loss is NaN or infinite, with the sample site that made it so.

    Attributes:
        steps_ago: number of steps since the loss, in which nothing was updated.
    """

    steps_ago: int = 0


def estimate_elbo_terms(model: PyroFunction, guide: PyroFunction, *arguments: Tensor) -> Tensor:
    r"""Estimate the ELBO's two terms on a batch from one sample per datum, without gradients.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        arguments: their arguments, x of shape ``(B, *data_shape)`` first.

    Returns:
        ``(reconstruction, kl)``, shape ``(2,)``: :math:`\sum_i \mathrm{E}_q \log p(x_i|z)` and
        :math:`\sum_i \mathrm{E}_q \log q(z|x_i)/p(z)`, in nats.

    Raises:
        FloatingPointError: if they are not finite, naming the site.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> estimate_elbo_terms(vae.model, vae.guide, torch.ones(3, 4)).shape
        torch.Size([2])
    """
    with torch.no_grad():
        traces, terms = sample_elbo_terms(model, guide, arguments)
    if not bool(terms.isfinite().all()):
        reconstruction, kl = terms.tolist()
        raise NonFiniteLoss(f"{kl - reconstruction} at {nonfinite_site(traces)}")
    return terms


def sample_elbo_terms(model: PyroFunction, guide: PyroFunction, arguments: Arguments) -> tuple[Traces, Tensor]:
    """Run the programs once for each datum; :func:`estimate_elbo_terms` with its traces, and with gradients.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        arguments: their arguments, x of shape ``(B, *data_shape)`` first.

    Returns:
        the traces, and ``(reconstruction, kl)``, shape ``(2,)``, summed over the batch, in nats.
    """
    traces: Traces = list(Trace_ELBO()._get_traces(model, guide, arguments, {}))
    return traces, sum_terms(traces, 1)


@contextmanager
def collect_traces(elbo: ELBO) -> Iterator[Traces]:
    """Collect the pairs of model and guide traces that an ELBO makes."""
    traces: Traces = []
    make = elbo._get_trace

    def _get_trace(*args: Any) -> tuple[Trace, Trace]:
        traces.append(make(*args))
        return traces[-1]

    elbo._get_trace = _get_trace
    try:
        yield traces
    finally:
        del elbo._get_trace


def sum_terms(traces: Traces, num_particles: int) -> Tensor:
    """Return reconstruction and KL, untempered, summed over the batch and averaged over particles: shape ``(2,)``.

    Values that the guide enumerates are weighted by their probability; factors (``pyro.factor``) are not included.
    """
    with torch.no_grad():
        reconstruction = kl = torch.zeros(())
        for model_trace, guide_trace in traces:
            check_all_sampled(model_trace, guide_trace)
            share = torch.ones(())
            for site in guide_trace.nodes.values():
                if site["type"] == "sample" and site["infer"].get("_enumerate_dim") is not None:
                    share = share * site["unscaled_log_prob"].exp()
            for name, site in model_trace.nodes.items():
                if is_observed(site) and not is_factor(site):
                    reconstruction = reconstruction + _log_prob(site, share)
                elif is_latent(site):
                    kl = kl + _log_prob(guide_trace.nodes[name], share) - _log_prob(site, share)
        return torch.stack((reconstruction, kl)) / num_particles


def _log_prob(site: dict[str, Any], share: Tensor) -> Tensor:
    log_prob = scale_and_mask(site["unscaled_log_prob"], mask=site["mask"])
    return (log_prob * share).sum() if share.dim() else log_prob.sum()


def nonfinite_site(traces: Traces) -> str:
    """Name the first site, in the order in which they ran, whose value or log-probability is not finite."""
    for model_trace, guide_trace in traces:
        for program, trace in (("guide", guide_trace), ("model", model_trace)):
            for name, site in trace.nodes.items():
                if site["type"] != "sample":
                    continue
                for what, tensor in (("value", site["value"]), ("log-probability", site.get("log_prob"))):
                    if tensor is not None and not bool(torch.isfinite(tensor).all()):
                        return f"site {name!r} of the {program} (its {what} is not finite)"
    return "no single site: each is finite, their sum is not"
