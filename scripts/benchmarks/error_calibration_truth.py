"""Small trained VAEs of two latents whose log p(x) is known, by quadrature: what told errors are measured against.

``models`` trains them, or reads what an earlier call has trained, and adds the exact log p(x) of their test data.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyro
import safetensors
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from sklearn.datasets import load_digits
from torch import Tensor

import pyrovae as pv
from pyrovae.files import atomic_write
from pyrovae.matmul import fast_matmul

D = 2
NUM_IMAGES = 200
_ELEMENTS = 2**20  # numbers of one intermediate tensor
_SHARE = 1e-3  # largest share of the integral in one cell: in a larger one, points may miss a bend


@dataclass(frozen=True)
class Case:
    """The components and the training of a small VAE.

    Attributes:
        prior: makes p(z) of the number of latents.
        likelihood: makes p(x|z) of the shape of the data and the number of latents.
        posterior: makes q(z|x), likewise.
        kind: kind of the data, as :attr:`DataSet.kind`.
        epochs: passes over the training images.
        batch_size: images in a batch.
        hidden_features: width of each hidden layer of encoder and decoder.
    """

    prior: Callable[..., pv.Prior] = pv.StandardNormal
    likelihood: Callable[..., pv.Likelihood] = pv.Bernoulli
    posterior: Callable[..., pv.Posterior] = pv.DiagonalNormal
    kind: str = "binary"
    epochs: int = 200
    batch_size: int = 50
    hidden_features: tuple[int, ...] = (64,)

    def make(self, shape: tuple[int, ...]) -> pv.VAE:
        """Return the VAE, not yet trained, for data of a shape."""
        network = partial(pv.MLP, hidden_features=self.hidden_features)
        return pv.VAE(
            self.prior(D), self.likelihood(shape, D, network=network), self.posterior(shape, D, network=network)
        )


CASES = {
    "digits, Bernoulli": Case(),
    "digits, full covariance": Case(posterior=pv.FullCovarianceNormal),
    "digits, flow posterior": Case(posterior=pv.FlowPosterior),
    "digits, mixture prior": Case(prior=pv.GaussianMixture),
    "digits, VampPrior": Case(prior=partial(pv.VampPrior, num_components=50)),
    "digits, flow prior": Case(prior=pv.FlowPrior),
    "digits, Gaussian": Case(likelihood=pv.Gaussian, kind="dequantized"),
    "digits, discretized logistic": Case(likelihood=partial(pv.DiscretizedLogistic, levels=17), kind="scaled"),
    "digits, Student t": Case(likelihood=partial(pv.StudentT, scale="pixel"), kind="dequantized"),
    "digits, negative binomial": Case(likelihood=pv.NegativeBinomial, kind="counts"),
    "MNIST, Bernoulli": Case(epochs=20, batch_size=128, hidden_features=(64, 64)),
}
"""The VAEs by name; the data set is the name's first word."""


@dataclass(frozen=True)
class Model:
    """A trained VAE and its test data.

    Attributes:
        name: of its case.
        vae: the programs, in float32 and evaluation mode.
        x: test data, ``(B, *data_shape)``.
        log_prob: exact log p(x), float64 ``(B,)``, in nats; see :func:`exact_log_marginal`.
        train_elbo: ELBO of the training data in the last epoch, in nats per datum.
        validation_elbo: the best one of the validation data, whose weights are kept.
    """

    name: str
    vae: pv.VAE
    x: Tensor
    log_prob: Tensor
    train_elbo: float
    validation_elbo: float


def models(
    folder: Path, root: Path | None = None, names: Sequence[str] | None = None, seed: int = 0
) -> Iterator[Model]:
    """Train the VAEs one by one, or read them, with the exact log p(x) of their test data.

    Args:
        folder: folder of weights and exact values; made if needed.
        root: folder that holds ``MNIST/raw``; without it, those of MNIST are left out.
        names: some of ``CASES``; all if not given.
        seed: of weights and training.
    """
    for name in CASES if names is None else names:
        if root is not None or not name.startswith("MNIST"):
            yield _model(name, folder, root, seed)


def data_of(name: str, root: Path | None = None) -> pv.DataSet:
    """Return the data set of a case."""
    kind = CASES[name].kind
    if name.startswith("MNIST"):
        return pv.MNIST(root or "data")
    digits = load_digits()
    images, labels = digits.images.astype(np.uint8)[:, None], digits.target
    if kind == "counts":
        return pv.DataSet(images.astype(np.int32), labels, test_size=NUM_IMAGES)
    return pv.DataSet(
        images,
        labels,
        binarization="dynamic" if kind == "binary" else "none",
        dequantize=kind == "dequantized",
        levels=17,
        test_size=NUM_IMAGES,
    )


def _model(name: str, folder: Path, root: Path | None, seed: int) -> Model:
    case, data = CASES[name], data_of(name, root)
    path = folder / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}.safetensors"
    torch.manual_seed(seed)
    vae = case.make(data.data_shape)
    recipe = f"{case.epochs} epochs, batches of {case.batch_size}, {vae}"
    if path.exists() and (known := _metadata(path))["recipe"] == recipe:
        vae.load_state_dict(load_file(path))
    else:
        vae.initialize(data.train[:])
        history = pv.fit(
            vae.model,
            vae.guide,
            data,
            epochs=case.epochs,
            batch_size=case.batch_size,
            optimizer=partial(torch.optim.Adam, lr=2e-3),
            kl_warmup=case.epochs // 10,
            max_norm=1e4,
            restore_best=True,
            compile="graph",
        )
        known = {
            "recipe": recipe,
            "train_elbo": repr(history.epochs[-1].train_elbo),
            "validation_elbo": repr(max(epoch.validation_elbo for epoch in history.epochs)),
        }
        _write(path, vae.state_dict(), known)
    vae.eval()
    x = data.test[:NUM_IMAGES]
    return Model(name, vae, x, _exact(vae, x, path), float(known["train_elbo"]), float(known["validation_elbo"]))


def _exact(vae: pv.VAE, x: Tensor, weights: Path) -> Tensor:
    """Read the exact log p(x) of weights in a file, or compute and keep them."""
    path = weights.with_name(f"{weights.stem}-exact.safetensors")
    of = hashlib.sha256(weights.read_bytes() + x.numpy().tobytes()).hexdigest()
    if not path.exists() or _metadata(path)["of"] != of:
        _write(path, {"log_prob": exact_log_marginal(vae, x)}, {"of": of})
    return load_file(path)["log_prob"]


def _metadata(path: Path) -> dict[str, str]:
    with safetensors.safe_open(path, framework="pt") as file:
        return file.metadata()


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with atomic_write(path) as file:
        file.write(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))


def exact_log_marginal(
    vae: pv.VAE, x: Tensor, tolerance: float = 5e-8, order: int = 3, num_cells: int = 64, depth: float = 25.0
) -> Tensor:
    r"""Integrate p(z) p(x|z) over two latents, in double precision.

    A grid of ``2 num_cells`` points along each axis, on a square that is widened until no mass lies at its border,
    finds the cells where the integrand is within ``depth`` nats of its largest value or beside such a cell. Each of
    them is integrated by a product of two Gauss-Legendre rules, and again in four quarters; where the two differ by
    more than ``tolerance`` of the whole integral, or the cell holds more than a thousandth of it, each quarter is
    treated alike. The bends of rectifiers are found this way. What is left is an error of some 1e-6 nats.

    Args:
        vae: of two latents; it stays as it is.
        x: data, ``(B, *data_shape)``.
        tolerance: largest difference, as a share of the integral.
        order: points of the rule along each axis.
        num_cells: cells along each axis.
        depth: distance below the largest value, in nats, at which a cell is left out.

    Returns:
        log p(x) in nats, float64 ``(B,)``.
    """
    vae, x = copy.deepcopy(vae).double().eval(), x.double()
    with torch.no_grad(), pyro.validation_enabled(False), fast_matmul():
        half, coarse = _coarse(vae, x, num_cells)
        rule = _rule(order)
        peak = coarse.amax((-2, -1))
        # Of each cell the largest of its four points and those of the cells around it.
        highest = F.max_pool2d(F.max_pool2d(coarse[:, None], 2), 3, 1, 1)[:, 0]
        axis = (torch.arange(num_cells).double() + 0.5) * (2 * half / num_cells) - half
        found = []
        for i in range(len(x)):
            rows, columns = (highest[i] > peak[i] - depth).nonzero(as_tuple=True)
            centres = torch.stack((axis[rows], axis[columns]), -1)
            shifted = partial(_shifted, vae, x[i : i + 1], peak[i])
            found.append(peak[i] + _adaptive(shifted, centres, half / num_cells, rule, tolerance).log())
    return torch.stack(found)


def _coarse(vae: pv.VAE, x: Tensor, num_cells: int) -> tuple[float, Tensor]:
    """Return half the side of a square that holds all mass, and log p(x, z) on its grid, ``(B, 2 N, 2 N)``."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        likely = torch.cat((vae.prior().sample((10_000,)), vae.posterior(x).sample((10,)).flatten(0, 1)))
    half, count = max(8.0, 1.25 * likely.abs().max().item()), 2 * num_cells
    while True:
        axis = (torch.arange(count).double() + 0.5) * (2 * half / count) - half
        joint = log_joint(vae, torch.cartesian_prod(axis, axis), x).T.reshape(len(x), count, count)
        inside = joint[:, 2:-2, 2:-2].amax((-2, -1))
        edges = joint.clone()
        edges[:, 2:-2, 2:-2] = -math.inf
        if bool((edges.amax((-2, -1)) < inside - 40).all()):
            return half, joint
        half *= 1.5


def log_joint(vae: pv.VAE, z: Tensor, x: Tensor) -> Tensor:
    """Return log p(x, z) of each of N latents, ``(N, D)``, with each of B data, ``(N, B)``, in nats."""
    return torch.cat(
        [
            vae.prior().log_prob(part)[:, None] + vae.likelihood(part[:, None]).log_prob(x)
            for part in z.split(max(1, _ELEMENTS // x.numel()))
        ]
    )


def _shifted(vae: pv.VAE, x: Tensor, peak: Tensor, z: Tensor) -> Tensor:
    return (log_joint(vae, z, x)[:, 0] - peak).exp()


def _rule(order: int) -> tuple[Tensor, Tensor]:
    """Return points ``(order ** 2, 2)`` and weights of a product rule on [-1, 1] ** 2."""
    points, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(order))
    return torch.cartesian_prod(points, points), torch.cartesian_prod(weights, weights).prod(-1)


def _adaptive(
    density: Callable[[Tensor], Tensor],
    centres: Tensor,
    half: float,
    rule: tuple[Tensor, Tensor],
    tolerance: float,
    most: int = 24,
) -> Tensor:
    """Integrate over square cells with centres ``(N, 2)``, which are quartered up to ``most`` times where it helps."""
    quarters = torch.cartesian_prod(*(torch.tensor([-0.5, 0.5], dtype=torch.float64),) * 2)

    def integrals(centres: Tensor, half: float) -> Tensor:
        z = centres[:, None] + half * rule[0]
        return density(z.flatten(0, 1)).unflatten(0, z.shape[:2]) @ rule[1] * half**2

    done, pending = torch.zeros((), dtype=torch.float64), integrals(centres, half)
    for _ in range(most):
        total = done + pending.sum()
        finer = centres[:, None] + half * quarters  # (N, 4, 2)
        half /= 2
        parts = integrals(finer.flatten(0, 1), half).unflatten(0, finer.shape[:2])
        differs = ((parts.sum(-1) - pending).abs() > tolerance * total) | (pending > _SHARE * total)
        done = done + parts[~differs].sum()
        centres, pending = finer[differs].flatten(0, 1), parts[differs].flatten()
        if len(pending) == 0:
            return done
    raise FloatingPointError(f"the integral needs cells smaller than {half:g}")
