"""Mixture of normals with samples that are differentiable in all parameters, also the weights."""

from __future__ import annotations

import math

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions import constraints

__all__ = ["NormalMixture"]


class NormalMixture(TorchDistribution):
    r"""A mixture of diagonal normals: :math:`p(z) = \sum_k \pi_k\, \mathcal{N}(z; \mu_k, \mathrm{diag}\,\sigma_k^2)`.

    Samples are differentiable with respect to all parameters. Derivatives with respect to :math:`\mu_k`
    and :math:`\sigma_k` are weighted by the share of component k in the density (Jankowiak & Karaletsos, 2018,
    arXiv:1806.01856). Those with respect to the weights come from implicit reparametrisation (Figurnov et al., 2018,
    arXiv:1805.08498) of the conditional distribution functions :math:`F_d(z_d | z_{<d})` (Graves, 2016,
    arXiv:1607.05690), whose values are kept constant: :math:`\nabla z = -(\partial F / \partial z)^{-1} \nabla F` with
    a triangular matrix. For well separated components, derivatives with respect to the weights are rare and large.
    Pyro's :class:`~pyro.distributions.MixtureOfDiagNormals` uses other derivatives, for D of at least 2, from densities
    that overflow if D is large.

    Args:
        logits: logarithms of the weights :math:`\pi` and any constant, ``(*, K)``.
        loc: means, ``(*, K, D)``.
        scale: standard deviations, ``(*, K, D)``.

    Example:
        >>> p = NormalMixture(torch.zeros(2), torch.tensor([[-1.0], [1.0]]), torch.full((2, 1), 0.5))
        >>> p.mean, p.variance
        (tensor([0.]), tensor([1.2500]))
    """

    arg_constraints = {  # noqa: RUF012 - as torch's are
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        # Not expanded, so that terms of the parameters alone are computed once for all samples.
        self.logits, self.loc, self.scale = logits, loc, scale
        batch_shape = torch.broadcast_shapes(logits.shape[:-1], loc.shape[:-2], scale.shape[:-2])
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: NormalMixture | None = None) -> NormalMixture:
        """Return the same distribution with more batch dimensions."""
        new = self._get_checked_instance(NormalMixture, _instance)
        new.logits, new.loc, new.scale = self.logits, self.loc, self.scale
        super(NormalMixture, new).__init__(Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """The weighted mean of the means, ``(*, D)``."""
        return (self.logits.softmax(-1).unsqueeze(-1) * self.loc).sum(-2).expand(self.shape())

    @property
    def variance(self) -> Tensor:
        """The variance of each component of z, ``(*, D)``."""
        square = (self.logits.softmax(-1).unsqueeze(-1) * (self.loc.square() + self.scale.square())).sum(-2)
        return (square - self.mean.square()).expand(self.shape())

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value``, ``(*, D)``, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        constant = (
            self.logits.log_softmax(-1) - self.scale.log().sum(-1) - 0.5 * math.log(2 * math.pi) * value.shape[-1]
        )
        log_prob = (constant - 0.5 * self._distance(value)).logsumexp(-1)
        return log_prob.expand(torch.broadcast_shapes(self.batch_shape, log_prob.shape))

    def _distance(self, value: Tensor) -> Tensor:
        """Return the squared distance to each mean, in units of its scale, ``(*, K)``."""
        if max(self.loc.dim(), self.scale.dim()) > 2:
            return ((value.unsqueeze(-2) - self.loc) / self.scale).square().sum(-1)
        # All values have the same components: matrix products are ten times as fast, and need a fraction of the memory
        # for hundreds of components. They expand the square, so they are taken in double precision: the error is about
        # 1e-16 times the squared norm of z in units of the smallest scale.
        value, loc, precision = value.double(), self.loc.double(), self.scale.double() ** -2
        squares = value.square() @ precision.mT - 2 * value @ (loc * precision).mT
        return (squares + (loc.square() * precision).sum(-1)).to(self.loc.dtype)

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008 - as torch's is
        """Sample z, differentiable with respect to all parameters."""
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            component = torch.distributions.Categorical(logits=self.logits, validate_args=False)
            index = component.expand(self.batch_shape).sample(sample_shape)  # (*)
            index = index[..., None, None].expand(*shape[:-1], 1, shape[-1])
            loc, scale = (
                part.expand(*shape[:-1], *part.shape[-2:]).gather(-2, index).squeeze(-2)
                for part in (self.loc, self.scale)
            )
            z = loc + scale * torch.randn_like(loc)
        differs = self.logits.requires_grad or self.loc.requires_grad or self.scale.requires_grad
        return self._differentiable(z) if torch.is_grad_enabled() and differs else z

    def _differentiable(self, z: Tensor) -> Tensor:
        """Return samples with derivatives by velocity fields that move the density as the parameters do."""
        with torch.no_grad():
            white = (z.unsqueeze(-2) - self.loc) / self.scale  # (*, K, D)
            log_density = -0.5 * white.square() - self.scale.log() - 0.5 * math.log(2 * math.pi)
            share = (self.logits + log_density.sum(-1)).softmax(-1)  # of each component in the density, (*, K)
            before = log_density.cumsum(-1) - log_density  # of the dimensions before each
            below = torch.special.ndtr(white)
        moved = (share.unsqueeze(-1) * (self.loc + self.scale * white)).sum(-2)
        weight = (self.logits.unsqueeze(-1) + before).softmax(-2)  # of each component, given the dimensions before
        cumulative = (weight * below).sum(-2)  # F, (*, D)
        with torch.no_grad():
            density = (weight * log_density.exp()).sum(-2).clamp(min=torch.finfo(z.dtype).tiny)
            tilt = weight * (below - cumulative.unsqueeze(-2))  # dF_d / d(log-density of the dimensions before d)
            jacobian = tilt.mT @ (-white / self.scale) / density.unsqueeze(-1)  # (*, D, D), dF_d / dz_e for e < d
        change = ((cumulative - cumulative.detach()) / density).unsqueeze(-1)  # zero, but with the derivatives of F
        change = torch.linalg.solve_triangular(jacobian.tril(-1), change, upper=False, unitriangular=True)
        return z + (moved - moved.detach()) - change.squeeze(-1)
