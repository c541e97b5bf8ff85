"""Conditional variational autoencoder: data given their labels."""

from __future__ import annotations

import pyro
import torch
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.infer.util import is_validation_enabled
from torch import Tensor

from pyrovae import checks
from pyrovae.likelihoods import Bernoulli, Likelihood, LikelihoodFactory
from pyrovae.missing import draw_missing
from pyrovae.posteriors import DiagonalNormal, Posterior, PosteriorFactory
from pyrovae.priors import Prior, PriorFactory, StandardNormal
from pyrovae.programs import Program
from pyrovae.vae.standard import check_data, connect

__all__ = ["ConditionalVAE"]


class ConditionalVAE(Program):
    r"""A VAE of data given their labels: :math:`p(x, z|y) = p(z)\,p(x|z, y)`, with the guide :math:`q(z|x, y)`.

    The code then need not contain the class (Kingma et al., 2014, arXiv:1406.5298; Sohn et al., 2015). The input of
    the likelihood is the code followed by the one-hot label. The input of the posterior is the datum followed by the
    one-hot label as C further rows of the first dimension (channels, for images), so that networks for vectors and
    for images both accept it.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        num_classes: number C of classes.
        prior: makes p(z).
        likelihood: makes p(x|z, y), for D + C latents.
        posterior: makes q(z|x, y), for data with C more rows (channels, for images) than ``data_shape``.

    Raises:
        ValueError: if a size is not positive, or prior and posterior have different supports.

    Example:
        >>> vae = ConditionalVAE((1, 8, 8), 2)
        >>> vae.guide(torch.zeros(3, 1, 8, 8), torch.tensor([0, 1, 9])).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        num_classes: int = 10,
        prior: PriorFactory = StandardNormal,
        likelihood: LikelihoodFactory = Bernoulli,
        posterior: PosteriorFactory = DiagonalNormal,
    ) -> None:
        super().__init__()
        self.data_shape = checks.shape("data_shape", data_shape)
        self.num_classes = checks.integer("num_classes", num_classes)
        checks.integer("latent_dim", latent_dim)
        codes, with_labels = latent_dim + num_classes, (self.data_shape[0] + num_classes, *self.data_shape[1:])
        self.prior = checks.make("prior", prior, Prior, latent_dim, like="StandardNormal")
        self.likelihood = checks.make("likelihood", likelihood, Likelihood, self.data_shape, codes, like="Bernoulli")
        self.posterior = checks.make("posterior", posterior, Posterior, with_labels, latent_dim, like="DiagonalNormal")
        connect(self.prior, self.posterior)

    def initialize(self, x: Tensor) -> None:
        """Initialize prior and likelihood from the data, with equal weights of all classes as labels.

        Args:
            x: training data, ``(N, *data_shape)``; missing values are replaced by others of the same cell.
        """
        x = draw_missing(x)
        even = x.new_full((len(x), self.num_classes), 1 / self.num_classes)
        self.prior.initialize(self._append_labels(x, even, len(self.data_shape)))
        self.likelihood.initialize(x)

    def model(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override] # labels are its own
        """Sample ``z`` from the prior and observe ``x``, of shape ``(B, *data_shape)``, of classes ``y``, ``(B,)``."""
        check_data(x, self.data_shape)
        pyro.module("vae", self)
        labels = self.one_hot(y, x)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())  # (B, D)
            return pyro.sample("x", self._likelihood_of(z, labels), obs=x)  # (B, *data_shape)

    def guide(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        """Sample ``z``, ``(B, D)``, given ``x`` of shape ``(B, *data_shape)`` and its classes ``y``, ``(B,)``."""
        check_data(x, self.data_shape)
        pyro.module("vae", self)
        labels = self.one_hot(y, x)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self._posterior_of(x, labels))  # (B, D)

    def one_hot(self, y: Tensor, x: Tensor) -> Tensor:
        """Return labels ``y``, ``(B,)``, as one-hot vectors, ``(B, C)``, of the type of ``x``.

        Raises:
            ValueError: if a label is not one of the classes, while Pyro validates.
        """
        if is_validation_enabled():
            if y.is_floating_point() or y.shape != x.shape[:1]:
                raise checks.InputError(
                    f"y must hold one integer for each of the {len(x)} data, "
                    f"but has shape {tuple(y.shape)} and type {y.dtype}"
                )
            if len(y) and (y.min() < 0 or y.max() >= self.num_classes):
                raise checks.InputError(
                    f"y must hold classes from 0 to {self.num_classes - 1} (num_classes is {self.num_classes}), "
                    f"but holds {y.min().item()} to {y.max().item()}"
                )
        # An embedding raises for labels out of range, even without Pyro's validation.
        return F.embedding(y, torch.eye(self.num_classes, dtype=x.dtype, device=x.device))

    def _likelihood_of(self, z: Tensor, labels: Tensor) -> TorchDistributionMixin:
        return self.likelihood(self._append_labels(z, labels, 1))

    def _posterior_of(self, x: Tensor, labels: Tensor) -> TorchDistributionMixin:
        return self.posterior(self._append_labels(x, labels, len(self.data_shape)))

    @staticmethod
    def _append_labels(values: Tensor, labels: Tensor, dims: int) -> Tensor:
        """Append labels, ``(*, C)``, to values with ``dims`` event dimensions, as C more rows of the first of these."""
        batch = torch.broadcast_shapes(values.shape[:-dims], labels.shape[:-1])
        first, *rest = values.shape[-dims:]
        rows = labels.reshape(*labels.shape, *(1 for _ in rest)).expand(*batch, labels.shape[-1], *rest)
        return torch.cat((values.expand(*batch, first, *rest), rows), -dims)

    def extra_repr(self) -> str:
        """Show the options."""
        return f"num_classes={self.num_classes}"
