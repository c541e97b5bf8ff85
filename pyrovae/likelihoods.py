"""Likelihoods p(x|z): a code in, a distribution over ``data_shape`` out. Subclass :class:`Likelihood` to add one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae import checks
from pyrovae.networks import MLP, NetworkFactory, Positive, make_network, start_output

__all__ = ["Bernoulli", "Gaussian", "Likelihood"]


class Likelihood(nn.Module, ABC):
    """Hold what every likelihood p(x|z) shares; a subclass defines ``forward(z)``.

    Args:
        data_shape: shape of one datum, such as ``(1, 28, 28)`` or ``(64,)``.
        latent_dim: number D of latent dimensions.

    Raises:
        ValueError: if either is not positive.
    """

    support: constraints.Constraint = constraints.real
    """Where each component of x must lie: a real number, unless a subclass says otherwise."""

    discrete: bool = False
    """Whether p(x|z) is a probability of discrete data, or a density."""

    def __init__(self, data_shape: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.data_shape = checks.shape("data_shape", data_shape)
        self.latent_dim = checks.integer("latent_dim", latent_dim)

    @abstractmethod
    def forward(self, z: Tensor) -> TorchDistributionMixin:
        """Return p(x|z) for ``z`` of shape ``(*, D)``: batch shape ``(*)``, event shape ``data_shape``."""

    def check(self, x: Tensor) -> None:
        """Raise unless every component of ``x``, of shape ``(*, *data_shape)``, lies in the support.

        Raises:
            ValueError: naming the likelihood, its support and the range of ``x``.
        """
        if not bool(self.support.check(x).all()):
            accepted = str(self.support).removesuffix("()")
            if isinstance(self.support, constraints.interval):
                accepted = f"[{self.support.lower_bound:g}, {self.support.upper_bound:g}]"
            raise checks.InputError(
                f"{type(self).__name__} takes data in {accepted}, "
                f"but these go from {x.min().item():g} to {x.max().item():g}"
            )

    def initialize(self, x: Tensor) -> None:
        """Start from the data, before training; by default, nothing does.

        Args:
            x: training data, ``(N, *data_shape)``.
        """

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"data_shape={self.data_shape}, latent_dim={self.latent_dim}"


class _UnitBernoulli(dist.Bernoulli):
    """A Bernoulli whose log_prob is also defined between 0 and 1, as the negative cross-entropy."""

    support = constraints.unit_interval

    def log_prob(self, value: Tensor) -> Tensor:
        # x l - softplus(l), in vectorised operations: torch's log1p, and so its cross-entropy, takes ten times as
        # long, and what it adds, digits of log p where p is 1 to within rounding, is lost in the sum over pixels.
        if self._validate_args:
            self._validate_sample(value)
        size = self.logits.abs()
        return (value - 0.5) * self.logits - 0.5 * size - (1 + (-size).exp()).log()


class Bernoulli(Likelihood):
    r"""Take pixels as independent coins: :math:`\log p(x|z) = \sum_i x_i \log p_i(z) + (1 - x_i) \log(1 - p_i(z))`.

    On binary data this is a probability. On grey values in [0, 1] it is the negative cross-entropy that
    many tutorials train with, which is not normalised: binarise the data before publishing a likelihood.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to the logits of ``data_shape``.

    Example:
        >>> Bernoulli((1, 28, 28), 20)(torch.zeros(3, 20)).log_prob(torch.ones(3, 1, 28, 28)).shape
        torch.Size([3])
    """

    support = constraints.unit_interval
    discrete = True

    def __init__(self, data_shape: tuple[int, ...], latent_dim: int, network: NetworkFactory = MLP) -> None:
        super().__init__(data_shape, latent_dim)
        self.network = make_network(network, self.latent_dim, self.data_shape)

    def forward(self, z: Tensor) -> TorchDistributionMixin:
        """Return p(x|z) for ``z`` of shape ``(*, D)``."""
        return _UnitBernoulli(logits=self.network(z)).to_event(len(self.data_shape))

    def initialize(self, x: Tensor) -> None:
        """Start at the logits of the data's mean (Burda et al., 2015, arXiv:1509.00519)."""
        # As if one more datum, grey all over, had been seen: a pixel that is always off gets a finite logit.
        start_output(self.network, torch.logit((x.sum(0) + 0.5) / (len(x) + 1)))


class Gaussian(Likelihood):
    r"""Add Gaussian noise to a mean image: :math:`p(x|z) = \mathcal{N}(x; \mu(z), \mathrm{diag}\,\sigma^2)`.

    With a fixed scale this is squared error with its constants: maximising it is minimising
    :math:`\|x - \mu(z)\|^2 / 2\sigma^2`.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to ``data_shape`` (twice as many rows of the first dimension where
            the scale comes from the network).
        scale: where :math:`\sigma` comes from: ``fixed``; one learned number ``shared`` by all pixels; one
            learned number for each ``pixel``; or from the ``network``, for each pixel and code.
        initial_scale: its value at the start (always, if fixed), in units of x.
        link: how it is kept positive: ``softplus`` or ``exp``.
        min_scale: smallest scale, in units of x.

    Example:
        >>> Gaussian((64,), 2, scale="pixel")(torch.zeros(3, 2)).log_prob(torch.zeros(3, 64)).shape
        torch.Size([3])
    """

    raw_scale: Tensor

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        scale: Literal["fixed", "shared", "pixel", "network"] = "shared",
        initial_scale: float = 0.5,
        link: Literal["softplus", "exp"] = "softplus",
        min_scale: float = 1e-3,
    ) -> None:
        super().__init__(data_shape, latent_dim)
        self.scale = checks.choice("scale", scale, ("fixed", "shared", "pixel", "network"))
        self.positive = Positive(link, checks.number("min_scale", min_scale))
        initial = torch.tensor(checks.number("initial_scale", initial_scale, self.positive.minimum, open_below=True))
        outputs = 2 if scale == "network" else 1
        self.network = make_network(network, self.latent_dim, (outputs * self.data_shape[0], *self.data_shape[1:]))
        offset = self.positive.inverse(initial).expand(self.data_shape if scale == "pixel" else ()).clone()
        if scale in ("shared", "pixel"):
            self.raw_scale = nn.Parameter(offset)
        else:
            self.register_buffer("raw_scale", offset)

    def forward(self, z: Tensor) -> TorchDistributionMixin:
        """Return p(x|z) for ``z`` of shape ``(*, D)``."""
        loc, raw_scale = self.network(z), self.raw_scale
        if self.scale == "network":
            loc, deviation = loc.chunk(2, -len(self.data_shape))  # (*, *data_shape) each
            raw_scale = raw_scale + deviation
        return dist.Normal(loc, self.positive(raw_scale)).to_event(len(self.data_shape))

    def initialize(self, x: Tensor) -> None:
        """Start at the data's mean."""
        mean = x.mean(0)
        start_output(self.network, torch.cat((mean, torch.zeros_like(mean))) if self.scale == "network" else mean)

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"{super().extra_repr()}, scale={self.scale!r}"
