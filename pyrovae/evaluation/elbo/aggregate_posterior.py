"""Aggregate posterior: the mean of the guide over data, and the mutual information of codes and data."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from pyro import poutine
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.likelihood.proposal import Proposal
from pyrovae.execution import MaskMissing, evaluating, log_prob_of, masks_of, see_zeros
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.execution.latent_handlers import WithinSupport, scored_trace
from pyrovae.missing import has_missing
from pyrovae.programs import Arguments, PyroFunction

__all__ = ["Codes", "Estimate", "draw_codes", "has_one_prior", "split_rate"]

_DATA_PER_STEP = 16  # number of data for which all codes are scored together
_ELEMENTS = 2**20  # largest number of components of codes scored together, which bounds the memory


class Estimate(NamedTuple):
    """An estimated mean over a set of data.

    Attributes:
        value: the estimate, in nats per datum.
        error: its Monte Carlo error, in nats.
    """

    value: float
    error: float


class Codes(NamedTuple):
    """S codes of each of n data.

    Attributes:
        latents: codes by site name, ``(S, n, *event_shape)``.
        rate: log q(z|x) - log p(z) of each code, float64, ``(S, n)``, in nats.
        data: indices of the n data among all N, ``(n,)`` integers.
    """

    latents: dict[str, Tensor]
    rate: Tensor
    data: Tensor


def draw_codes(
    model: PyroFunction, guide: PyroFunction, arguments: Arguments, num_codes: int, batch_size: int = 50
) -> Codes:
    """Draw two or more codes of each of some random data, about ``num_codes`` in total.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        arguments: arguments of the programs, N data.
        num_codes: approximate total number of codes.
        batch_size: number of data to encode together.
    """
    N = len(arguments[0])
    count = min(N, max(2, num_codes // 2))
    data = torch.randperm(N)[:count].to(arguments[0].device)
    S = max(2, num_codes // count)
    chunks = []
    for batch in zip(*(part[data].split(batch_size) for part in arguments), strict=True):
        proposal = Proposal(BatchedPrograms(model, guide, batch), S)
        with evaluating(model, guide):
            chunks.append(proposal.draw(S))
    latents = {name: torch.cat([chunk.latents[name] for chunk in chunks], 1) for name in chunks[0].latents}
    rate = torch.cat([chunk.log_likelihood - chunk.log_weight for chunk in chunks], 1).double()
    return Codes(latents, rate, data)


def split_rate(
    model: PyroFunction, guide: PyroFunction, arguments: Arguments, codes: Codes, rate: Estimate
) -> tuple[Estimate, Estimate]:
    r"""Split the rate into the mutual information of codes and data, and the marginal KL.

    .. math:: \mathrm{E} \log \frac{q(z|x)}{p(z)} = \mathrm{E} \log \frac{q(z|x)}{q(z)}
        + \mathrm{E} \log \frac{q(z)}{p(z)}, \qquad q(z) = \frac1N \sum_n q(z|x_n) ,

    where q(z) is computed exactly, by scoring each code for each of the data. The rate of the codes is a control
    variate, so that the codes effectively estimate the part of the rate that varies less.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        arguments: arguments of the programs, N data.
        codes: codes of some of these data.
        rate: rate of all data, from other samples.

    Raises:
        ValueError: if the guide cannot score codes of other data, or does not broadcast over codes.
    """
    N = len(arguments[0])
    S, count = codes.rate.shape
    latents = {name: z.flatten(0, 1).unsqueeze(1) for name, z in codes.latents.items()}  # (S * n, 1, *event_shape)
    _check(model, guide, tuple(part[:2] for part in arguments), {name: z[:2] for name, z in latents.items()})
    log_sum, own = _aggregate(guide, arguments, latents, codes.data.repeat(S))
    gain = (own - log_sum + math.log(N)).unflatten(0, (S, count))  # log q(z|x) - log q(z)
    # If all data have codes, the variation between data is not an error.
    gain_apart, rate_apart = (part - (part.mean(0) if count == N else part.mean()) for part in (gain, codes.rate))
    slope = ((gain_apart * rate_apart).mean() / rate_apart.square().mean()).nan_to_num(0.0).clamp(0, 1).item()
    error = _error(gain - slope * codes.rate, N)
    mutual = gain.mean().item() + slope * (rate.value - codes.rate.mean().item())
    return (
        Estimate(mutual, math.hypot(error, slope * rate.error)),
        Estimate(rate.value - mutual, math.hypot(error, (1 - slope) * rate.error)),
    )


def _error(values: Tensor, N: int) -> float:
    """Return the error of the mean of values, ``(S, n)``, for two-stage sampling: n of N data, S codes of each.

    Reference: Cochran (1977), section 10.3.
    """
    S, count = values.shape
    share = count / N
    among = values.mean(0).var().item() / count if share < 1 else 0.0
    return math.sqrt((1 - share) * among + share * values.var(0).mean().item() / (S * count))


def _aggregate(
    guide: PyroFunction, arguments: Arguments, latents: dict[str, Tensor], owner: Tensor
) -> tuple[Tensor, Tensor]:
    """Return for each code log of the sum of q(z|x) over all data, and log q(z|x) of its own datum, ``(M,)`` each."""
    M = len(owner)
    log_sum = torch.full((M,), -math.inf, dtype=torch.float64, device=owner.device)
    own = log_sum.clone()
    size = sum(z[0].numel() for z in latents.values())
    width = max(1, _ELEMENTS // (_DATA_PER_STEP * size))
    start = 0
    for batch in zip(*(part.split(_DATA_PER_STEP) for part in arguments), strict=True):
        stop = start + len(batch[0])
        for codes in torch.arange(M, device=owner.device).split(width):
            log_q = _scores(guide, batch, {name: z[codes] for name, z in latents.items()}).double()  # (k, B)
            log_sum[codes] = torch.logaddexp(log_sum[codes], log_q.logsumexp(1))
            mine = (owner[codes] >= start) & (owner[codes] < stop)
            own[codes[mine]] = log_q[mine, owner[codes][mine] - start]
        start = stop
    return log_sum, own


def _scores(guide: PyroFunction, batch: Arguments, latents: dict[str, Tensor]) -> Tensor:
    """Return the guide's log-density of codes ``(k, 1, *event_shape)`` for B data, ``(k, B)``.

    It runs in the data plate alone, so that no distribution is expanded to all pairs, which would copy its parameters.
    """
    seen = see_zeros(guide) if has_missing(batch[0]) else guide
    with evaluating(guide):
        inside = WithinSupport(latents)
        with inside:
            trace = scored_trace(poutine.condition(seen, latents), batch, inside)
    return log_prob_of(trace, latents).expand(-1, len(batch[0]))


def _check(model: PyroFunction, guide: PyroFunction, batch: Arguments, latents: dict[str, Tensor]) -> None:
    """Check a few scores against those of the guide on one datum for each code, which work for every guide."""
    B = len(batch[0])
    with evaluating(model, guide):
        programs = BatchedPrograms(model, guide, batch)
        if any(masks_of(programs.encoded.nodes[name]) is not None for name in programs.sites):
            raise checks.InputError("guide must not be masked")
        expected = programs.log_q({name: z.expand(-1, B, *z.shape[2:]) for name, z in latents.items()})
    refusal = "guide must broadcast over codes in front of the data plate"
    try:
        found = _scores(guide, batch, latents)
    except Exception as error:  # any error of a program that does not broadcast
        raise checks.InputError(refusal) from error
    if not torch.allclose(found, expected, rtol=1e-4, atol=1e-3):
        raise checks.InputError(refusal)


def has_one_prior(model: PyroFunction, arguments: Arguments, codes: Codes) -> bool:
    """Return whether all data have the same prior: whether p(z) of codes is the same for other data.

    Args:
        model: program of p(x, z).
        arguments: arguments of the program.
        codes: codes of these data.
    """
    some = codes.data[:50]
    latents = {name: z[0, :50] for name, z in codes.latents.items()}
    batch = tuple(part[some] for part in arguments)
    masked = MaskMissing()(model) if has_missing(batch[0]) else model
    with evaluating(model):
        mine, others = (
            log_prob_of(scored_trace(poutine.condition(masked, latents), data), latents)
            for data in (batch, tuple(part.flip(0) for part in batch))
        )
    return torch.allclose(mine, others, rtol=1e-5, atol=1e-4)
