"""Models and guides on which annealed estimators are compared: exact ones, and small trained VAEs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import pyrovae as pv
from pyrovae.programs import PyroFunction

__all__ = ["SETTINGS", "Setting"]


@dataclass(frozen=True)
class Setting:
    """Programs and some data; ``log_prob`` is the exact log p(x), ``(B,)`` in nats, where it is known."""

    model: PyroFunction
    guide: PyroFunction
    x: Tensor
    log_prob: Tensor | None = None


def linear_gaussian(D: int, shift: float, scale: float, num_data: int) -> Setting:
    """PPCA, p(x|z) = N(Wz, I), with the best mean-field guide, moved and scaled by its standard deviations."""
    generator = torch.Generator().manual_seed(0)
    W = 0.35 * torch.randn({10: 30, 50: 100}[D], D, generator=generator, dtype=torch.float64)
    precision = torch.eye(D, dtype=torch.float64) + W.T @ W
    covariance, sigma = torch.linalg.inv(precision), precision.diagonal().rsqrt()

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(D), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ W.T, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ W @ covariance + shift * sigma, scale * sigma).to_event(1))

    z = torch.randn(num_data, D, generator=generator, dtype=torch.float64)
    x = z @ W.T + torch.randn(num_data, len(W), generator=generator, dtype=torch.float64)
    exact = dist.MultivariateNormal(x.new_zeros(len(W)), W @ W.T + torch.eye(len(W), dtype=torch.float64))
    return Setting(model, guide, x, exact.log_prob(x))


def two_modes(num_data: int, both: bool) -> Setting:
    """Two latents, of which x shows the square of the first: modes at plus and minus; the guide has one, or both."""

    def mean(z: Tensor) -> Tensor:
        return torch.stack((z[..., 0].square(), z[..., 1]), -1)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(mean(z), 0.3).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        loc = torch.stack((x[:, 0].clamp(min=0.2).sqrt(), x[:, 1] / 1.09), -1)
        scale = torch.stack((0.3 / (2 * loc[:, 0]), torch.full_like(loc[:, 0], 0.29)), -1)
        if both:  # one wide normal
            loc, scale = loc * loc.new_tensor([0.0, 1.0]), torch.stack((loc[:, 0], scale[:, 1]), -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    generator = torch.Generator().manual_seed(0)
    z = torch.randn(num_data, 2, generator=generator, dtype=torch.float64)
    z[:, 0] = z[:, 0].abs() + 1.0
    x = mean(z) + 0.3 * torch.randn(num_data, 2, generator=generator, dtype=torch.float64)
    grid = torch.linspace(-6, 6, 2401, dtype=torch.float64)
    points = torch.cartesian_prod(grid, grid)
    prior = dist.Normal(0.0, 1.0).log_prob(points).sum(-1) + 2 * math.log(0.005)
    exact = [(dist.Normal(mean(points), 0.3).log_prob(each).sum(-1) + prior).logsumexp(0) for each in x]
    return Setting(model, guide, x, torch.stack(exact))


def trained(
    name: str,
    make: Callable[[], tuple[pv.Program, pv.DataSet]],
    epochs: int,
    lr: float,
    num_data: int,
    folder: Path,
) -> Setting:
    """Return a VAE that is trained, or was by an earlier call, and the first test data."""
    torch.manual_seed(0)
    vae, data = make()
    path = folder / f"{name}-{epochs}.safetensors"
    if path.exists():
        vae.load_state_dict(load_file(path))
    else:
        vae.initialize(data.train[:])
        pv.fit(vae.model, vae.guide, data, epochs=epochs, optimizer=partial(torch.optim.Adam, lr=lr))
        folder.mkdir(parents=True, exist_ok=True)
        save_file(vae.state_dict(), path)
    torch.manual_seed(0)
    return Setting(vae.model, vae.guide, data.test[:num_data])


def tanh(*widths: int) -> Callable[..., torch.nn.Module]:
    return partial(pv.MLP, hidden_features=widths, activation=torch.nn.Tanh, initialization="glorot")


def mnist_vae(root: str) -> tuple[pv.Program, pv.DataSet]:
    """784-200-200-50, Bernoulli."""
    data = pv.MNIST(root)
    shape, network = data.data_shape, tanh(200, 200)
    likelihood, posterior = pv.Bernoulli(shape, 50, network=network), pv.DiagonalNormal(shape, 50, network=network)
    return pv.VAE(pv.StandardNormal(50), likelihood, posterior), data


def two_layers() -> tuple[pv.Program, pv.DataSet]:
    """Two layers of 16 and 8 latents, digits."""
    data, network = pv.Digits(), tanh(100, 100)
    vae = pv.HierarchicalVAE(
        data.data_shape,
        8,
        dims=(16,),
        likelihood=partial(pv.Bernoulli, network=network),
        posterior=partial(pv.DiagonalNormal, network=network),
    )
    return vae, data


def flow_posterior() -> tuple[pv.Program, pv.DataSet]:
    """16 latents with an inverse autoregressive flow as the posterior, digits."""
    data, network = pv.Digits(), tanh(100, 100)
    shape = data.data_shape
    likelihood, posterior = pv.Bernoulli(shape, 16, network=network), pv.FlowPosterior(shape, 16, network=network)
    return pv.VAE(pv.StandardNormal(16), likelihood, posterior), data


def sharp_decoder() -> tuple[pv.Program, pv.DataSet]:
    """16 latents, Gaussian decoder of standard deviation 0.03, dequantised digits."""
    data, network = pv.Digits(binarization="none", dequantize=True), tanh(100, 100)
    shape = data.data_shape
    likelihood = pv.Gaussian(shape, 16, network=network, scale="fixed", initial_scale=0.03)
    return pv.VAE(pv.StandardNormal(16), likelihood, pv.DiagonalNormal(shape, 16, network=network)), data


SETTINGS: dict[str, Callable[[str, Path, int], Setting]] = {
    "PPCA 10, good guide": lambda root, folder, n: linear_gaussian(10, 0.0, 1.0, n),
    "PPCA 10, bad guide": lambda root, folder, n: linear_gaussian(10, 1.0, 0.7, n),
    "PPCA 50, good guide": lambda root, folder, n: linear_gaussian(50, 0.0, 1.0, n),
    "PPCA 50, bad guide": lambda root, folder, n: linear_gaussian(50, 1.0, 0.7, n),
    "MNIST VAE, 50 latents": lambda root, folder, n: trained("mnist", lambda: mnist_vae(root), 15, 1e-3, n, folder),
    "two layers": lambda root, folder, n: trained("two_layers", two_layers, 100, 1e-3, n, folder),
    "flow posterior": lambda root, folder, n: trained("flow", flow_posterior, 100, 1e-3, n, folder),
    "Gaussian, sigma 0.03": lambda root, folder, n: trained("sharp", sharp_decoder, 300, 1e-3, n, folder),
    "two modes, guide has one": lambda root, folder, n: two_modes(n, False),
    "two modes, guide has both": lambda root, folder, n: two_modes(n, True),
}
"""The settings by name; each is made from the folder of MNIST, that of trained weights, and a number of data."""
