"""Rate and distortion, the parts of the rate (mutual information and marginal KL), and active units."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.elbo.aggregate_posterior import Estimate, draw_codes, has_one_prior, split_rate
from pyrovae.evaluation.likelihood.importance import sample_in_chunks
from pyrovae.evaluation.likelihood.proposal import Proposal
from pyrovae.execution import evaluating
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.execution.chunking import Chunks
from pyrovae.programs import Arguments, Batch, PyroFunction, arguments_of
from pyrovae.progress import bar as progress_bar
from pyrovae.reprs import short_repr

__all__ = ["RateDistortion", "rate_distortion"]

_ACTIVE = 0.01  # thresholds of an active unit: variance of its mean, as in Burda et al. (2015), and nats


@dataclass(frozen=True)
class RateDistortion:
    r"""Rate, distortion and the parts of the rate of N data; values of each datum are float64, ``(N,)``.

    Attributes:
        rate: :math:`\mathrm{KL}(q(z|x) \| p(z))`, in nats.
        rate_error: its Monte Carlo error.
        distortion: :math:`-\mathrm{E}_{q(z|x)} \log p(x|z)`, in nats.
        distortion_error: its Monte Carlo error.
        elbo: minus the sum of rate and distortion, in nats.
        elbo_error: its Monte Carlo error, from the same samples.
        mutual_information: I(x; z) under q, at most log N; None if unknown.
        marginal_kl: KL(q(z) || p(z)), the rest of the rate; None if unknown.
        variances: variance over the data of the mean code, by site, ``(*event_shape)`` each; without discrete sites.
        nats: information of each component about the datum, by site, ``(*event_shape)`` each, in nats: the mutual
            information of normal variables whose signal has the variance of the mean code, and whose noise has the
            mean variance of a code given its datum.
        unknown: the reason why a part of the rate is unknown; None if both are known.
    """

    rate: Tensor
    rate_error: Tensor
    distortion: Tensor
    distortion_error: Tensor
    elbo: Tensor
    elbo_error: Tensor
    mutual_information: Estimate | None
    marginal_kl: Estimate | None
    variances: dict[str, Tensor] = field(repr=False)
    nats: dict[str, Tensor] = field(repr=False)
    unknown: str | None = None

    def __repr__(self) -> str:
        return short_repr(
            self,
            num_data=len(self.rate),
            rate=self.rate.mean().item(),
            distortion=self.distortion.mean().item(),
            elbo=self.elbo.mean().item(),
            mutual_information=None if self.mutual_information is None else self.mutual_information.value,
            marginal_kl=None if self.marginal_kl is None else self.marginal_kl.value,
            unknown=self.unknown,
        )

    @property
    def max_mutual_information(self) -> float:
        """The largest possible mutual information with N data: log N, in nats."""
        return math.log(len(self.rate))

    @property
    def saturated(self) -> bool:
        """True if the mutual information is within a tenth of the largest, so that more data would increase it."""
        found = self.mutual_information
        return found is not None and len(self.rate) > 1 and found.value > 0.9 * self.max_mutual_information

    @property
    def active(self) -> dict[str, Tensor]:
        """True for components that are informative about the data, by site, ``(*event_shape)`` each.

        The variance of its mean must be above 0.01, and its information above 0.01 nats. The second condition matters
        because the mean can vary by slightly more than 0.01 when the posterior is the prior up to rounding.
        """
        return {name: (self.variances[name] > _ACTIVE) & (nats > _ACTIVE) for name, nats in self.nats.items()}


def rate_distortion(
    model: PyroFunction,
    guide: PyroFunction,
    x: Batch,
    num_samples: int = 100,
    *,
    num_codes: int = 2000,
    chunk_size: int | None = None,
    progress: bool = True,
) -> RateDistortion:
    r"""Measure rate and distortion of N data, and the parts of the rate.

    .. math:: \underbrace{\frac1N \sum_n \mathrm{KL}(q(z|x_n) \| p(z))}_{\text{rate}} = I(x; z)
        + \mathrm{KL}(q(z) \| p(z)), \qquad q(z) = \frac1N \sum_n q(z|x_n)

    (Hoffman & Johnson, 2016; Alemi et al., 2018, arXiv:1711.00464). I is the mutual information of codes and data,
    at most log N; it is available if the guide can score any code for any datum.
    A unit is active if :math:`V_d = \mathrm{Var}_x\,\mathrm{E}_{q(z|x)}[z_d] > 0.01` (Burda et al., 2015,
    arXiv:1509.00519), which is estimated without bias from the samples, and if its information
    :math:`\tfrac12 \log(1 + V_d / \mathrm{E}_x\,\mathrm{Var}_{q(z|x)}[z_d])` is above 0.01 nats. If the codes are
    normal, this is at most the unit's part of the KL.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(N, *data_shape)``, or the tuple ``(x, y)`` for programs that are called with labels.
        num_samples: number of samples for each datum, at least 2.
        num_codes: approximate number of codes to score for all data: two or more of each of some random data.
        chunk_size: number of latents to run the model on at a time, which bounds the memory. Chosen by the program's
            size if not given, and on a GPU by its free memory.
        progress: whether to show a progress bar.

    Raises:
        ValueError: if a site lies outside the data plate, or model and guide do not match.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> found = rate_distortion(vae.model, vae.guide, torch.eye(4))
        >>> found.rate.shape, found.active["z"].shape
        (torch.Size([4]), torch.Size([2]))
        >>> found.mutual_information.value < found.max_mutual_information
        True
    """
    checks.integer("num_samples", num_samples, minimum=2)
    checks.integer("num_codes", num_codes)
    chunks = Chunks(chunk_size)
    arguments = arguments_of(x, model, guide)
    if len(arguments[0]) == 0:
        raise checks.InputError("x must hold at least one datum, but is empty")
    chunks.choose(model, arguments)

    def measure(*batch: Tensor) -> _Part:
        return _measure(model, guide, batch, num_samples, chunks.size)

    with progress_bar("rate and distortion", len(arguments[0]), "datum", hidden=not progress) as chunks.bar:
        parts = chunks.in_parts(measure, arguments, lambda size: min(50, size))
    mean, error = (torch.cat([getattr(part, name) for part in parts], 1) for name in ("mean", "error"))  # (3, N)
    codes = draw_codes(model, guide, arguments, num_codes)
    mutual, marginal, unknown = None, None, None
    rate = Estimate(mean[0].mean().item(), error[0].square().sum().sqrt().item() / len(error[0]))
    try:
        mutual, marginal = split_rate(model, guide, arguments, codes, rate)
    except checks.InputError as refusal:
        unknown = checks.reason(refusal)
    if marginal is not None and not has_one_prior(model, arguments, codes):
        marginal, unknown = None, "model must have one prior for all data"
    variances, nats = _spread_of(parts, num_samples)
    return RateDistortion(
        rate=mean[0],
        rate_error=error[0],
        distortion=mean[1],
        distortion_error=error[1],
        elbo=mean[2],
        elbo_error=error[2],
        mutual_information=mutual,
        marginal_kl=marginal,
        variances=variances,
        nats=nats,
        unknown=unknown,
    )


class _Part(NamedTuple):
    """Results of a batch: rate, distortion and ELBO, ``(3, B)``, and moments of its continuous codes by site."""

    mean: Tensor
    error: Tensor
    code: dict[str, Tensor]  # means, (B, *event_shape)
    spread: dict[str, Tensor]  # variances, (B, *event_shape)


def _measure(model: PyroFunction, guide: PyroFunction, batch: Arguments, K: int, chunk_size: int) -> _Part:
    proposal = Proposal(BatchedPrograms(model, guide, batch), K)
    nodes = proposal.programs.encoded.nodes
    names = [name for name in proposal.programs.sites if not nodes[name]["fn"].support.is_discrete]
    figures = []
    total = {name: torch.zeros_like(nodes[name]["value"], dtype=torch.float64) for name in names}  # (B, *event_shape)
    square = {name: torch.zeros_like(z) for name, z in total.items()}
    with evaluating(model, guide):
        for chunk in sample_in_chunks(proposal, chunk_size):
            rate = chunk.log_likelihood - chunk.log_weight
            figures.append(torch.stack((rate, -chunk.log_likelihood, chunk.log_weight)).double())  # (3, k, B)
            for name in names:
                z = chunk.latents[name].double()
                total[name] += z.sum(0)
                square[name] += z.square().sum(0)
    samples = torch.cat(figures, 1)  # (3, K, B)
    if bool((samples[2] == -math.inf).any()):
        raise checks.InputError(
            "guide must sample where the prior has a density, or its ELBO is minus infinity, but it does not always"
        )
    if not bool(samples.isfinite().all()):
        raise checks.InputError("x and the model must be finite, but the log weights of some data are not")
    code = {name: total[name] / K for name in names}
    spread = {name: (square[name] / K - code[name].square()).clamp(min=0) * K / (K - 1) for name in names}
    return _Part(samples.mean(1), samples.std(1) / math.sqrt(K), code, spread)


def _spread_of(parts: list[_Part], K: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the variance over the data of the mean code, without its sampling noise, and its information in nats."""
    variances, nats = {}, {}
    for name in parts[0].code:
        code, spread = (torch.cat([getattr(part, what)[name] for part in parts]) for what in ("code", "spread"))
        noise = (1 - 1 / len(code)) * spread.mean(0) / K
        variances[name] = (code.var(0, correction=0) - noise).clamp(min=0)
        nats[name] = (variances[name] / spread.mean(0)).log1p().nan_to_num(0.0, math.inf) / 2
    return variances, nats
