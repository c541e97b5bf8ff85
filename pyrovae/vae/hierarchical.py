"""Hierarchical variational autoencoder: several layers of latents."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn
from torch.distributions import constraints

from pyrovae import checks
from pyrovae.likelihoods import Bernoulli, Gaussian, Likelihood, LikelihoodFactory
from pyrovae.missing import draw_missing
from pyrovae.networks import MLP, NetworkFactory
from pyrovae.posteriors import DiagonalNormal, Posterior, PosteriorFactory
from pyrovae.priors import Prior, PriorFactory, StandardNormal
from pyrovae.programs import Program
from pyrovae.vae.standard import check_data, connect

__all__ = ["GaussianLayer", "HierarchicalVAE"]


class GaussianLayer(Gaussian):
    r"""A normal layer of latents, with mean and scale from the layer above: :math:`p(z_i|z_{i+1})`.

    A :class:`~pyrovae.likelihoods.Gaussian` likelihood of codes, whose scale comes from the network and starts at 1.

    Args:
        data_shape: shape of the layer, ``(D_i,)``.
        latent_dim: number of latents of the layer above.
        network: map from the layer above to twice the number of latents of the layer.
        initial_scale: initial scale, in units of the layer.
        link: map that keeps the scale positive: ``softplus`` or ``exp``.
        min_scale: smallest scale, in units of the layer.

    Example:
        >>> GaussianLayer((100,), 50)(torch.zeros(3, 50)).event_shape
        torch.Size([100])
    """

    at_lower_bound = "its latents are all but a function of those above, which are then not needed; fewer layers may do"

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        initial_scale: float = 1.0,
        link: Literal["softplus", "exp"] = "softplus",
        min_scale: float = 1e-3,
    ) -> None:
        super().__init__(data_shape, latent_dim, network, "network", initial_scale, link, min_scale)


class HierarchicalVAE(Program):
    r"""A VAE with L layers of latents: the sites ``z1`` (next to the data) to ``zL``.

    The model is top-down, :math:`p(z_L) \prod_{i<L} p(z_i|z_{i+1})\; p(x|z_1)`. The guide is bottom-up, :math:`q(z_1|x)
    \prod_{i<L} q(z_{i+1}|z_i)` (Burda et al., 2015, arXiv:1509.00519). Or it is a ladder: a deterministic pass upwards
    through the means gives one normal :math:`\hat q_i(z_i)` per layer, and sampling is top-down: :math:`q(z_L|x) = \hat
    q_L` and

    .. math:: q(z_i|z_{i+1}, x) \propto \hat q_i(z_i)\, p(z_i|z_{i+1}),

    the normal whose precision is the sum of both precisions and whose mean is weighted by these (Sønderby et al., 2016,
    arXiv:1602.02282).

    Args:
        data_shape: shape of one datum.
        latent_dim: number of latents of the top layer.
        dims: number of latents of each layer below the top, from the data upwards.
        prior: makes p(z_L).
        likelihood: makes p(x|z_1).
        posterior: makes q(z_1|x).
        layer: makes each p(z_i|z_{i+1}).
        layer_posterior: makes each q(z_{i+1}|z_i).
        inference: ``bottom_up`` or ``ladder``; a ladder needs normal layers and posteriors.

    Raises:
        ValueError: if a size is not positive, or a layer and its posterior have different supports.

    Example:
        >>> vae = HierarchicalVAE((1, 28, 28), 50, dims=(100,))
        >>> [z.shape for z in vae.guide(torch.zeros(3, 1, 28, 28))]
        [torch.Size([3, 100]), torch.Size([3, 50])]
    """

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        dims: tuple[int, ...] = (100,),
        prior: PriorFactory = StandardNormal,
        likelihood: LikelihoodFactory = Bernoulli,
        posterior: PosteriorFactory = DiagonalNormal,
        layer: LikelihoodFactory = GaussianLayer,
        layer_posterior: PosteriorFactory = DiagonalNormal,
        inference: Literal["bottom_up", "ladder"] = "bottom_up",
    ) -> None:
        super().__init__()
        self.dims = (*checks.shape("dims", dims), checks.integer("latent_dim", latent_dim))
        self.inference = checks.choice("inference", inference, ("bottom_up", "ladder"))
        self.data_shape = checks.shape("data_shape", data_shape)
        self.prior = checks.make("prior", prior, Prior, latent_dim, like="StandardNormal")

        def make_likelihood(name: str, factory: LikelihoodFactory, below: tuple[int, ...], above: int) -> Likelihood:
            return checks.make(name, factory, Likelihood, below, above, like="Bernoulli")

        def make_posterior(name: str, factory: PosteriorFactory, below: tuple[int, ...], above: int) -> Posterior:
            return checks.make(name, factory, Posterior, below, above, like="DiagonalNormal")

        self.likelihood = make_likelihood("likelihood", likelihood, self.data_shape, self.dims[0])
        steps = list(pairwise(self.dims))  # (below, above)
        layers = [make_likelihood("layer", layer, (below,), above) for below, above in steps]
        posteriors = [make_posterior("posterior", posterior, self.data_shape, self.dims[0])]
        posteriors += [make_posterior("layer_posterior", layer_posterior, (below,), above) for below, above in steps]
        for p, q in zip(layers, posteriors, strict=False):  # the last posterior belongs to the prior
            if not checks.same_constraint(q.support, constraints.independent(p.support, 1)):
                raise checks.InputError(
                    f"layer and posterior must have one support, but that of {type(p).__name__} is "
                    f"{checks.constraint_name(p.support)} and that of {type(q).__name__} is "
                    f"{checks.constraint_name(q.support)}"
                )
        connect(self.prior, posteriors[-1])
        self.layers = nn.ModuleList(layers)
        self.posteriors = nn.ModuleList(posteriors)

    def initialize(self, x: Tensor) -> None:
        """Initialize the likelihood from the data, and the prior from the input of the top posterior.

        Args:
            x: training data, ``(N, *data_shape)``; missing values are replaced by others of the same cell.
        """
        x = draw_missing(x)
        self.likelihood.initialize(x)
        with torch.no_grad():
            for posterior in self.posteriors[:-1]:
                x = posterior(x).sample()  # (N, D_i)
        self.prior.initialize(x)

    def model(self, x: Tensor) -> Tensor:
        """Sample ``zL`` to ``z1`` and observe ``x``, of shape ``(B, *data_shape)``."""
        check_data(x, self.data_shape)
        pyro.module("vae", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample(f"z{len(self.dims)}", self.prior())  # (B, D_L)
            for i in range(len(self.layers), 0, -1):
                z = pyro.sample(f"z{i}", self.layers[i - 1](z))  # (B, D_i)
            return pyro.sample("x", self.likelihood(z), obs=x)  # (B, *data_shape)

    def guide(self, x: Tensor) -> list[Tensor]:
        """Sample ``z1`` to ``zL``, each ``(B, D_i)``, given ``x`` of shape ``(B, *data_shape)``."""
        check_data(x, self.data_shape)
        pyro.module("vae", self)
        with pyro.plate("data", len(x)):
            return self._ladder(x) if self.inference == "ladder" else self._bottom_up(x)

    def _bottom_up(self, x: Tensor) -> list[Tensor]:
        codes = [x]
        for i, posterior in enumerate(self.posteriors, 1):
            codes.append(pyro.sample(f"z{i}", posterior(codes[-1])))
        return codes[1:]

    def _ladder(self, x: Tensor) -> list[Tensor]:
        upward = []
        for posterior in self.posteriors:
            upward.append(posterior(x))
            x = _normal(upward[-1], posterior).mean  # (B, D_i)
        codes = [pyro.sample(f"z{len(upward)}", upward[-1])]
        for i in range(len(self.layers), 0, -1):
            above = _normal(self.layers[i - 1](codes[0]), self.layers[i - 1])
            codes.insert(0, pyro.sample(f"z{i}", _product(upward[i - 1].base_dist, above).to_event(1)))
        return codes

    def extra_repr(self) -> str:
        """Show the options."""
        return f"dims={self.dims[:-1]}, latent_dim={self.dims[-1]}, inference={self.inference!r}"


def _normal(fn: TorchDistributionMixin, conditional: nn.Module) -> dist.Normal:
    """Return the base of a vector of independent normals; raise for any other distribution, naming the conditional."""
    if not isinstance(getattr(fn, "base_dist", None), dist.Normal):
        given = fn.base_dist if isinstance(fn, dist.Independent) else fn
        raise checks.InputError(
            "inference=ladder multiplies normals, so layer and posterior must give independent ones, "
            f"but {type(conditional).__name__} gives a {type(given).__name__}"
        )
    return fn.base_dist


def _product(first: dist.Normal, second: dist.Normal) -> dist.Normal:
    """Return the normal whose density is proportional to the product of the two."""
    weights = first.scale**-2, second.scale**-2
    precision = weights[0] + weights[1]
    return dist.Normal((weights[0] * first.loc + weights[1] * second.loc) / precision, precision.rsqrt())
