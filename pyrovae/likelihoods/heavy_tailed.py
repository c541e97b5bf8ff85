"""Laplace and Student's t likelihoods, which are robust to outliers."""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor

from pyrovae import checks, distributions
from pyrovae.likelihoods.location_scale import LocationScale
from pyrovae.networks import MLP, NetworkFactory

__all__ = ["Laplace", "StudentT"]


class Laplace(LocationScale):
    r"""Laplace noise around a mean: :math:`\log p(x|z) = -\sum_i |x_i - \mu_i(z)| / b + \log 2b`.

    With a fixed scale this is the negative absolute error divided by b, and a constant.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to ``data_shape`` (twice as many rows of the first dimension if
            the scale comes from the network).
        scale: source of b: ``fixed``; one learned number ``shared`` by all pixels; one learned number
            for each ``pixel``; or from the ``network``, for each pixel and code.
        initial_scale: initial scale (constant if fixed), in units of x; the standard deviation is
            :math:`\sqrt2\,b`.
        link: map that keeps it positive: ``softplus`` or ``exp``.
        min_scale: smallest scale, in units of x.

    Example:
        >>> Laplace((64,), 2, scale="network")(torch.zeros(3, 2)).log_prob(torch.zeros(3, 64)).shape
        torch.Size([3])
    """

    def noise(self, loc: Tensor, scale: Tensor) -> TorchDistributionMixin:
        """Return Laplace distributions."""
        return dist.Laplace(loc, scale)


class StudentT(LocationScale):
    r"""Student's t noise around a mean.

    :math:`p(x_i|z) \propto \left(1 + \frac{(x_i - \mu_i(z))^2}{\nu s^2}\right)^{-(\nu + 1) / 2}`,
    which is Gaussian in the limit of large :math:`\nu`; the smaller :math:`\nu`, the smaller the effect of outliers.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to ``data_shape`` (twice as many rows of the first dimension if
            the scale comes from the network).
        scale: source of s: ``fixed``; one learned number ``shared`` by all pixels; one learned number
            for each ``pixel``; or from the ``network``, for each pixel and code.
        initial_scale: initial scale (constant if fixed), in units of x; the standard deviation is
            :math:`\sqrt{\nu / (\nu - 2)}\,s`.
        link: map that keeps it positive: ``softplus`` or ``exp``.
        min_scale: smallest scale, in units of x.
        df: degrees of freedom :math:`\nu`, above 1, so that the mean exists.

    Example:
        >>> StudentT((64,), 2, df=3.0)(torch.zeros(3, 2)).log_prob(torch.zeros(3, 64)).shape
        torch.Size([3])
    """

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        scale: Literal["fixed", "shared", "pixel", "network"] = "shared",
        initial_scale: float = 0.5,
        link: Literal["softplus", "exp"] = "softplus",
        min_scale: float = 1e-3,
        df: float = 5.0,
    ) -> None:
        super().__init__(data_shape, latent_dim, network, scale, initial_scale, link, min_scale)
        self.df = checks.number("df", df, 1.0, open_below=True)

    def noise(self, loc: Tensor, scale: Tensor) -> TorchDistributionMixin:
        """Return Student's t distributions."""
        return distributions.StudentT(self.df, loc, scale)

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"{super().extra_repr()}, df={self.df:g}"
