"""Programs with discrete latents whose log p(x) is known."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn


class Mixture(nn.Module):
    """A Gaussian mixture VAE: y of 3 components, z ~ N(m_y, S_y), x ~ N(W z, 0.7^2), float64.

    ``kind`` is that of the guide: ``y first`` is near the posterior, q(y|x) q(z|x, y); ``z first`` is q(z|x) q(y|z),
    ``apart`` is q(y|x) q(z|x), ``two sites`` has z in two sites, the second given the first and y.
    """

    def __init__(self, kind="y first", one_hot=False):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.kind, self.one_hot, self.scale = kind, one_hot, 0.7
        self.register_buffer("W", torch.randn(4, 2, generator=generator, dtype=torch.float64))
        self.register_buffer("mean", 2 * torch.randn(3, 2, generator=generator, dtype=torch.float64))
        self.register_buffer("spread", torch.tensor([[0.5, 1.0], [1.0, 0.6], [0.8, 0.8]], dtype=torch.float64))
        self.register_buffer("share", torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64))
        precision = self.spread.square().reciprocal().diag_embed() + self.W.T @ self.W / self.scale**2  # (3, 2, 2)
        self.register_buffer("covariance", torch.linalg.inv(precision))

    @property
    def of_x(self):
        noise = self.scale**2 * torch.eye(4, dtype=torch.float64)
        covariance = self.W @ self.spread.square().diag_embed() @ self.W.T + noise
        return dist.MultivariateNormal(self.mean @ self.W.T, covariance)

    def joint(self, x):
        """Return log p(x, y), ``(B, 3)``."""
        return self.of_x.log_prob(x[:, None]) + self.share.log()

    def log_prob(self, x):
        return self.joint(x).logsumexp(-1)

    def simulate(self, count, seed=1):
        torch.manual_seed(seed)
        return self.of_x.sample((count,))[torch.arange(count), torch.multinomial(self.share, count, replacement=True)]

    def _label(self, weights):
        return dist.OneHotCategorical(weights) if self.one_hot else dist.Categorical(weights)

    def _of(self, table, y):
        return torch.einsum("...c,...cd->...d", y.to(table.dtype), table) if self.one_hot else _pick(table, y)

    def model(self, x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", self._label(self.share))
            mean, spread = self._of(self.mean, y), self._of(self.spread, y)
            if self.kind == "two sites":
                first = pyro.sample("z1", dist.Normal(mean[..., 0], spread[..., 0]))
                second = pyro.sample("z2", dist.Normal(mean[..., 1], spread[..., 1]))
                z = torch.stack(torch.broadcast_tensors(first, second), -1)
            else:
                z = pyro.sample("z", dist.Normal(mean, spread).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.W.T, self.scale).to_event(1), obs=x)

    def guide(self, x):
        given = self.mean / self.spread.square() + (x @ self.W)[:, None] / self.scale**2  # (B, 3, 2)
        mean = torch.einsum("cij,bcj->bci", self.covariance, given)
        weights = (0.8 * self.joint(x)).softmax(-1)
        rough = torch.einsum("bc,bci->bi", weights, mean)
        with pyro.plate("data", len(x)):
            if self.kind == "z first":
                z = pyro.sample("z", dist.Normal(rough, 0.7).to_event(1))
                distances = (z.unsqueeze(-2) - self.mean).square().sum(-1)
                return pyro.sample("y", self._label((-0.3 * distances).softmax(-1)))
            y = pyro.sample("y", self._label(weights))
            here = self._of(mean, y)
            if self.kind == "two sites":
                first = pyro.sample("z1", dist.Normal(here[..., 0], 0.6))
                return pyro.sample("z2", dist.Normal(here[..., 1] + 0.1 * first, 0.6))
            if self.kind == "apart":
                return pyro.sample("z", dist.MultivariateNormal(rough, 0.3 * torch.eye(2).double() + 0.1))
            scale = 1.1 * self.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
            return pyro.sample("z", dist.Normal(here, self._of(scale, y)).to_event(1))


def _pick(table, y):
    """Return rows y, ``(*, B)``, of ``(C, D)``, or of ``(B, C, D)`` for each datum."""
    if table.dim() == 2:
        return table[y]
    return table[torch.arange(len(table)), y] if len(table) == y.shape[-1] else table.squeeze(0)[y]


class Bits(nn.Module):
    """Four bits y with p = 0.3 and a label c of 3, all discrete; x ~ N(V y + m_c, 1)."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.V = torch.randn(2, 4, generator=generator, dtype=torch.float64)
        self.mean = torch.randn(3, 2, generator=generator, dtype=torch.float64)

    def model(self, x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Bernoulli(torch.full((4,), 0.3).double()).to_event(1))
            c = pyro.sample("c", dist.Categorical(torch.ones(3).double() / 3))
            pyro.sample("x", dist.Normal(y.double() @ self.V.T + self.mean[c], 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.tensor([0.3, 0.3, 0.4]).double()))
            pyro.sample("y", dist.Bernoulli((0.2 + 0.1 * c)[..., None].expand(*c.shape, 4).double()).to_event(1))

    def joint(self, x):
        """Return log p(x, y, c) of the 16 * 3 values, ``(16, 3, B)``."""
        y = torch.cartesian_prod(*[torch.arange(2.0).double()] * 4)  # (16, 4)
        mean = (y @ self.V.T)[:, None] + self.mean  # (16, 3, 2)
        prior = dist.Bernoulli(torch.tensor(0.3).double()).log_prob(y).sum(-1)[:, None, None] - torch.tensor(3.0).log()
        return prior + dist.Normal(mean[:, :, None], 1.0).log_prob(x).sum(-1)

    def log_prob(self, x):
        return self.joint(x).flatten(0, 1).logsumexp(0)
