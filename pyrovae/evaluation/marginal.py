"""The marginal likelihood of test data, with its errors: ``log_marginal`` and what it returns."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.diagnostics import effective_sample_size, monte_carlo_error, pareto_k, pareto_threshold
from pyrovae.evaluation.importance import Chunk, weigh
from pyrovae.handlers import Arguments, Batch, Program, arguments_of

if TYPE_CHECKING:
    import arviz

__all__ = ["LogMarginal", "log_marginal"]

_WEIGHTS_HELD = 2**20  # log weights held at a time, for their tails


@dataclass(frozen=True)
class LogMarginal:
    r"""Hold estimates of log p(x) with their errors; every per-datum tensor is float64 of shape ``(B,)``.

    Attributes:
        log_prob: :math:`L_K = \log \frac1K \sum_k w_k`, in nats: a lower bound of log p(x) in expectation.
        standard_error: Monte Carlo error of ``log_prob``, in nats.
        pareto_k: shape k̂ of the weights' tail.
        ess: effective sample size, between 1 and K.
        elbo: mean of the log weights, in nats.
        num_samples: K.
        method: ``importance``.
        draws: posterior draws by site name, ``(B, S, *event_shape)``: resampled from the K by their weights.
        log_likelihood: log p(x|z) at the draws, ``(B, S)``, in nats.
        x: the data, ``(B, *data_shape)``.
    """

    log_prob: Tensor
    standard_error: Tensor
    pareto_k: Tensor
    ess: Tensor
    elbo: Tensor
    num_samples: int
    method: Literal["importance"]
    draws: dict[str, Tensor] = field(repr=False)
    log_likelihood: Tensor = field(repr=False)
    x: Tensor = field(repr=False)

    @property
    def nll(self) -> float:
        """Mean of -log p(x), in nats per datum: an upper bound in expectation."""
        return -self.log_prob.mean().item()

    @property
    def sampling_error(self) -> float:
        """Standard error of ``nll`` over the choice of test data, in nats; NaN for one datum."""
        count = len(self.log_prob)
        return self.log_prob.std().item() / math.sqrt(count) if count > 1 else math.nan

    @property
    def monte_carlo_error(self) -> float:
        """Standard error of ``nll`` over the choice of samples, in nats; NaN for K = 1."""
        return self.standard_error.square().sum().sqrt().item() / len(self.standard_error)

    @property
    def bias(self) -> float:
        """Estimate of how far ``nll`` is too large, (K / ESS - 1) / 2K, in nats; too small where k̂ is large."""
        return ((self.num_samples / self.ess - 1) / (2 * self.num_samples)).mean().item()

    @property
    def verdict(self) -> str:
        """One plain sentence: whether the number can be trusted, by k̂."""
        threshold = pareto_threshold(self.num_samples)
        fitted = self.pareto_k[~self.pareto_k.isnan()]
        if len(fitted) == 0:
            if self.num_samples >= 25 and self.ess.min() > 0.999 * self.num_samples:
                return "The weights are equal: the guide is the exact posterior, and the number is exact."
            return f"K = {self.num_samples} is too few samples to tell whether the number can be trusted."
        bad = (fitted > threshold).double().mean().item()
        if bad == 0:
            return f"k̂ is below {threshold:.2f} for every datum: the number can be trusted to within its error."
        largest = f"k̂ exceeds {threshold:.2f} for {bad:.0%} of the data"
        if bad < 0.01:
            largest = f"k̂ exceeds {threshold:.2f} for {int((fitted > threshold).sum())} of {len(self.pareto_k)} data"
        if bad <= 0.1:
            return f"{largest}: the NLL of these is estimated too large, and that of the set slightly."
        return (
            f"{largest}: importance sampling with this guide cannot be trusted for them, and the NLL is too large, "
            f"by more than the {self.bias:.2g} nats that the weights themselves tell of."
        )

    def summary(self) -> dict[str, Any]:
        """Return the set's figures, in nats per datum, as plain numbers; None where one is unknown or infinite."""

        def spread(values: Tensor, quantiles: tuple[float, ...]) -> dict[str, float | None]:
            known = values[~values.isnan()]
            names = [f"{q:.0%}" for q in quantiles]
            if len(known) == 0:
                return dict.fromkeys(names)
            levels = (known.quantile(q, interpolation="nearest").item() for q in quantiles)
            return {name: _known(level) for name, level in zip(names, levels, strict=True)}

        threshold = pareto_threshold(self.num_samples)
        return {
            "nll": self.nll,
            "standard_error": _known(self.sampling_error),
            "mc_error": _known(self.monte_carlo_error),
            "bias": self.bias,
            "elbo": self.elbo.mean().item(),
            "num_samples": self.num_samples,
            "num_images": len(self.log_prob),
            "method": self.method,
            "pareto_k": {
                **spread(self.pareto_k, (0.05, 0.5, 0.95, 1.0)),
                "threshold": threshold,
                "share_above": (self.pareto_k > threshold).double().mean().item(),
            },
            "ess": spread(self.ess, (0.0, 0.05, 0.5, 0.95)),
            "verdict": self.verdict,
        }

    def to_arviz(self) -> arviz.InferenceData:
        """Return ArviZ's InferenceData.

        Groups: ``posterior`` (draws of each latent site; dimensions chain, draw, datum, ...),
        ``log_likelihood`` (log p(x|z) at the draws), ``sample_stats`` (log_prob, standard_error, pareto_k, ess
        and elbo of each datum) and ``observed_data``.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # ArviZ announces its next version when it is imported
            import arviz
        import xarray

        def array(tensor: Tensor) -> Any:
            return tensor.detach().cpu().numpy()

        statistics = ("log_prob", "standard_error", "pareto_k", "ess", "elbo")
        per_datum = {name: ("datum", array(getattr(self, name))) for name in statistics}
        draws = {name: array(z.transpose(0, 1)[None]) for name, z in self.draws.items()}  # (1, S, B, ...)
        x = self.x.to(torch.uint8) if bool(((self.x == 0) | (self.x == 1)).all()) else self.x
        latent_dims = {
            name: ["datum", *(f"{name}_dim_{i}" for i in range(z.dim() - 2))] for name, z in self.draws.items()
        }
        data = arviz.from_dict(
            posterior=draws,
            log_likelihood={"x": array(self.log_likelihood.T[None])},  # (1, S, B)
            observed_data={"x": array(x)},
            coords={"datum": range(len(self.x))},
            dims={**latent_dims, "x": ["datum", *(f"x_dim_{i}" for i in range(self.x.dim() - 1))]},
            attrs={"num_samples": self.num_samples, "method": self.method},
        )
        data.add_groups({"sample_stats": xarray.Dataset(per_datum, coords={"datum": range(len(self.x))})})
        return data


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def log_marginal(
    model: Program,
    guide: Program,
    x: Batch | Iterable[Batch],
    num_samples: int = 5000,
    method: Literal["importance"] = "importance",
    *,
    num_draws: int = 10,
    chunk_size: int = 2000,
) -> LogMarginal:
    r"""Estimate log p(x) of each datum by importance sampling from the guide, with its Monte Carlo error.

    :math:`L_K = \log \frac1K \sum_{k=1}^K p(x, z_k) / q(z_k|x)` bounds log p(x) from below in expectation and
    grows with K (Burda et al., 2015, arXiv:1509.00519). Samples are drawn in chunks and data in batches, so that
    memory is bounded by ``chunk_size`` and about a million weights, whatever the number of data.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(B, *data_shape)``, or the tuple ``(x, y)`` for programs that are called with labels, or a list or
            generator of such batches.
        num_samples: number K of samples for each datum.
        method: ``importance``.
        num_draws: number S of posterior draws to keep of each datum, resampled by weight.
        chunk_size: how many latents go through the model at a time.

    Raises:
        ValueError: if an option is bad, a site lies outside the data plate, or model and guide do not match.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> ml = log_marginal(vae.model, vae.guide, torch.ones(3, 4), num_samples=100)
        >>> ml.log_prob.shape, ml.standard_error.shape, bool((ml.log_prob >= ml.elbo).all())
        (torch.Size([3]), torch.Size([3]), True)
    """
    checks.integer("num_samples", num_samples)
    checks.integer("num_draws", num_draws, minimum=0)
    checks.integer("chunk_size", chunk_size)
    checks.choice("method", method, ("importance",))
    size = max(1, min(50, chunk_size, _WEIGHTS_HELD // num_samples))
    parts = [
        _estimate(model, guide, arguments, num_samples, num_draws, chunk_size)
        for batch in ([x] if isinstance(x, Tensor | tuple) else x)
        for arguments in zip(*(part.split(size) for part in arguments_of(batch)), strict=True)
    ]
    if not parts:
        raise checks.InputError("x must hold at least one datum, but is empty")

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(part, name) for part in parts])

    return LogMarginal(
        log_prob=joined("log_prob"),
        standard_error=joined("standard_error"),
        pareto_k=joined("pareto_k"),
        ess=joined("ess"),
        elbo=joined("elbo"),
        num_samples=num_samples,
        method=method,
        draws={site: torch.cat([part.draws[site] for part in parts]) for site in parts[0].draws},
        log_likelihood=joined("log_likelihood"),
        x=joined("x"),
    )


def _estimate(
    model: Program, guide: Program, arguments: Arguments, K: int, num_draws: int, chunk_size: int
) -> LogMarginal:
    x = arguments[0]
    log_weights = torch.empty(K, len(x), dtype=torch.float64, device=x.device)
    resampled = _Resampler(num_draws)
    start = 0
    for chunk in weigh(model, guide, arguments, K, chunk_size=chunk_size):
        log_weights[start : start + len(chunk.log_weight)] = chunk.log_weight
        start += len(chunk.log_weight)
        resampled.add(chunk)
    if bool(log_weights.isnan().any()):
        raise checks.InputError("x and the model must be finite, but the log weights of some data are NaN")
    return LogMarginal(
        log_prob=log_weights.logsumexp(0) - math.log(K),
        standard_error=monte_carlo_error(log_weights),
        pareto_k=pareto_k(log_weights),
        ess=effective_sample_size(log_weights),
        elbo=log_weights.mean(0),
        num_samples=K,
        method="importance",
        draws=resampled.draws,
        log_likelihood=resampled.log_likelihood,
        x=x,
    )


class _Resampler:
    """Keep S draws of each datum with probability proportional to their weights, in one pass over the chunks.

    Each chunk offers S of its samples, drawn by weight; an offer replaces the draw held so far with the
    chunk's share of all weight seen, so that every sample is held with the probability of its weight.
    """

    def __init__(self, num_draws: int) -> None:
        self.num_draws = num_draws
        self.draws: dict[str, Tensor] = {}
        self.log_likelihood = torch.empty(0)
        self._log_total = torch.tensor(-math.inf)

    def add(self, chunk: Chunk) -> None:
        log_weight = chunk.log_weight.double()  # (k, B)
        count = log_weight.shape[1]
        if self.num_draws == 0:
            self.log_likelihood = log_weight.new_empty(count, 0)
            return
        log_chunk = log_weight.logsumexp(0)  # (B,)
        self._log_total = torch.logaddexp(self._log_total.to(log_chunk), log_chunk)
        share = (log_chunk - self._log_total).exp()
        share = share.nan_to_num(1.0)  # where no sample so far has any weight, any will do
        weight = log_weight.softmax(0).nan_to_num(1.0)
        chosen = torch.multinomial(weight.T, self.num_draws, replacement=True)  # (B, S)
        datum = torch.arange(count, device=log_weight.device)[:, None]
        replace = torch.rand(count, self.num_draws, device=log_weight.device) < share[:, None]  # (B, S)
        offers = {name: z[chosen, datum] for name, z in chunk.latents.items()}  # (B, S, *event_shape)
        log_likelihood = chunk.log_likelihood[chosen, datum]
        if not self.draws:
            self.draws, self.log_likelihood = offers, log_likelihood
            return
        for name, z in offers.items():
            self.draws[name] = torch.where(
                replace.reshape(*replace.shape, *(1 for _ in z.shape[2:])), z, self.draws[name]
            )
        self.log_likelihood = torch.where(replace, log_likelihood, self.log_likelihood)
