r"""Gradient estimators with separate weights for the model, the path of the samples and the score of the guide.

With :math:`w_k = p_\theta(x, z_k) / q_\phi(z_k|x)` and :math:`z_k = z_k(\phi)`, the parameters follow

.. math::
    \sum_k a_k \nabla_\theta \log p_\theta(x, z_k)
    + b_k \frac{\partial \log w_k}{\partial z_k} \nabla_\phi z_k(\phi)
    - c_k \nabla_\phi \log q_\phi(z_k|x),

where each estimator has its own :math:`a, b, c`; for the gradient of :class:`~pyrovae.objectives.IWAE`, all three
are equal to the normalised weights :math:`\tilde w_k`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from pyro.poutine.util import prune_subsample_sites, site_is_subsample
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from pyrovae import checks
from pyrovae.distributions.support_bounds import is_point
from pyrovae.execution import DataSites, Unobserved, check_simulation, find_data_sites, latents_of
from pyrovae.missing import is_missing
from pyrovae.objectives.base import Objective, weights_of
from pyrovae.programs import Arguments, PyroFunction

__all__ = ["PIWAE", "RWS", "STL", "DReG"]


class _GradientWeights(NamedTuple):
    """Weights a, b, c of the three parts of a gradient, ``(K, B)`` each, or None for an omitted part."""

    model: Tensor
    path: Tensor | None
    score: Tensor | None


class _Estimator(Objective):
    """Base class of estimators with weights for the three parts of the gradient; they report the bound."""

    @abstractmethod
    def parts(self, log_weight: Tensor, beta: Tensor | float) -> _GradientWeights:
        """Return the weights of the gradient's parts, from log weights ``(K, B)`` with the KL scaled by beta."""

    def bound(self, log_weight: Tensor) -> Tensor:
        """Return the reported bound in nats, ``(B,)``, from log weights ``(K, B)``."""
        return log_weight.logsumexp(0) - math.log(len(log_weight))

    def losses(self, model: PyroFunction, guide: PyroFunction, arguments: Arguments) -> tuple[Tensor, Tensor]:
        """Return the bound's loss and the scalar with the estimator's gradient."""
        pairs = list(self._get_traces(model, guide, arguments, {}))
        weights = weights_of(pairs)
        log_weight = weights.log_weight
        parts = self.parts(log_weight.detach(), weights.beta)
        objective = (parts.model * (weights.log_likelihood + weights.log_prior)).sum()
        if parts.score is not None:
            objective = objective - (parts.score * weights.log_posterior).sum()
        if parts.path is not None and torch.is_grad_enabled():
            path = (parts.path * log_weight).sum()
            for _, guide_trace in pairs:
                # From the last site to the first, because later samples depend on earlier ones.
                for name in reversed(latents_of(guide_trace)):
                    site = guide_trace.nodes[name]
                    (slope,) = torch.autograd.grad(path, site["value"], retain_graph=True)
                    moved = (slope.detach() * site["sampled"]).sum()
                    path, objective = path + moved, objective + moved
        return -weights.plate_scale * self.bound(log_weight).sum(), -weights.plate_scale * objective

    def _check(self, guide_trace: Trace) -> None:
        super()._check(guide_trace)
        for name in latents_of(guide_trace):
            if is_point(guide_trace.nodes[name]["fn"]):
                raise checks.InputError(
                    f"objective {type(self).__name__} needs a guide whose density can be evaluated at any point, "
                    f"but its site {name!r} is a point"
                )

    def _get_trace(self, model: PyroFunction, guide: PyroFunction, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        """Trace guide and model at samples that are detached from the guide's parameters."""
        with _DetachedSamples():
            guide_trace = prune_subsample_sites(poutine.trace(guide).get_trace(*args, **kwargs))
        self._check(guide_trace)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
        try:
            guide_trace.compute_log_prob()
        except (NotImplementedError, KeyError, ValueError) as error:
            sentence = checks.find_input_error(error)
            if isinstance(error, ValueError) and sentence is None:
                raise
            raise checks.InputError(
                f"objective {type(self).__name__} needs a guide whose density can be evaluated at any point"
                f"{', but it has a flow without an inverse' if sentence is None else f': {sentence}'}"
            ) from error
        model_trace = prune_subsample_sites(model_trace)
        model_trace.compute_log_prob()
        return model_trace, guide_trace


class _DetachedSamples(Messenger):
    """Detach each latent sample when it is drawn; the attached sample is kept in the site as ``sampled``."""

    def _pyro_post_sample(self, msg: Message) -> None:
        if msg["is_observed"] or site_is_subsample(msg):
            return
        sampled = msg["value"]
        leaf = sampled.detach()
        if leaf.is_floating_point() and torch.is_grad_enabled():
            leaf = leaf.requires_grad_()
        msg["sampled"] = sampled
        msg["value"] = leaf


class STL(_Estimator):
    r"""The path derivative of the ELBO, "sticking the landing".

    (Roeder et al., 2017, arXiv:1703.09194.) The score :math:`\nabla_\phi \log q_\phi(z|x)`, whose mean is zero, is
    omitted: the variance of the guide's gradient is then zero if the guide is the exact posterior. If weighted, the
    score is omitted from the gradient of :class:`~pyrovae.objectives.IWAE`, :math:`a = b = \tilde w, c = 0`, where
    its mean is not zero: the guide's gradient is biased (Tucker et al., 2018, arXiv:1810.04152).

    Args:
        num_particles: number K of samples per datum.
        vectorize_particles: True to draw them in one run, False for K runs, for programs that do not broadcast.
        weighted: True to maximise :math:`L_K` instead of the ELBO.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> STL().loss(vae.model, vae.guide, torch.ones(3, 4)) > 0
        True
    """

    def __init__(self, num_particles: int = 1, vectorize_particles: bool = True, weighted: bool = False) -> None:
        super().__init__(num_particles, vectorize_particles)
        self.weighted = weighted

    def bound(self, log_weight: Tensor) -> Tensor:
        """Return the ELBO, or the bound of all samples, ``(B,)``."""
        return super().bound(log_weight) if self.weighted else log_weight.mean(0)

    def parts(self, log_weight: Tensor, beta: Tensor | float) -> _GradientWeights:
        """Return equal or normalised weights, without the score."""
        share = log_weight.softmax(0) if self.weighted else torch.full_like(log_weight, 1 / len(log_weight))
        return _GradientWeights(share, share, None)


class DReG(_Estimator):
    r"""The bound :math:`L_K` with the doubly reparametrised gradient of the guide.

    :math:`a = \tilde w, b = \tilde w^2, c = 0` (Tucker et al., 2018, arXiv:1810.04152): unbiased, and its
    signal-to-noise ratio grows with K. With a tempered KL, :math:`b = (1 - \beta) \tilde w + \beta \tilde w^2`.

    Args:
        num_particles: number K of samples per datum.
        vectorize_particles: True to draw them in one run, False for K runs, for programs that do not broadcast.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> DReG(num_particles=5).loss(vae.model, vae.guide, torch.ones(3, 4)) > 0
        True
    """

    def __init__(self, num_particles: int = 5, vectorize_particles: bool = True) -> None:
        super().__init__(num_particles, vectorize_particles)

    def parts(self, log_weight: Tensor, beta: Tensor | float) -> _GradientWeights:
        """Return the normalised weights for the model, and their squares for the path."""
        share = log_weight.softmax(0)
        return _GradientWeights(share, (1 - beta) * share + beta * share**2, None)


class PIWAE(_Estimator):
    r"""The bound :math:`L_{MK}` for the model, and the mean of M bounds :math:`L_K` for the guide.

    (Rainforth et al., 2018, arXiv:1802.04537.)

    Args:
        num_particles: number K of samples in each of the guide's bounds.
        num_bounds: number M of the guide's bounds per datum.
        vectorize_particles: True to draw them in one run, False for M K runs, for programs that do not broadcast.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> PIWAE(num_particles=4, num_bounds=2).loss(vae.model, vae.guide, torch.ones(3, 4)) > 0
        True
    """

    def __init__(self, num_particles: int = 5, num_bounds: int = 5, vectorize_particles: bool = True) -> None:
        checks.integer("num_particles", num_particles)
        super().__init__(num_particles * checks.integer("num_bounds", num_bounds), vectorize_particles)
        self.num_bounds = num_bounds

    def parts(self, log_weight: Tensor, beta: Tensor | float) -> _GradientWeights:
        """Return weights normalised over all samples for the model, and within each bound for the guide."""
        within = log_weight.unflatten(0, (self.num_bounds, -1)).softmax(1).flatten(0, 1) / self.num_bounds
        return _GradientWeights(log_weight.softmax(0), within, within)


class RWS(_Estimator):
    r"""Reweighted wake-sleep: the bound :math:`L_K` for the model, weighted samples as targets for the guide.

    (Bornschein & Bengio, 2015, arXiv:1406.2751; Le et al., 2019, arXiv:1805.10469.) The guide minimises
    :math:`\mathrm{KL}(p(z|x)\,\|\,q(z|x))`, estimated by :math:`-\sum_k \tilde w_k \log q(z_k|x)` (wake), by
    :math:`-\log q(z|x)` of data sampled from the model (sleep), or by both. Samples need not be reparametrised, so
    latents may be discrete. Weights are normalised per datum; those of Pyro's class over the whole batch.

    Args:
        num_particles: number K of samples per datum, at least 2.
        sleep: share of the sleep phase in the guide's gradient, from 0 to 1.
        vectorize_particles: True to draw them in one run, False for K runs, for programs that do not broadcast.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> RWS().loss(vae.model, vae.guide, torch.ones(3, 4)) > 0
        True
    """

    needs_rsample = False
    warms_up = False

    def __init__(self, num_particles: int = 5, sleep: float = 0.0, vectorize_particles: bool = True) -> None:
        super().__init__(checks.integer("num_particles", num_particles, minimum=2), vectorize_particles)
        self.sleep = checks.number("sleep", sleep, 0.0, 1.0)
        self._found: dict[tuple[int, torch.Size], DataSites] = {}

    def parts(self, log_weight: Tensor, beta: Tensor | float) -> _GradientWeights:
        """Return the normalised weights for the model, and negated for the score, without the path."""
        share = log_weight.softmax(0)
        return _GradientWeights(share, None, -(1 - self.sleep) * share)

    def losses(self, model: PyroFunction, guide: PyroFunction, arguments: Arguments) -> tuple[Tensor, Tensor]:
        """Add the sleep phase to the scalar to differentiate."""
        loss, surrogate = super().losses(model, guide, arguments)
        if self.sleep == 0:
            return loss, surrogate
        sites = self._data_sites(model, arguments)
        with torch.no_grad(), Unobserved(sites.entries):
            simulated = poutine.trace(model).get_trace(*arguments)
        x = sites.join({name: simulated.nodes[name]["value"] for name in sites.entries}, arguments[0])
        x = x.to(arguments[0].dtype)
        if x.is_floating_point():  # the guide learns from simulated data with the gaps of the batch
            x = torch.where(is_missing(arguments[0]), arguments[0], x)
        guide_trace = poutine.trace(poutine.replay(guide, trace=simulated)).get_trace(x, *arguments[1:])
        guide_trace.compute_log_prob()
        log_q = sum((guide_trace.nodes[name]["log_prob_sum"] for name in latents_of(guide_trace)), torch.zeros(()))
        return loss, surrogate - self.sleep * log_q

    def _data_sites(self, model: PyroFunction, arguments: Arguments) -> DataSites:
        """Find the sites at which the model observes x; in a step that is being recorded, return those found before.

        They are found again at each step that is not recorded, because the model may come to depend on x later.
        """
        key = len(arguments), arguments[0].shape[1:]
        if key not in self._found or get_proxy_mode() is None:
            with poutine.block():  # these runs are not part of the step
                self._found[key] = find_data_sites(model, arguments)
                check_simulation(model, arguments, self._found[key])
        return self._found[key]
