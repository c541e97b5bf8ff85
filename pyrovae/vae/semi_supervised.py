"""Semi-supervised variational autoencoder, for data with few labels."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.likelihoods import Bernoulli, LikelihoodFactory
from pyrovae.missing import fill_missing
from pyrovae.networks import MLP, NetworkFactory, make_network
from pyrovae.posteriors import DiagonalNormal, PosteriorFactory
from pyrovae.priors import PriorFactory, StandardNormal
from pyrovae.vae.conditional import ConditionalVAE
from pyrovae.vae.standard import check_data

__all__ = ["SemiSupervisedVAE"]


class SemiSupervisedVAE(ConditionalVAE):
    r"""A VAE that learns classes from few labels: :math:`p(x, y, z) = p(y)\,p(z)\,p(x|z, y)`, p(y) uniform.

    The model M2 of Kingma et al. (2014, arXiv:1406.5298). For a batch without labels, ``y`` is a latent site
    (a one-hot vector), with the guide :math:`q(y|x)\,q(z|x, y)`; for a batch with labels it is observed. Maximised is

    .. math:: \sum_{\text{labelled}} \Big(\mathrm{E}_{q(z|x, y)}\Big[\log\frac{p(x, y, z)}{q(z|x, y)}\Big]
        + \alpha \log q(y|x)\Big)
        + \sum_{\text{unlabelled}} \sum_y q(y|x)\,
        \mathrm{E}_{q(z|x, y)}\Big[\log\frac{p(x, y, z)}{q(y|x)\,q(z|x, y)}\Big].

    Under ``pyro.infer.TraceEnum_ELBO`` (with ``max_plate_nesting=1``) the sum over y is computed exactly; under other
    ELBOs, and in evaluation, y is sampled. The term with :math:`\alpha` exists in training mode only, so that
    evaluation is of :math:`\log p(x)`, or of :math:`\log p(x, y)` if labels are given.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        num_classes: number C of classes.
        prior: makes p(z).
        likelihood: makes p(x|z, y), as for :class:`ConditionalVAE`.
        posterior: makes q(z|x, y), as for :class:`ConditionalVAE`.
        classifier: makes the network of q(y|x), from ``data_shape`` to the logits of the C classes.
        classification_weight: weight :math:`\alpha` of the classifier's log-probability of the true label.

    Raises:
        ValueError: if a size is not positive, or prior and posterior have different supports.

    Example:
        >>> vae = SemiSupervisedVAE((1, 8, 8), 2)
        >>> vae.guide(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 2])
        >>> vae.classify(torch.zeros(3, 1, 8, 8)).shape
        torch.Size([3, 10])
    """

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        num_classes: int = 10,
        prior: PriorFactory = StandardNormal,
        likelihood: LikelihoodFactory = Bernoulli,
        posterior: PosteriorFactory = DiagonalNormal,
        classifier: NetworkFactory = MLP,
        classification_weight: float = 50.0,
    ) -> None:
        super().__init__(data_shape, latent_dim, num_classes, prior, likelihood, posterior)
        self.classifier = make_network(classifier, self.data_shape, self.num_classes)
        self.classification_weight = checks.number("classification_weight", classification_weight)

    def model(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Sample ``y``, unless it is given as ``(B,)``, and ``z``; observe ``x``, of shape ``(B, *data_shape)``."""
        check_data(x, self.data_shape)
        pyro.module("vae", self)
        uniform = _OneHot(logits=x.new_zeros(self.num_classes))
        given = None if y is None else self.one_hot(y, x)  # (B, C)
        with pyro.plate("data", len(x)):
            labels = pyro.sample("y", uniform, obs=given)  # (B, C)
            if given is not None:
                labels = given  # also when observed sites are sampled anew, the given class is kept
                if self.training:
                    log_q = self._classifier_of(x).log_prob(given)  # (B,)
                    pyro.factor("classification", self.classification_weight * log_q)
            z = pyro.sample("z", self.prior())  # (B, D)
            return pyro.sample("x", self._likelihood_of(z, labels), obs=x)  # (B, *data_shape)

    def guide(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Sample ``y``, unless it is given, and ``z``, ``(B, D)``, given ``x`` of shape ``(B, *data_shape)``."""
        check_data(x, self.data_shape)
        pyro.module("vae", self)
        with pyro.plate("data", len(x)):
            if y is None:
                labels = pyro.sample("y", self._classifier_of(x), infer={"enumerate": "parallel"})  # (B, C)
            else:
                labels = self.one_hot(y, x)
            return pyro.sample("z", self._posterior_of(x, labels))  # (B, D)

    def classify(self, x: Tensor) -> Tensor:
        """Return q(y|x) for ``x`` of shape ``(*, *data_shape)``: probabilities, ``(*, C)``."""
        return self._logits(x).softmax(-1)

    def _classifier_of(self, x: Tensor) -> dist.OneHotCategorical:
        return _OneHot(logits=self._logits(x))

    def _logits(self, x: Tensor) -> Tensor:
        """Return the classifier's output, ``(*, C)``, for data whose missing values it sees as zeros."""
        return self.classifier(x if getattr(self.classifier, "takes_missing", False) else fill_missing(x))

    def extra_repr(self) -> str:
        """Show the options."""
        return f"{super().extra_repr()}, classification_weight={self.classification_weight:g}"


class _OneHot(dist.OneHotCategorical):
    """A one-hot distribution that samples without torch's ``one_hot``, whose check of values cannot be recorded."""

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008 - as torch's is
        classes = self._categorical.sample(sample_shape)
        return torch.eye(self.event_shape[0], dtype=self.probs.dtype, device=self.probs.device)[classes]
