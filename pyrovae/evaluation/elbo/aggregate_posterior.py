"""The aggregate posterior, the mean of the guide over data, and what a code tells of the datum that it is of."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from pyro import poutine
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.likelihood.proposal import Proposal
from pyrovae.execution import evaluating, log_prob_of, masks_of
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.execution.latent_handlers import WithinSupport, scored_trace
from pyrovae.programs import Arguments, PyroFunction

__all__ = ["Codes", "Estimate", "draw_codes", "has_one_prior", "split_rate"]

_DATA = 16  # for which all codes are scored at a time
_ELEMENTS = 2**20  # components of codes that are scored at a time, which bounds the memory


class Estimate(NamedTuple):
    """Hold a figure of a set of data.

    Attributes:
        value: in nats per datum.
        error: its Monte Carlo error, in nats.
    """

    value: float
    error: float


class Codes(NamedTuple):
    """Hold S codes of each of n data.

    Attributes:
        latents: by site name, ``(S, n, *event_shape)``.
        rate: log q(z|x) - log p(z) of each, float64, ``(S, n)``, in nats.
        data: which of the N data they are of, ``(n,)`` integers.
    """

    latents: dict[str, Tensor]
    rate: Tensor
    data: Tensor


def draw_codes(
    model: PyroFunction, guide: PyroFunction, arguments: Arguments, num_codes: int, batch_size: int = 50
) -> Codes:
    """Draw codes of data: two of each or more, of as many of the data at random as makes ``num_codes``, about.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        arguments: what they are called with, N data.
        num_codes: how many codes.
        batch_size: data that are encoded at a time.
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
    r"""Split the rate into the mutual information of a code and which datum it is of, and the marginal KL.

    .. math:: \mathrm{E} \log \frac{q(z|x)}{p(z)} = \mathrm{E} \log \frac{q(z|x)}{q(z)}
        + \mathrm{E} \log \frac{q(z)}{p(z)}, \qquad q(z) = \frac1N \sum_n q(z|x_n) ,

    q(z) being computed exactly, by scoring each code for each of the data. The rate of the codes is their control
    variate: whichever of the two parts varies less is what they are asked for.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        arguments: what they are called with, N data.
        codes: of some of these data.
        rate: of all of the data, from other samples.

    Raises:
        ValueError: if the guide cannot score codes of other data, or does not broadcast over codes.
    """
    N = len(arguments[0])
    S, count = codes.rate.shape
    latents = {name: z.flatten(0, 1).unsqueeze(1) for name, z in codes.latents.items()}  # (S * n, 1, *event_shape)
    _check(model, guide, tuple(part[:2] for part in arguments), {name: z[:2] for name, z in latents.items()})
    log_sum, own = _aggregate(guide, arguments, latents, codes.data.repeat(S))
    gain = (own - log_sum + math.log(N)).unflatten(0, (S, count))  # log q(z|x) - log q(z)
    # If codes are of all data, what differs between these is no error.
    gain_apart, rate_apart = (part - (part.mean(0) if count == N else part.mean()) for part in (gain, codes.rate))
    slope = ((gain_apart * rate_apart).mean() / rate_apart.square().mean()).nan_to_num(0.0).clamp(0, 1).item()
    error = _error(gain - slope * codes.rate, N)
    mutual = gain.mean().item() + slope * (rate.value - codes.rate.mean().item())
    return (
        Estimate(mutual, math.hypot(error, slope * rate.error)),
        Estimate(rate.value - mutual, math.hypot(error, (1 - slope) * rate.error)),
    )


def _error(values: Tensor, N: int) -> float:
    """Return the error of the mean of values, ``(S, n)``, by two-stage sampling: n of N data, S codes of each.

    (Cochran, 1977, section 10.3.)
    """
    S, count = values.shape
    share = count / N
    among = values.mean(0).var().item() / count if share < 1 else 0.0
    return math.sqrt((1 - share) * among + share * values.var(0).mean().item() / (S * count))


def _aggregate(
    guide: PyroFunction, arguments: Arguments, latents: dict[str, Tensor], owner: Tensor
) -> tuple[Tensor, Tensor]:
    """Return log q(z|x) of each code, summed over all data as densities, and of its own datum alone, ``(M,)`` each."""
    M = len(owner)
    log_sum = torch.full((M,), -math.inf, dtype=torch.float64, device=owner.device)
    own = log_sum.clone()
    size = sum(z[0].numel() for z in latents.values())
    width = max(1, _ELEMENTS // (_DATA * size))
    start = 0
    for batch in zip(*(part.split(_DATA) for part in arguments), strict=True):
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

    It runs in the data plate alone: no distribution is expanded to all pairs, which would copy what some of them hold.
    """
    with evaluating(guide):
        inside = WithinSupport(latents)
        with inside:
            trace = scored_trace(poutine.condition(guide, latents), batch, inside)
    return log_prob_of(trace, latents).expand(-1, len(batch[0]))


def _check(model: PyroFunction, guide: PyroFunction, batch: Arguments, latents: dict[str, Tensor]) -> None:
    """Compare a few scores with those of the guide on one datum for each code, which every guide can take."""
    B = len(batch[0])
    with evaluating(model, guide):
        programs = BatchedPrograms(model, guide, batch)
        if any(masks_of(programs.encoded.nodes[name]) is not None for name in programs.sites):
            raise checks.InputError("guide must not be masked")
        expected = programs.log_q({name: z.expand(-1, B, *z.shape[2:]) for name, z in latents.items()})
    refusal = "guide must broadcast over codes in front of the data plate"
    try:
        found = _scores(guide, batch, latents)
    except Exception as error:  # whatever a program that does not broadcast stumbles over
        raise checks.InputError(refusal) from error
    if not torch.allclose(found, expected, rtol=1e-4, atol=1e-3):
        raise checks.InputError(refusal)


def has_one_prior(model: PyroFunction, arguments: Arguments, codes: Codes) -> bool:
    """Tell whether codes have the same p(z) when they are taken for those of other data.

    Args:
        model: program of p(x, z).
        arguments: what it is called with.
        codes: of these data.
    """
    some = codes.data[:50]
    latents = {name: z[0, :50] for name, z in codes.latents.items()}
    batch = tuple(part[some] for part in arguments)
    with evaluating(model):
        mine, others = (
            log_prob_of(scored_trace(poutine.condition(model, latents), told), latents)
            for told in (batch, tuple(part.flip(0) for part in batch))
        )
    return torch.allclose(mine, others, rtol=1e-5, atol=1e-4)
