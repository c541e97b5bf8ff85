"""Programs of ``programs_setups.py`` in plain PyTorch: modules that map a batch to its loss, a sum over data in nats.

Their parameters are in the order of those of pyrovae's program, and so is the noise that they draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ELBO", "IWAE", "M2", "DReG", "TwoLayers", "VampPriorELBO", "mlp"]


def mlp(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Return linear maps between the widths with activations between them."""
    maps = [nn.Linear(before, after) for before, after in pairwise(widths)]
    return nn.Sequential(*[part for linear in maps for part in (linear, activation())][:-1])


def normal(features: Tensor, offset: float = 0.0, min_scale: float = 1e-4) -> tuple[Tensor, Tensor]:
    """Return location and scale of a diagonal normal from the output of a network."""
    loc, raw_scale = features.chunk(2, -1)
    return loc, F.softplus(raw_scale + offset) + min_scale


def draw(loc: Tensor, scale: Tensor, samples: Sequence[int] = ()) -> Tensor:
    return loc + scale * torch.randn(*samples, *loc.shape)


def log_normal(z: Tensor, loc: Tensor | float = 0.0, scale: Tensor | float = 1.0) -> Tensor:
    scale = torch.as_tensor(scale)
    return (-0.5 * ((z - loc) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


def log_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    """Return log p(x), with the sum over the last dimension; x has no dimension of samples."""
    return -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)


class ELBO(nn.Module):
    """A VAE with Bernoulli likelihood, diagonal normal posterior and standard normal prior."""

    def __init__(self, decoder: nn.Module, encoder: nn.Module) -> None:
        super().__init__()
        self.decoder, self.encoder = decoder, encoder

    def forward(self, x: Tensor) -> Tensor:
        loc, scale = normal(self.encoder(x))
        z = draw(loc, scale)
        log_p = log_bernoulli(x.flatten(1), self.decoder(z).flatten(1)) + log_normal(z)
        return -(log_p - log_normal(z, loc, scale)).sum()


class IWAE(ELBO):
    """The importance-weighted bound of K = 5."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        loc, scale = normal(self.encoder(x))
        z = draw(loc, scale, (5,))
        log_weight = log_bernoulli(x, self.decoder(z)) + log_normal(z) - log_normal(z, loc, scale)
        return -(log_weight.logsumexp(0) - math.log(5)).sum()


class DReG(ELBO):
    """Its doubly reparametrised gradient (Tucker et al., 2019); the value is that of IWAE."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        loc, scale = normal(self.encoder(x))
        z = draw(loc, scale, (5,))
        log_q = log_normal(z, loc.detach(), scale.detach())
        log_weight = log_bernoulli(x, self.decoder(z)) + log_normal(z) - log_q
        weight = log_weight.detach().softmax(0)
        z.register_hook(lambda grad: weight.unsqueeze(-1) * grad)
        bound = (log_weight.detach().logsumexp(0) - math.log(5)).sum()
        weighted = (weight * log_weight).sum()
        return weighted.detach() - weighted - bound


class TwoLayers(nn.Module):
    """Two layers of latents, 784-200-200-100 and 100-100-100-50, with a bottom-up guide."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = mlp(100, 200, 200, 784, activation=nn.Tanh)
        self.layer = mlp(50, 100, 100, 200, activation=nn.Tanh)
        self.encoder = mlp(784, 200, 200, 200, activation=nn.Tanh)
        self.upper = mlp(100, 100, 100, 100, activation=nn.Tanh)
        self.offset = math.log(math.expm1(1 - 1e-3))  # so that the scale of p(z1|z2) starts at 1

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        loc1, scale1 = normal(self.encoder(x))
        z1 = draw(loc1, scale1)
        loc2, scale2 = normal(self.upper(z1))
        z2 = draw(loc2, scale2)
        log_p = log_bernoulli(x, self.decoder(z1)) + log_normal(z1, *normal(self.layer(z2), self.offset, 1e-3))
        return -(log_p + log_normal(z2) - log_normal(z1, loc1, scale1) - log_normal(z2, loc2, scale2)).sum()


class VampPriorELBO(nn.Module):
    """A VAE whose prior is the mixture of the posteriors of 500 pseudo-data."""

    def __init__(self, pseudo_data: Tensor, decoder: nn.Module, encoder: nn.Module) -> None:
        super().__init__()
        self.pseudo_data = nn.Parameter(pseudo_data)
        self.decoder, self.encoder = decoder, encoder

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        loc, scale = normal(self.encoder(x))
        z = draw(loc, scale)
        components = normal(self.encoder(self.pseudo_data.clamp(0, 1).flatten(1)))
        log_prior = log_normal(z.unsqueeze(1), *components).logsumexp(1) - math.log(len(self.pseudo_data))
        return -(log_bernoulli(x, self.decoder(z)) + log_prior - log_normal(z, loc, scale)).sum()


class M2(nn.Module):
    """M2 of Kingma et al. (2014): the classes of data without labels are summed over."""

    def __init__(self, decoder: nn.Module, encoder: nn.Module, classifier: nn.Module, num_classes: int = 10) -> None:
        super().__init__()
        self.decoder, self.encoder, self.classifier, self.num_classes = decoder, encoder, classifier, num_classes

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        x = x.flatten(1)
        log_q = self.classifier(x).log_softmax(-1)
        if y is None:
            classes = torch.eye(self.num_classes).unsqueeze(1).expand(-1, len(x), -1)  # (C, B, C)
            bound = self.bound(x.expand(self.num_classes, *x.shape), classes)
            return -(log_q.exp() * (bound.T - log_q)).sum()
        known = F.one_hot(y, self.num_classes).to(x.dtype)
        return -(self.bound(x, known) + 50 * (log_q * known).sum(-1)).sum()

    def bound(self, x: Tensor, classes: Tensor) -> Tensor:
        """Return the bound of log p(x, y)."""
        loc, scale = normal(self.encoder(torch.cat((x, classes), -1)))
        z = draw(loc, scale)
        log_p = log_bernoulli(x, self.decoder(torch.cat((z, classes), -1))) - math.log(self.num_classes)
        return log_p + log_normal(z) - log_normal(z, loc, scale)
