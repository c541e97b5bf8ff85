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

__all__ = [
    "ELBO",
    "IWAE",
    "M2",
    "DReG",
    "FlowELBO",
    "LogisticMixtureELBO",
    "TableELBO",
    "TwoLayers",
    "VampPriorELBO",
    "mlp",
]


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


class InverseAutoregressiveFlow(nn.Module):
    """An affine flow whose shift and scale of a component depend on those before it and on a context."""

    def __init__(self, features: int, context_features: int, width: int) -> None:
        super().__init__()
        sizes = (context_features + features, width, width, 2 * features)
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        inputs = torch.cat((torch.zeros(context_features), torch.arange(1, features + 1)))
        hidden = torch.linspace(1, features, width).round() - 1
        outputs = torch.arange(1, features + 1).repeat(2)
        self.masks: list[Tensor] = [
            (hidden[:, None] >= inputs).float(),
            (hidden[:, None] >= hidden).float(),
            (outputs[:, None] > hidden).float(),
        ]

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return the transformed z and the logarithm of the determinant of its derivative."""
        h = torch.cat((context, z), -1)
        for i, (layer, mask) in enumerate(zip(self.layers, self.masks, strict=True)):
            h = F.linear(h.relu() if i else h, layer.weight * mask, layer.bias)  # type: ignore[arg-type] # of a Linear
        shift, log_scale = h.chunk(2, -1)
        log_scale = log_scale + (log_scale.clamp(-5, 3) - log_scale).detach()
        return log_scale.exp() * z + shift, log_scale.sum(-1)


class FlowELBO(nn.Module):
    """A VAE whose posterior is two inverse autoregressive flows of a normal, with a context of 64 features."""

    def __init__(self, decoder: nn.Module, encoder: nn.Module, latent_dim: int = 20) -> None:
        super().__init__()
        self.decoder, self.encoder, self.sizes = decoder, encoder, (2 * latent_dim, 64)
        self.flows = nn.ModuleList(InverseAutoregressiveFlow(latent_dim, 64, 64) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        features, context = self.encoder(x).split(self.sizes, -1)
        loc, scale = normal(features)
        z = draw(loc, scale)
        log_q = log_normal(z, loc, scale)
        for i, flow in enumerate(self.flows):
            z, log_det = flow(z.flip(-1) if i else z, context)
            log_q = log_q - log_det
        return -(log_bernoulli(x, self.decoder(z)) + log_normal(z) - log_q).sum()


class LogisticMixtureELBO(nn.Module):
    """A convolutional VAE of 3x32x32 whose likelihood is that of PixelCNN++ (Salimans et al., 2017), K = 5."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(32, 32, 8),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 3, 2, 1, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 50, 3, 2, 1, 1),
        )
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 8)
        )
        self.offset = math.log(math.expm1(0.05 - 1e-4))  # so that scales start at 0.05

    def forward(self, x: Tensor) -> Tensor:
        loc, scale = normal(self.encoder(x).flatten(1))
        z = draw(loc, scale)
        log_p = self.log_likelihood(x.flatten(2), self.decoder(z[..., None, None]).flatten(2))
        return -(log_p + log_normal(z) - log_normal(z, loc, scale)).sum()

    def log_likelihood(self, x: Tensor, outputs: Tensor) -> Tensor:
        """Return log p(x|z) of x, ``(B, 3, P)``, from the decoder's outputs, ``(B, 50, P)``."""
        logits, *others = outputs.split((5, 15, 15, 15), 1)
        loc, raw_scale, slopes = (part.unflatten(1, (5, 3)) for part in others)  # (B, 5, 3, P)
        r, g, _ = (x.unsqueeze(1) - 0.5).unbind(2)  # (B, 1, P)
        green = loc[:, :, 1] + slopes[:, :, 0] * r
        blue = loc[:, :, 2] + slopes[:, :, 1] * r + slopes[:, :, 2] * g
        loc = torch.stack((loc[:, :, 0], green, blue), 2) * 255
        scale = (F.softplus(raw_scale + self.offset) + 1e-4) * 255
        level = x.unsqueeze(1) * 255
        above = F.logsigmoid((level + 0.5 - loc) / scale).where(level < 254.5, 0.0)
        below = F.logsigmoid((loc - level + 0.5) / scale).where(level > 0.5, 0.0)
        width = (-torch.expm1(-1 / scale)).log().where((level > 0.5) & (level < 254.5), 0.0)
        return (logits.log_softmax(1) + (above + below + width).sum(2)).logsumexp(1).sum(-1)


class Head(nn.Module):
    """Parameters of some columns: a linear map of the features, and numbers that do not depend on the row."""

    def __init__(self, columns: int, levels: int = 1, *, shared: bool = True) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.zeros(columns)) if shared else None
        self.linear = nn.Linear(128, columns * levels)

    def forward(self, h: Tensor) -> Tensor:
        return self.linear(h)

    def positive(self, minimum: float) -> Tensor:
        assert self.shared is not None
        return F.softplus(self.shared) + minimum


class TableELBO(nn.Module):
    """A VAE of 10 real and 4 positive columns, 4 of counts, 4 of two categories and 4 of five, in this order.

    Args:
        center: mean of each column, or of its logarithm where it is positive or a count (of 1 more), ``(26,)``.
        spread: standard deviation of the same.
    """

    def __init__(self, center: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.center, self.spread = center, spread
        self.decoder = mlp(8, 128, 128)
        self.real, self.positive, self.count = Head(10), Head(4), Head(4)
        self.binary, self.nominal = Head(4, shared=False), Head(4, 5, shared=False)
        self.encoder = mlp(42, 128, 16)

    def forward(self, x: Tensor) -> Tensor:
        real, positive, count, binary, codes = x.split((10, 4, 4, 4, 4), -1)
        numbers = torch.cat((real, positive.log(), count.log1p(), binary), -1)
        scaled = (numbers - self.center[:22]) / self.spread[:22]
        loc, scale = normal(self.encoder(torch.cat((scaled, F.one_hot(codes.long(), 5).flatten(1)), -1)))
        z = draw(loc, scale)
        h = self.decoder(z)
        log_p = log_normal(scaled[:, :10], self.real(h), self.real.positive(1e-3)) - self.spread[:10].log().sum()
        log_x = positive.log()
        log_p = log_p + log_normal(log_x - self.center[10:14], self.positive(h), self.positive.positive(1e-3))
        log_p = log_p - log_x.sum(-1) + self.log_counts(count, self.count(h), self.count.positive(1e-4))
        log_p = log_p + log_bernoulli(binary, self.binary(h))
        nominal = self.nominal(h).unflatten(-1, (5, 4)).log_softmax(-2)  # (B, 5, 4)
        log_p = log_p + nominal.gather(-2, codes.long().unsqueeze(-2)).squeeze(-2).sum(-1)
        return -(log_p + log_normal(z) - log_normal(z, loc, scale)).sum()

    @staticmethod
    def log_counts(x: Tensor, log_mean: Tensor, theta: Tensor) -> Tensor:
        """Return the log-probability of negative binomial counts."""
        logits = log_mean - theta.log()
        ways = torch.lgamma(theta + x) - torch.lgamma(theta) - torch.lgamma(x + 1)
        return (ways + x * logits - (theta + x) * F.softplus(logits)).sum(-1)


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
