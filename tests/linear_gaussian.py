"""The oracle: a linear-Gaussian VAE (probabilistic PCA), whose marginal and posterior are known exactly."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyrovae import Program

SIZES = {2: 5, 10: 30, 50: 100}  # data dimensions, by latent ones


class LinearGaussian(nn.Module):
    """p(z) = N(0, I), p(x|z) = N(W z + b, s^2 I), float64; the guide is exact, or the best mean-field one.

    ``shift`` moves the guide's mean by so many of its standard deviations, ``widening`` multiplies these.
    """

    def __init__(self, latent_dim, data_dim, scale=1.0, guide="exact", shift=0.0, coupling=0.35, seed=0, widening=1.0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer(
            "W", coupling * torch.randn(data_dim, latent_dim, generator=generator, dtype=torch.float64)
        )
        self.register_buffer("b", torch.randn(data_dim, generator=generator, dtype=torch.float64))
        self.scale = scale
        precision = torch.eye(latent_dim, dtype=torch.float64) + self.W.T @ self.W / scale**2
        self.register_buffer("covariance", torch.linalg.inv(precision))
        self.register_buffer("mean_field", precision.diagonal().rsqrt())
        self.kind = guide
        self.shift = shift
        self.widening = widening

    def model(self, x):
        pyro.module("linear_gaussian", self)
        zero = torch.zeros(self.W.shape[1], dtype=torch.float64)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(zero, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.W.T + self.b, self.scale).to_event(1), obs=x)

    def guide(self, x):
        mean = (x - self.b) @ self.W @ self.covariance / self.scale**2
        with pyro.plate("data", len(x)):
            if self.kind == "exact":
                return pyro.sample("z", dist.MultivariateNormal(mean, self.covariance))
            return pyro.sample(
                "z", dist.Normal(mean + self.shift * self.mean_field, self.widening * self.mean_field).to_event(1)
            )

    def log_prob(self, x):
        covariance = self.W @ self.W.T + self.scale**2 * torch.eye(len(self.b), dtype=torch.float64)
        return dist.MultivariateNormal(self.b, covariance).log_prob(x)

    def simulate(self, count, seed=1):
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(count, self.W.shape[1], generator=generator, dtype=torch.float64)
        noise = torch.randn(count, len(self.b), generator=generator, dtype=torch.float64)
        return z @ self.W.T + self.b + self.scale * noise


class LinearGaussianProgram(LinearGaussian, Program):
    """The oracle as a program that can be saved as a run; data are float32, its computations float64."""

    def __init__(self, data_shape, latent_dim, guide="exact", seed=0):
        super().__init__(latent_dim, data_shape[0], guide=guide, seed=seed)

    def model(self, x):
        return super().model(x.double())

    def guide(self, x):
        return super().guide(x.double())


class GappyLinearGaussian(LinearGaussian):
    """The oracle of data with missing values; its guide is the exact posterior given the observed cells."""

    takes_missing = True

    def guide(self, x):
        observed = (~x.isnan()).to(x.dtype)
        eye = torch.eye(self.W.shape[1], dtype=torch.float64)
        precision = eye + torch.einsum("bi,ij,ik->bjk", observed, self.W, self.W) / self.scale**2
        mean = torch.linalg.solve(precision, (x.nan_to_num() - self.b) * observed @ self.W / self.scale**2)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", dist.MultivariateNormal(mean, precision_matrix=precision))

    def log_prob(self, x):
        """log p(x_obs) of each datum, by the marginal covariance of its observed cells."""
        return torch.stack([self._marginal(row).log_prob(row[~row.isnan()]) for row in x])

    def conditional(self, x):
        """Mean and standard deviation of each cell given the observed ones; 0 for these."""
        means, deviations = x.clone(), torch.zeros_like(x)
        whole = self.W @ self.W.T + self.scale**2 * torch.eye(len(self.b), dtype=torch.float64)
        for i, row in enumerate(x):
            seen = ~row.isnan()
            gain = whole[~seen][:, seen] @ torch.linalg.inv(whole[seen][:, seen])
            means[i, ~seen] = self.b[~seen] + gain @ (row[seen] - self.b[seen])
            left = whole[~seen][:, ~seen] - gain @ whole[seen][:, ~seen]
            deviations[i, ~seen] = left.diagonal().sqrt()
        return means, deviations

    def _marginal(self, row):
        seen = ~row.isnan()
        W = self.W[seen]
        return dist.MultivariateNormal(self.b[seen], W @ W.T + self.scale**2 * torch.eye(len(W), dtype=torch.float64))

    def simulate_gaps(self, count, share=0.4, seed=1):
        """Simulate data, and remove cells at random, but not all of a datum."""
        generator = torch.Generator().manual_seed(seed)
        gone = torch.rand(count, len(self.b), generator=generator) < share
        gone[gone.all(1), 0] = False
        return torch.where(gone, torch.nan, self.simulate(count, seed))


class GappyLinearGaussianProgram(GappyLinearGaussian, Program):
    """The oracle of data with missing values as a program that can be saved as a run."""

    def __init__(self, data_shape, latent_dim, seed=0):
        super().__init__(latent_dim, data_shape[0], seed=seed)

    def model(self, x):
        return super().model(x.double())

    def guide(self, x):
        return super().guide(x.double())
