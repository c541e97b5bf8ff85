"""Von Mises-Fisher and uniform distributions on the unit sphere of any dimension."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Size, Tensor
from torch.distributions.kl import register_kl

from pyrovae import checks

__all__ = ["UniformSphere", "VonMisesFisher"]

_TERMS = 8  # terms of the expansion in the inverse order, beyond the first
_RAISED = 10  # added to the order of the Bessel function; with 8 terms, the expansion is then accurate to 1e-10
_PROPOSALS = 32  # acceptance is at least 0.65, so all are rejected with a probability of about 1e-14
_NODES = 64  # nodes of the quadrature
_EXPONENT = 40.0  # nats below the maximum of the density, where integrals are truncated


class VonMisesFisher(TorchDistribution):
    r"""The von Mises-Fisher distribution, :math:`p(z) \propto e^{\kappa \mu^\top z}` on the unit sphere.

    With respect to the sphere's area, :math:`\log p(z) = \kappa \mu^\top z - G(\kappa) - \log |S^{D-1}|` with
    :math:`G(\kappa) = \log \mathrm{I}_\nu(\kappa) - \nu \log(\kappa / 2) + \log \Gamma(\nu + 1)` and
    :math:`\nu = D/2 - 1`. Samples are the first accepted of a fixed number of proposals by Wood (1994).
    They are differentiable in :math:`\kappa` by implicit reparametrisation, :math:`d\theta / d\kappa = -
    \partial_\kappa F(\theta) / f(\theta)` for the angle :math:`\theta` to :math:`\mu` (Figurnov et al., 2018,
    arXiv:1805.08498), and in :math:`\mu` by a reflection (Davidson et al., 2018, arXiv:1804.00891). Functions of
    :math:`\kappa` alone are computed in double precision.

    Args:
        loc: mean direction :math:`\mu`, of unit norm, ``(*, D)``, D at least 2.
        concentration: :math:`\kappa`, not negative, ``(*)``.

    Raises:
        ValueError: if D is 1.

    Example:
        >>> from pyrovae.distributions import VonMisesFisher
        >>> q = VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(1000.0))
        >>> q.mean
        tensor([0.0000, 0.0000, 0.9990])
        >>> q.sample((5,)).norm(dim=-1).round(decimals=3)
        tensor([1., 1., 1., 1., 1.])
    """

    arg_constraints = {"loc": constraints.sphere, "concentration": constraints.nonnegative}  # noqa: RUF012 - as torch's are
    support = constraints.sphere
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor, validate_args: bool | None = None) -> None:
        if loc.shape[-1] < 2:
            raise checks.InputError(f"loc must have at least 2 components, but has shape {tuple(loc.shape)}")
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc = loc.expand(*batch_shape, -1)
        self.concentration = concentration.expand(batch_shape)
        kappa = concentration.double()
        normalizer, resultant, slope = _bessel(kappa.detach(), loc.shape[-1])
        self._normalizer = _with_derivative(normalizer, resultant, kappa).expand(batch_shape)  # G
        self._resultant = _with_derivative(resultant, slope, kappa).expand(
            batch_shape
        )  # A = dG/dkappa, the norm of the mean
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Size, _instance: VonMisesFisher | None = None) -> VonMisesFisher:
        """Return the same distribution with more batch dimensions."""
        new = self._get_checked_instance(VonMisesFisher, _instance)
        batch_shape = Size(batch_shape)
        new.loc = self.loc.expand(batch_shape + self.event_shape)
        for name in ("concentration", "_normalizer", "_resultant"):
            setattr(new, name, getattr(self, name).expand(batch_shape))
        super(VonMisesFisher, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        r"""The mean :math:`A(\kappa) \mu`, within the sphere, ``(*, D)``."""
        return self._resultant.to(self.loc.dtype).unsqueeze(-1) * self.loc

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density, in nats, of unit vectors ``(*, D)`` with respect to the sphere's area."""
        if self._validate_args:
            self._validate_sample(value)
        # As a squared distance, which is accurate if directions are close to the mean.
        exponent = -0.5 * self.concentration * (value - self.loc).square().sum(-1)
        constant = self.concentration.double() - self._normalizer - _log_area(self.event_shape[0])
        return exponent + constant.to(exponent.dtype)

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008 - as torch's is
        """Sample unit vectors, differentiable with respect to both parameters."""
        shape = self._extended_shape(sample_shape)
        kappa = self.concentration.double().expand(shape[:-1])
        angle = _draw_angle(kappa.detach(), shape[-1])
        if torch.is_grad_enabled() and kappa.requires_grad:
            slope = _angle_slope(angle, kappa.detach(), self._resultant.detach(), shape[-1])
            angle = _with_derivative(angle, slope, kappa)
        angle = angle.to(self.loc.dtype).unsqueeze(-1)
        noise = torch.randn(*shape[:-1], shape[-1] - 1, dtype=self.loc.dtype, device=self.loc.device)
        around = F.normalize(noise, dim=-1)  # (*, D - 1)
        # Reflect the first axis or its opposite onto the mean, whichever is farther: close to it, gradients explode.
        first = self.loc[..., :1]
        sign = torch.where(first < 0, -1.0, 1.0).to(first)
        upright = torch.cat((-sign * angle.cos(), angle.sin() * around), -1)  # (*, D)
        mirror = torch.cat((first + sign, self.loc[..., 1:]), -1)
        reflected = upright - mirror * (mirror * upright).sum(-1, keepdim=True) / (1 + sign * first)
        return F.normalize(reflected, dim=-1)


class UniformSphere(TorchDistribution):
    r"""The uniform distribution of directions: :math:`p(z) = 1 / |S^{D-1}|` on the unit sphere.

    Args:
        dim: number D of components, at least 2.
        dtype: type of the samples.
        device: device of the samples.

    Example:
        >>> UniformSphere(3).log_prob(torch.eye(3)).exp() * 4 * torch.pi
        tensor([1.0000, 1.0000, 1.0000])
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 - as torch's are
    support = constraints.sphere
    has_rsample = True

    def __init__(self, dim: int, dtype: torch.dtype | None = None, device: torch.device | None = None) -> None:
        self.dtype, self.device = dtype, device
        super().__init__(Size(), Size((checks.integer("dim", dim, minimum=2),)))

    def expand(self, batch_shape: Size, _instance: UniformSphere | None = None) -> UniformSphere:
        """Return the same distribution with more batch dimensions."""
        new = self._get_checked_instance(UniformSphere, _instance)
        new.dtype, new.device = self.dtype, self.device
        super(UniformSphere, new).__init__(Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """The mean, which is the centre of the sphere, ``(*, D)``."""
        return torch.zeros(self.shape(), dtype=self.dtype, device=self.device)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density, in nats, of unit vectors ``(*, D)`` with respect to the sphere's area."""
        if self._validate_args:
            self._validate_sample(value)
        batch_shape = torch.broadcast_shapes(self.batch_shape, value.shape[:-1])
        return value.new_full(batch_shape, -_log_area(self.event_shape[0]))

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008 - as torch's is
        """Sample unit vectors."""
        return F.normalize(
            torch.randn(self._extended_shape(sample_shape), dtype=self.dtype, device=self.device), dim=-1
        )


@register_kl(VonMisesFisher, UniformSphere)
def _kl_to_uniform(p: VonMisesFisher, q: UniformSphere) -> Tensor:
    return (p.concentration.double() * p._resultant - p._normalizer).to(p.loc.dtype)


def _log_area(dim: int) -> float:
    """Return the logarithm of the area of the unit sphere in ``dim`` dimensions."""
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


def _with_derivative(value: Tensor, slope: Tensor, x: Tensor) -> Tensor:
    """Return ``value`` with the derivative ``slope`` with respect to ``x``."""
    return value + slope * (x - x.detach()) if x.requires_grad else value


def _bessel(kappa: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return G, its first and its second derivative at float64 ``kappa``, each ``(*)``.

    They are computed at a higher order by Olver's expansion, which is uniform in kappa (DLMF 10.41.3), then for the
    orders below by the continued fraction of ratios of neighbouring orders, which damps errors (Amos, 1974).
    """
    order = dim / 2 - 1
    top = order + _RAISED
    square = kappa.square()
    growth, ratio = _expansion(kappa, top)
    for i in range(_RAISED):
        raised = top - i
        growth = growth + torch.log1p(square * ratio / (2 * raised))
        ratio, above = 1 / (2 * raised + square * ratio), ratio  # I_(n+1) / (kappa I_n) at n = raised - 1
    resultant = kappa * ratio
    return growth, resultant, ratio + resultant * kappa * (above - ratio)


def _expansion(kappa: Tensor, order: float) -> tuple[Tensor, Tensor]:
    """Return G and I_(n+1) / (kappa I_n) at a high order n."""
    exponents = torch.arange(3 * _TERMS + 1, dtype=kappa.dtype, device=kappa.device)

    def parts(n: float) -> tuple[Tensor, Tensor, Tensor]:
        root = (kappa.square() + n * n).sqrt()
        series = ((n / root).unsqueeze(-1) ** exponents * kappa.new_tensor(_coefficients(n))).sum(-1)
        start = math.log(sum(_coefficients(n)))  # at kappa = 0, where G is 0
        return root, ((root + n) / (2 * n)).log(), series.log() - start - 0.5 * (root / n).log()

    root, half, rest = parts(order)
    next_root, next_half, next_rest = parts(order + 1)
    growth = (root - order) - order * half + rest
    # Terms that grow with kappa are subtracted in closed form: both G are about kappa, their difference is small.
    difference = (2 * order + 1) / (root + next_root) - 1 - (order + 1) * next_half + order * half + next_rest - rest
    return growth, difference.exp() / (2 * (order + 1))


@cache
def _coefficients(order: float) -> list[float]:
    """Return the coefficients of the powers of p in the sum over k of U_k(p) / order**k (DLMF 10.41.9)."""
    total = [0.0] * (3 * _TERMS + 1)
    polynomial = {0: Fraction(1)}
    for k in range(_TERMS + 1):
        for power, coefficient in polynomial.items():
            total[power] += float(coefficient) / order**k
        following: dict[int, Fraction] = {}
        for power, coefficient in polynomial.items():
            low = coefficient * (Fraction(power, 2) + Fraction(1, 8 * (power + 1)))
            high = -coefficient * (Fraction(power, 2) + Fraction(5, 8 * (power + 3)))
            following[power + 1] = following.get(power + 1, Fraction(0)) + low
            following[power + 3] = following.get(power + 3, Fraction(0)) + high
        polynomial = following
    return total


def _draw_angle(kappa: Tensor, dim: int) -> Tensor:
    """Sample angles to the mean direction at float64 ``kappa``, ``(*)``."""
    m = dim - 1
    kappa = kappa.unsqueeze(-1)
    root = (4 * kappa.square() + m * m).sqrt()
    b = m / (2 * kappa + root)
    a = (m + 2 * kappa + root) / 4
    d = 4 * a * b / (1 + b) - m * math.log(m)
    half = torch.full((*kappa.shape[:-1], _PROPOSALS), m / 2, dtype=kappa.dtype, device=kappa.device)
    beta = torch.distributions.Beta(half, half, validate_args=False).sample()  # (*, proposals)
    below = 1 - (1 - b) * beta
    t = 2 * a * b / below
    accepted = m * t.log() - t + d >= torch.rand_like(beta).log()
    first = accepted.to(torch.uint8).argmax(-1, keepdim=True)
    sine = (b * beta / below).gather(-1, first).squeeze(-1)  # squared sine of half the angle
    return 2 * sine.clamp(torch.finfo(sine.dtype).tiny, 1).sqrt().asin()


def _angle_slope(angle: Tensor, kappa: Tensor, resultant: Tensor, dim: int) -> Tensor:
    r"""Return :math:`-\int_0^\theta (\cos t - A) f(t) / f(\theta)\,dt`, all float64 of shape ``(*)``.

    Where the cosine is below its mean A, the integral is taken beyond the angle instead, with the other sign, so that
    the integrand has one sign and nothing cancels.
    """
    nodes, weights = (kappa.new_tensor(values) for values in _quadrature())
    upper = angle.cos() < resultant
    # Beyond the angle, the density falls at least as fast as its factor that contains kappa.
    reach = 2 * (_EXPONENT / (2 * kappa.clamp(min=1e-9))).clamp(max=1).sqrt().asin()
    length = torch.where(upper, torch.minimum(math.pi - angle, reach), angle)
    theta, side = angle.unsqueeze(-1), torch.where(upper, 1.0, -1.0).to(angle).unsqueeze(-1)
    step = length.unsqueeze(-1) * nodes  # (*, nodes)
    t = theta + side * step
    exponent = -2 * side * kappa.unsqueeze(-1) * (step / 2).sin() * ((t + theta) / 2).sin()
    if dim > 2:
        exponent = exponent + (dim - 2) * (t.sin().clamp(min=1e-300).log() - theta.sin().clamp(min=1e-300).log())
    integrand = (t.cos() - resultant.unsqueeze(-1)) * exponent.exp()
    return side.squeeze(-1) * length * (integrand * weights).sum(-1)


@cache
def _quadrature() -> tuple[list[float], list[float]]:
    """Return nodes and weights of Gauss-Legendre quadrature on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return ((nodes + 1) / 2).tolist(), (weights / 2).tolist()
