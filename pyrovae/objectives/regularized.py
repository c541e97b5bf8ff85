"""ELBOs with a modified KL: free bits, total correlation, maximum mean discrepancy."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer.util import is_validation_enabled
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import kl_divergence

from pyrovae import checks
from pyrovae.execution import latents_of
from pyrovae.objectives.base import Objective, weights_of
from pyrovae.programs import Arguments, PyroFunction

__all__ = ["MMD", "BetaTCVAE", "FreeBits"]


class FreeBits(Objective):
    r"""The ELBO with free bits: the KL of each latent dimension counts only above a threshold.

    :math:`\mathrm{E}[\log p(x|z)] - \sum_d \max(\lambda, \mathrm{KL}_d)`, where :math:`\mathrm{KL}_d` is the batch's
    mean KL of dimension d, in closed form if both distributions are independent over dimensions and guide and
    model sample their sites in the same order; else the KL of a site is sampled as a whole, with threshold
    :math:`D\lambda` (Kingma et
    al., 2016, arXiv:1606.04934).

    Args:
        free_nats: :math:`\lambda`, in nats per latent dimension.
        num_particles: number of samples per datum.
        vectorize_particles: True to draw them in one run, False for a run for each, for programs that do not broadcast.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> FreeBits(free_nats=0.25).loss(vae.model, vae.guide, torch.ones(3, 4)) > 0
        True
    """

    def __init__(self, free_nats: float = 0.1, num_particles: int = 1, vectorize_particles: bool = True) -> None:
        super().__init__(num_particles, vectorize_particles)
        self.free_nats = checks.number("free_nats", free_nats)

    def losses(self, model: PyroFunction, guide: PyroFunction, arguments: Arguments) -> tuple[Tensor, Tensor]:
        """Return the loss twice: it is also the scalar to differentiate."""
        pairs = list(self._get_traces(model, guide, arguments, {}))
        weights = weights_of(pairs)
        count = weights.log_likelihood.shape[1]
        loss = -weights.log_likelihood.mean(0).sum()
        names = latents_of(pairs[0][1])
        # In a bottom-up guide, a site's prior depends on later samples of the guide: its KL has no closed form.
        in_order = names == [name for name in pairs[0][0].nodes if name in names]
        for name in names:
            rows = [
                _kl(model_trace.nodes[name], guide_trace.nodes[name], in_order) for model_trace, guide_trace in pairs
            ]
            kl = torch.stack([row.flatten(0, -2).mean(0) for row in rows]).mean(0)  # (D,) or (1,)
            site = pairs[0][1].nodes[name]
            free = self.free_nats * math.prod(site["fn"].event_shape) / len(kl)
            loss = loss + weights.beta * count * kl.clamp_min(free).sum()
        return weights.plate_scale * loss, weights.plate_scale * loss


def _kl(prior: dict[str, Any], posterior: dict[str, Any], in_order: bool) -> Tensor:
    """Return the KL per datum and dimension, ``(*, B, D)``; if sampled, over all dimensions, ``(*, B, 1)``."""
    p, q, mask = prior["fn"], posterior["fn"], posterior["mask"]
    factorised = all(isinstance(fn, dist.Independent) and fn.reinterpreted_batch_ndims == 1 for fn in (p, q))
    if in_order and factorised:
        try:
            kl = kl_divergence(q.base_dist, p.base_dist)
        except NotImplementedError:
            pass
        else:
            return scale_and_mask(kl, mask=mask.unsqueeze(-1) if isinstance(mask, Tensor) else mask)
    sampled = (scale_and_mask(site["unscaled_log_prob"], mask=site["mask"]) for site in (posterior, prior))
    return (next(sampled) - next(sampled)).unsqueeze(-1)


class BetaTCVAE(Objective):
    r"""The ELBO with weights of the KL's parts: index-code information, total correlation, dimension-wise KL.

    :math:`\mathrm{E}[\log p(x|z)] - \alpha I(z; n) - \beta\,\mathrm{KL}(q(z)\,\|\,\prod_d q(z_d))
    - \gamma \sum_d \mathrm{KL}(q(z_d)\,\|\,p(z_d))`, where the aggregate q(z) is estimated from the batch (Chen et al.,
    2018, arXiv:1802.04942). At :math:`\alpha = \beta = \gamma = 1` it is the ELBO. Minibatch-weighted
    sampling divides by the size of the data set, which only shifts the parts by constants; here it divides by the size
    of the batch.

    Args:
        alpha: weight of the index-code information.
        beta: weight of the total correlation.
        gamma: weight of the dimension-wise KL.

    Raises:
        ValueError: if the guide has not one latent site, independent over dimensions.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> BetaTCVAE(beta=6.0).loss(vae.model, vae.guide, torch.ones(3, 4)) > 0
        True
    """

    def __init__(self, alpha: float = 1.0, beta: float = 6.0, gamma: float = 1.0) -> None:
        super().__init__()
        self.alpha = checks.number("alpha", alpha)
        self.beta = checks.number("beta", beta)
        self.gamma = checks.number("gamma", gamma)

    def losses(self, model: PyroFunction, guide: PyroFunction, arguments: Arguments) -> tuple[Tensor, Tensor]:
        """Return the loss twice: it is also the scalar to differentiate."""
        pairs = list(self._get_traces(model, guide, arguments, {}))
        weights = weights_of(pairs)
        site = _only_site("BetaTCVAE", pairs[0][1])
        q = site["fn"]
        if not isinstance(q, dist.Independent) or q.reinterpreted_batch_ndims != 1:
            raise checks.InputError(
                "objective BetaTCVAE needs a posterior that is independent over dimensions, such as DiagonalNormal, "
                f"but {type(q).__name__} was given"
            )
        z = site["value"]  # (B, D)
        pairwise = q.base_dist.log_prob(z.unsqueeze(1))  # (B, B, D): log q(z_i|x_j) of each dimension
        log_count = math.log(len(z))
        log_q_z = pairwise.sum(-1).logsumexp(1) - log_count  # (B,)
        log_q_dims = (pairwise.logsumexp(1) - log_count).sum(-1)  # (B,)
        log_q, log_p = weights.log_posterior[0], weights.log_prior[0]  # (B,) each, tempered
        information = log_q - weights.beta * log_q_z
        correlation = weights.beta * (log_q_z - log_q_dims)
        dimensions = weights.beta * log_q_dims - log_p
        kl = self.alpha * information + self.beta * correlation + self.gamma * dimensions
        loss = weights.plate_scale * (kl - weights.log_likelihood[0]).sum()
        return loss, loss


class MMD(Objective):
    r"""Reconstruction, and the maximum mean discrepancy of the aggregate posterior q(z) to the prior.

    :math:`\mathrm{E}[\log p(x|z)] - \lambda\,\mathrm{MMD}^2(q(z), p(z)) - \kappa\,\mathrm{KL}(q(z|x)\,\|\,p(z))`: with
    :math:`\kappa = 0` a Wasserstein autoencoder (Tolstikhin et al., 2018, arXiv:1711.01558), else an InfoVAE (Zhao et
    al., 2017, arXiv:1706.02262, with :math:`\kappa = 1 - \alpha`). The kernel is a sum of inverse multiquadratics,
    the estimate unbiased. A learned prior needs :math:`\kappa > 0`, since the discrepancy does not train it.

    Args:
        mmd_weight: :math:`\lambda`, in nats per datum.
        kl_weight: :math:`\kappa`.

    Raises:
        ValueError: if the guide has not one latent site.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> MMD(mmd_weight=10.0).loss(vae.model, vae.guide, torch.ones(3, 4)) > 0
        True
    """

    warms_up = False

    def __init__(self, mmd_weight: float = 100.0, kl_weight: float = 0.0) -> None:
        super().__init__()
        self.mmd_weight = checks.number("mmd_weight", mmd_weight)
        self.kl_weight = checks.number("kl_weight", kl_weight)

    def losses(self, model: PyroFunction, guide: PyroFunction, arguments: Arguments) -> tuple[Tensor, Tensor]:
        """Return the loss twice: it is also the scalar to differentiate."""
        pairs = list(self._get_traces(model, guide, arguments, {}))
        weights = weights_of(pairs)
        ((model_trace, guide_trace),) = pairs
        site = _only_site("MMD", guide_trace)
        z = site["value"]  # (B, D)
        if z.dim() != 2:
            raise checks.InputError(f"objective MMD needs codes of shape (D,), but they have {tuple(z.shape[1:])}")
        p = model_trace.nodes[site["name"]]["fn"]
        if self.kl_weight == 0 and is_validation_enabled() and p.log_prob(z.detach()).requires_grad:
            raise checks.InputError(
                "kl_weight must be above 0 for the objective MMD to train a prior that is learned, but 0 was given"
            )
        prior = p.sample()  # (B, D)
        kl = weights.log_posterior[0] - weights.log_prior[0]  # (B,), tempered
        discrepancy = weights.beta * len(z) * _discrepancy(z, prior)
        loss = (self.kl_weight * kl - weights.log_likelihood[0]).sum() + self.mmd_weight * discrepancy
        return weights.plate_scale * loss, weights.plate_scale * loss


def _discrepancy(z: Tensor, w: Tensor) -> Tensor:
    """Estimate MMD squared, without bias, between samples ``(B, D)`` of two distributions."""
    n, dim = z.shape
    if n < 2:
        return z.new_zeros(())

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squared = (a.unsqueeze(1) - b).square().sum(-1)  # (B, B)
        scales = (2.0 * dim * factor for factor in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))
        return sum((scale / (scale + squared) for scale in scales), torch.zeros_like(squared)) / 7

    def off_diagonal(values: Tensor) -> Tensor:
        return (values.sum() - values.diagonal().sum()) / (n * (n - 1))

    return off_diagonal(kernel(z, z)) + off_diagonal(kernel(w, w)) - 2 * kernel(z, w).mean()


def _only_site(objective: str, guide_trace: Trace) -> dict[str, Any]:
    names = latents_of(guide_trace)
    if len(names) != 1:
        raise checks.InputError(f"objective {objective} needs a guide with one latent site, but it has {len(names)}")
    return guide_trace.nodes[names[0]]
