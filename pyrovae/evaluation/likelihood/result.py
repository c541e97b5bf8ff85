"""``LogMarginal``, the result of an estimator: log p(x) of each datum and of the set, with errors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae import checks, html
from pyrovae.evaluation.likelihood.bias import estimated_bias
from pyrovae.evaluation.likelihood.certificate import Certificate, certify
from pyrovae.evaluation.likelihood.convergence import Convergence, convergence
from pyrovae.evaluation.likelihood.diagnostics import effective_sample_size, monte_carlo_error, pareto_threshold
from pyrovae.evaluation.likelihood.diagnostics import pareto_k as fit_pareto_k
from pyrovae.reprs import json_number, short_repr

if TYPE_CHECKING:
    import pandas

    from pyrovae.arviz_import import InferenceData
    from pyrovae.evaluation.adaptive.result import AdaptiveResult
    from pyrovae.evaluation.likelihood.annealed_chains import ChainPaths
    from pyrovae.evaluation.likelihood.prior_comparison import CrossCheck
    from pyrovae.evaluation.likelihood.thermodynamic import ThermodynamicIntegral

__all__ = ["MAX_CHAIN_ERROR", "MIN_ACCEPTANCE", "STATISTICS", "LogMarginal"]

MIN_ACCEPTANCE = 0.3
"""Acceptance below which chains hardly move: set by hand, far below the 0.8 to which step sizes are tuned."""

MAX_CHAIN_ERROR = 0.45
"""Largest standard error of chains that agree, in nats: that of 16 chains whose log weights have a variance of 1.5."""

_TAIL = 50  # number of largest weights kept of each datum
_HEAVY = 0.2  # share of the data; scripts/benchmarks/error_calibration.py measures the coverage on both sides of it

STATISTICS = (
    "log_prob",
    "standard_error",
    "bias",
    "pareto_k",
    "ess",
    "elbo",
    "acceptance",
    "num_samples",
    "num_evaluations",
)
"""Names of the results of each datum, ``(B,)`` each."""


@dataclass(frozen=True)
class LogMarginal:
    r"""Estimates of log p(x) with their errors; each has shape ``(B,)`` unless stated otherwise.

    Attributes:
        log_prob: :math:`L_K = \log \frac1K \sum_k w_k`, in nats: a lower bound of log p(x) in expectation.
        standard_error: Monte Carlo error of ``log_prob``, in nats.
        bias: shortfall of ``log_prob``, estimated from the weights, in nats.
        pareto_k: shape k̂ of the weights' tail; NaN where there are too few weights.
        ess: effective sample size, between 1 and K.
        elbo: mean of the guide's log weights, in nats.
        acceptance: mean acceptance of annealed chains; NaN for importance samples.
        num_samples: number K of weights: importance samples, annealed chains, or pairs of chains
            (``Annealed`` with ``keep_guide``).
        num_evaluations: number of decoder runs, with or without a gradient.
        method: name of the estimator, such as ``importance``, ``annealed`` or ``adaptive``; ``exact`` for the sum over
            all values of discrete latents.
        tail: largest log weights, normalised by their sum, in nats, in descending order, ``(M, B)``.
        draws: posterior draws by site name, ``(B, S, *event_shape)``, resampled from the K samples by weight.
        log_likelihood: log p(x|z) at the draws, ``(B, S)``, in nats.
        x: the data, ``(B, *data_shape)``.
        convergence: the bound for fewer samples; None if not computed.
        paths: paths of the annealed chains of the first data; None without chains.
        check: second estimates of some data by chains from the prior; None without such a check.
        prior_found: share of p(x) that the samples or chains from the prior alone find, at most 1; None if all are from
            the guide.
        log_unbiased: log of S alternative estimates of p(x) whose product over the data has a mean of at most that of
            p(x), ``(S, B)``, in nats: what is certified. None if the estimator does not declare any.
        integral: log p(x) by thermodynamic integration of the same annealed chains; None for other estimators,
            and for a refined guide with ``keep_guide``.
        is_refined: True if annealed chains start at a refined guide, whose intervals cover less often than 95 % where
            the guide misses modes.
        adaptive: target, errors and effort of the estimator :class:`Adaptive`; None for other estimators, and for
            results read from a file.
    """

    log_prob: Tensor
    standard_error: Tensor
    bias: Tensor
    pareto_k: Tensor
    ess: Tensor
    elbo: Tensor
    acceptance: Tensor
    num_samples: Tensor
    num_evaluations: Tensor
    method: str
    tail: Tensor = field(repr=False)
    draws: dict[str, Tensor] = field(repr=False)
    log_likelihood: Tensor = field(repr=False)
    x: Tensor = field(repr=False)
    convergence: Convergence | None = field(default=None, repr=False)
    paths: ChainPaths | None = field(default=None, repr=False)
    check: CrossCheck | None = field(default=None, repr=False)
    prior_found: Tensor | None = field(default=None, repr=False)
    log_unbiased: Tensor | None = field(default=None, repr=False)
    integral: ThermodynamicIntegral | None = field(default=None, repr=False)
    is_refined: bool = field(default=False, repr=False)
    adaptive: AdaptiveResult | None = field(default=None, repr=False)

    @classmethod
    def from_log_weights(
        cls,
        log_weights: Tensor,
        x: Tensor,
        *,
        method: str,
        elbo: Tensor | None = None,
        standard_error: Tensor | None = None,
        pareto_k: Tensor | None = None,
        acceptance: Tensor | None = None,
        num_evaluations: int | None = None,
        curve: Convergence | None = None,
        draws: dict[str, Tensor] | None = None,
        log_likelihood: Tensor | None = None,
        paths: ChainPaths | None = None,
        prior_found: Tensor | None = None,
    ) -> LogMarginal:
        r"""Summarise weights whose mean is p(x); results that are not given are computed from the weights.

        Args:
            log_weights: independent log weights of each datum, ``(K, B)``, in nats.
            x: the data, ``(B, *data_shape)``.
            method: name of the estimator.
            elbo: mean log weight of the guide's samples, ``(B,)``, in nats; NaN if not given.
            standard_error: Monte Carlo error of log p(x), ``(B,)``, in nats; by the delta method if not given.
            pareto_k: tail shape k̂ of the weights, ``(B,)``; fitted if not given.
            acceptance: mean acceptance of annealed chains, ``(B,)``; NaN if not given.
            num_evaluations: number of decoder runs for each datum; K if not given.
            curve: the bound for fewer weights; computed if not given.
            draws: posterior draws by site name, ``(B, S, *event_shape)``.
            log_likelihood: log p(x|z) at the draws, ``(B, S)``, in nats.
            paths: paths of annealed chains.
            prior_found: share of p(x) that samples from the prior alone find, ``(B,)``.

        Raises:
            ValueError: if a log weight is NaN.
        """
        log_weights = log_weights.double()
        if bool(log_weights.isnan().any()):
            raise checks.InputError("x and the model must be finite, but the log weights of some data are NaN")
        (K, count), nan = log_weights.shape, torch.full_like(log_weights[0], math.nan)
        if pareto_k is None:
            pareto_k = fit_pareto_k(log_weights)
        if curve is None:
            curve = convergence(log_weights, pareto_k)
        acceptance = nan if acceptance is None else acceptance
        total = log_weights.logsumexp(0)
        ess, num_samples = effective_sample_size(log_weights), torch.full((count,), K, device=x.device)
        return cls(
            log_prob=total - math.log(K),
            standard_error=monte_carlo_error(log_weights) if standard_error is None else standard_error,
            bias=estimated_bias(curve.halved, curve.unseen, ess, num_samples, ~acceptance.isnan()),
            pareto_k=pareto_k,
            ess=ess,
            elbo=nan if elbo is None else elbo,
            acceptance=acceptance,
            num_samples=num_samples,
            num_evaluations=torch.full_like(num_samples, K if num_evaluations is None else num_evaluations),
            method=method,
            tail=(log_weights - total).topk(min(K, _TAIL), 0).values,
            draws=draws or {},
            log_likelihood=log_weights.new_empty(count, 0) if log_likelihood is None else log_likelihood,
            x=x,
            convergence=curve,
            paths=paths,
            prior_found=prior_found,
        )

    def __repr__(self) -> str:
        figures = {"nll": self.nll, "standard_error": self.sampling_error, "monte_carlo_error": self.monte_carlo_error}
        counts = {"num_data": len(self.log_prob), "num_samples": int(self.num_samples.max()), "method": self.method}
        return short_repr(self, **figures, **counts)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self, bits_per_dim: float | None = None) -> list[str]:
        """Return the result in a few lines: NLL, errors, ELBO and the verdict, as ``pyrovae evaluate`` prints it.

        Args:
            bits_per_dim: the NLL in bits/dim, for data that have such.
        """
        count, noise, chains = len(self.log_prob), self.monte_carlo_error, bool((~self.acceptance.isnan()).all())
        bits = "" if bits_per_dim is None else f", {bits_per_dim:.4f} bits/dim"
        effort = f"K = {int(self.num_samples.max())}" + (" weights of chains" if chains else "")
        if self.paths is not None:
            effort += f", T = {len(self.paths.log_weight)}"
        if self.is_exact:
            effort = f"exact sum of {int(self.num_samples.max())} terms"
        if self.is_adaptive:
            effort = f"{self.num_evaluations.double().mean():,.0f} decoder runs each"
        over = "unknown over the data, for there is one"
        if count > 1:
            over = f"{self.sampling_error:.2f} over the data"
        lines = [
            f"NLL {self.nll:.2f} nats per datum{bits} ({count} data, {effort})",
            f"  standard error {over}, {'unknown' if math.isnan(noise) else f'{noise:.4f}'} Monte Carlo",
            f"  ELBO {self.elbo.mean():.2f} nats per datum",
        ]
        if chains and not self.is_adaptive:
            accepted, ess = self.acceptance.median(), self.ess.median()
            lines.append(f"  acceptance {accepted:.2f}, {ess:.1f} effective weights (medians)")
        return [*lines, f"  {self._certificate_line(bits_per_dim)}", f"  {self.verdict}"]

    def certificate(self, confidence: float = 0.99) -> Certificate | None:
        r"""Return an upper bound of the NLL of these data that holds whatever the guide, or None if there is none.

        The log of an unbiased estimate exceeds log p(x) by more than b nats with a probability of at most
        :math:`e^{-b}` (Markov's inequality), and so does the sum over the data, whose estimates are independent. With
        the default confidence, the bound of the mean of N data is :math:`\log(100) / N` nats above ``nll``.

        Importance samples and annealed chains are certified as they are. :class:`Adaptive` is certified by estimates
        whose weighting was fixed before their samples were drawn. An estimator of your own is certified if it declares
        ``unbiased = True``.

        Args:
            confidence: probability, over the choice of samples, with which the bound holds.

        Raises:
            ValueError: if ``confidence`` is not between 0 and 1.

        Example:
            >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
            >>> ml = log_marginal(vae.model, vae.guide, torch.ones(3, 4), num_samples=100)
            >>> math.isclose(ml.certificate().nll, ml.nll + math.log(100) / 3)
            True
        """
        return None if self.log_unbiased is None else certify(self.log_unbiased, confidence)

    def _bits_of(self, nll: float, bits_per_dim: float | None) -> float | None:
        """Convert another NLL in nats to bits per dimension, given this result's own; None if that is None."""
        if bits_per_dim is None:
            return None
        return bits_per_dim + (nll - self.nll) / (math.prod(self.x.shape[1:]) * math.log(2))

    def _certificate_summary(self, bits_per_dim: float | None) -> dict[str, Any] | None:
        certificate = self.certificate()
        return None if certificate is None else certificate.summary(self._bits_of(certificate.nll, bits_per_dim))

    def _certificate_line(self, bits_per_dim: float | None) -> str:
        certificate = self.certificate()
        if certificate is not None:
            return certificate.sentence(self._bits_of(certificate.nll, bits_per_dim))
        if self.log_unbiased is None:
            return f"no certificate: the estimates by {self.method} are not declared to be unbiased"
        return "no certificate: some data have no weight above zero that counts for it"

    def _repr_html_(self) -> str:
        first, *others = self.lines()
        trusted = self.reliable.cpu()
        nll = -self.log_prob.detach().cpu()
        groups = {"can be trusted": nll[trusted].tolist(), "cannot": nll[~trusted].tolist()}
        return html.card(first, html.sentences(others), html.histogram(groups, "−log p(x) of each datum, nats"))

    @property
    def reliable(self) -> Tensor:
        """True for data whose estimate can be trusted by its own diagnostics, ``(B,)``.

        Importance samples: k̂ is below its threshold, or the weights are equal. Chains: they move, and their standard
        error is at most 0.45 nats. Data of which chains from the prior find more are not reliable. An exact sum is. An
        adaptive estimate says itself which data have enough samples.
        """
        if self.adaptive is not None:
            return self.adaptive.reliable.to(self.log_prob.device)
        if self.is_exact:
            return self.log_prob.isfinite()
        equal = self.ess > 0.999 * self.num_samples
        sampled = (self.pareto_k <= pareto_threshold(self.num_samples)) | (equal & (self.num_samples >= 25))
        moving = (self.acceptance >= MIN_ACCEPTANCE) & (self.standard_error <= MAX_CHAIN_ERROR)
        trusted = torch.where(self.acceptance.isnan(), sampled, moving) & self.log_prob.isfinite()
        if self.check is not None:
            trusted[self.check.index[self.check.exceeds]] = False
        return trusted

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a table with a row for each datum: its figures in nats, and whether they are reliable.

        Example:
            >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
            >>> table = log_marginal(vae.model, vae.guide, torch.ones(3, 4), num_samples=100).to_dataframe()
            >>> table.shape, list(table.columns[:2])
            ((3, 10), ['log_prob', 'standard_error'])
        """
        import pandas

        columns = {name: getattr(self, name).detach().cpu().numpy() for name in STATISTICS}
        table = pandas.DataFrame({**columns, "reliable": self.reliable.cpu().numpy()})
        return table.rename_axis("datum")

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
    def mean_bias(self) -> float:
        """Excess of ``nll``, estimated from the weights, in nats; not reliable where k̂ is large."""
        return self.bias.mean().item()

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the NLL of these data over the choice of samples, in nats per datum.

        From the NLL minus its estimated bias and 1.96 Monte Carlo errors to the NLL plus 1.96 Monte Carlo errors. The
        bias includes what a check by chains from the prior finds missing, and the errors at the lower end that of a
        check of some of the data. The lower end is minus infinity if the weights have heavy tails, because their bias
        is then unknown. NaN for K = 1. Without such a check, the interval holds as far as the guide's modes go.
        """
        bias, error, checked = self.mean_bias, self.monte_carlo_error, 0.0
        if self.check is not None:
            bias += self.check.missing
            checked = self.check.missing_error(len(self.log_prob))
        low = -math.inf if self.has_heavy_tails else self.nll - bias - 1.96 * math.hypot(error, checked)
        return low, self.nll + 1.96 * error

    @property
    def modes_checked(self) -> bool:
        """True if modes that the guide misses would have been found, because the prior finds at least half of p(x).

        This must hold for nine in ten of the checked data; without a check, on average over the data for the estimate's
        own samples from the prior.
        """
        if self.check is not None:
            return self.check.is_conclusive
        return self.prior_found is not None and self.prior_found.mean().item() >= 0.5

    @property
    def has_heavy_tails(self) -> bool:
        """True if k̂ is above 0.7 for more than a fifth of the data, so that the set's bias cannot be extrapolated.

        False for adaptive estimates, in which hard data are annealed.
        """
        return not self.is_adaptive and (self.pareto_k > 0.7).double().mean().item() > _HEAVY

    @property
    def is_exact(self) -> bool:
        """True if p(x) is the sum over all values of discrete latents, and no samples were drawn."""
        return self.method == "exact"

    @property
    def is_adaptive(self) -> bool:
        """True if samples were allocated by the needs of each datum."""
        return self.method == "adaptive"

    @property
    def verdict(self) -> str:
        """Conclusion in one or a few sentences: can this estimate be trusted? It does not say if the model is good."""
        from pyrovae.evaluation.likelihood.verdict import verdict

        return verdict(self) if self.adaptive is None else f"{self.adaptive.verdict} {verdict(self)}"

    def summary(self, bits_per_dim: float | None = None) -> dict[str, Any]:
        """Return the results of the set, in nats per datum, as plain numbers; None for unknown or infinite values.

        Args:
            bits_per_dim: the NLL in bits per dimension, for data that have such; gives those of the certificate.
        """

        def spread(values: Tensor, quantiles: tuple[float, ...]) -> dict[str, float | None]:
            known = values[~values.isnan()]
            names = [f"{q:.0%}" for q in quantiles]
            if len(known) == 0:
                return dict.fromkeys(names)
            levels = (known.quantile(q, interpolation="nearest").item() for q in quantiles)
            return {name: json_number(level) for name, level in zip(names, levels, strict=True)}

        thresholds = pareto_threshold(self.num_samples)
        sampled = thresholds[self.acceptance.isnan()]
        return {
            "nll": json_number(self.nll),
            "standard_error": json_number(self.sampling_error),
            "mc_error": json_number(self.monte_carlo_error),
            "bias": json_number(self.mean_bias),
            "interval": [json_number(end) for end in self.interval],
            "elbo": json_number(self.elbo.mean().item()),
            "certificate": self._certificate_summary(bits_per_dim),
            "num_samples": int(self.num_samples.max()),
            "num_evaluations": int(self.num_evaluations.sum()),
            "num_data": len(self.log_prob),
            "method": self.method,
            "share_annealed": (~self.acceptance.isnan()).double().mean().item(),
            "acceptance": spread(self.acceptance, (0.05, 0.5, 0.95)),
            "pareto_k": {
                **spread(self.pareto_k, (0.05, 0.5, 0.95, 1.0)),
                "threshold": sampled.min().item() if len(sampled) else None,
                "share_above": (self.pareto_k > thresholds).double().mean().item(),
            },
            "ess": spread(self.ess, (0.0, 0.05, 0.5, 0.95)),
            "convergence": None if self.convergence is None else self.convergence.table(),
            "check": None if self.check is None else self.check.summary(),
            "thermodynamic_integral": None if self.integral is None else self.integral.summary(),
            "verdict": self.verdict,
        }

    def compact(self) -> LogMarginal:
        """Return the same result with the data as bytes, if they are zeros and ones."""
        binary = self.x.dtype != torch.uint8 and all(bool(((x == 0) | (x == 1)).all()) for x in self.x.split(1000))
        return replace(self, x=self.x.to(torch.uint8)) if binary else self

    def to_arviz(self) -> InferenceData:
        """Return ArviZ's InferenceData, which from ArviZ 1 on is a ``DataTree`` of xarray.

        Groups: ``posterior`` (draws of each latent site unless none were kept; dimensions chain, draw, datum, ...),
        ``sample_stats`` (the results of each datum, the tail of its weights, the bound for fewer samples, the paths of
        annealed chains, and ``log_p_x_given_z`` at the draws) and ``observed_data``. There is no group
        ``log_likelihood``, because each datum has its own latents, so that ``arviz.loo`` and ``waic`` of log p(x|z)
        would not score the model. ``log_prob`` is the held-out score that they would estimate.
        """
        from pyrovae.evaluation.likelihood.inference_data import inference_data

        return inference_data(self)
