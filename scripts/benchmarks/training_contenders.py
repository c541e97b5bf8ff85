"""Contenders of ``training.py``: each trains one VAE, and begins an epoch when it is its turn.

All train 784-400-20 (A), 784-200-200-50 (B) or a convolutional network, on the same images, by Adam with a learning
rate of 1e-3, and read batches as pyrovae does where their library leaves them the choice.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from architectures import ARCHITECTURES
from torch import Tensor, nn

from pyrovae import MNIST, DataSet, Digits, fit

Turns = Iterator[None]
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Options:
    architecture: str
    root: str | None
    batch_size: int
    num_data: int | None
    rounds: int
    threads: int
    seed: int
    first_epochs: int

    @classmethod
    def of(cls, given: argparse.Namespace, architecture: str) -> Options:
        """Take them from the command line's, for one of its architectures."""
        return cls(architecture, *(getattr(given, field.name) for field in fields(cls)[1:]))


def load(options: Options) -> DataSet:
    """Load MNIST or digits; fit validates after each epoch, and one batch of it is kept out of the comparison."""
    size = options.batch_size
    if options.root is None:
        return Digits(validation_size=size)
    data = MNIST(options.root, validation_size=size)
    if options.num_data is None:
        return data
    images = data.train.stored[: options.num_data + size]
    return DataSet(images, test_x=images[:size], binarization="dynamic", validation_size=size)


def networks(options: Options, data: DataSet) -> tuple[nn.Sequential, nn.Sequential]:
    """Return encoder and decoder in plain PyTorch."""
    return networks_of(options.architecture, data.data_shape)


def networks_of(name: str, data_shape: tuple[int, ...]) -> tuple[nn.Sequential, nn.Sequential]:
    """Write encoder and decoder of an architecture down in plain PyTorch."""
    architecture = ARCHITECTURES[name]
    D, n = architecture.latent_dim, prod(data_shape)
    if not architecture.hidden_features:
        side = data_shape[1] // 4
        encoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 2 * D, side)
        )
        decoder = nn.Sequential(
            nn.Unflatten(1, (D, 1, 1)),
            nn.ConvTranspose2d(D, 32, side),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 3, 2, 1, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 3, 2, 1, 1),
        )
        return nn.Sequential(encoder, nn.Flatten()), decoder

    def layers(*widths: int) -> nn.Sequential:
        linear = [nn.Linear(previous, width) for previous, width in pairwise(widths)]
        return nn.Sequential(*[part for layer in linear for part in (layer, architecture.activation())][:-1])

    hidden = architecture.hidden_features
    return nn.Sequential(nn.Flatten(), layers(n, *hidden, 2 * D)), layers(D, *reversed(hidden), n)


def pyrovae(compile: Any, options: Options, turns: Turns) -> None:
    data = load(options)
    vae = ARCHITECTURES[options.architecture].vae(data.data_shape)
    count = sum(weight.numel() for part in networks(options, data) for weight in part.parameters())
    assert sum(weight.numel() for weight in vae.parameters()) == count, "the networks are not the same"
    next(turns)
    first = options.first_epochs
    fit(
        vae.model,
        vae.guide,
        data,
        epochs=first + options.rounds,
        batch_size=options.batch_size,
        optimizer=partial(torch.optim.Adam, lr=LEARNING_RATE),
        compile=compile,
        progress=False,
        callback=lambda history, _: None if len(history.epochs) < first else next(turns),
    )


def hand_written(fused: bool, options: Options, turns: Turns) -> None:
    data = load(options)
    encoder, decoder = networks(options, data)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=fused or None)
    for _ in turns:
        for x in data.train.batches(options.batch_size, shuffle=True):
            loc, raw_scale = encoder(x).chunk(2, -1)
            scale = F.softplus(raw_scale)
            z = loc + scale * torch.randn_like(scale)
            kl = ((scale**2 + loc**2 - 1) / 2 - scale.log()).sum()
            loss = F.binary_cross_entropy_with_logits(decoder(z).view(x.shape), x, reduction="sum") + kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def pyro_tutorial(options: Options, turns: Turns) -> None:
    import pyro
    import pyro.distributions as dist
    from pyro.infer import SVI, Trace_ELBO

    data = load(options)

    class Tutorial(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = networks(options, data)

        def model(self, x: Tensor) -> None:
            pyro.module("decoder", self.decoder)
            with pyro.plate("data", x.shape[0]):
                zeros = x.new_zeros(x.shape[0], ARCHITECTURES[options.architecture].latent_dim)
                z = pyro.sample("latent", dist.Normal(zeros, torch.ones_like(zeros)).to_event(1))
                logits = self.decoder(z).flatten(1)
                pyro.sample("obs", dist.Bernoulli(logits=logits, validate_args=False).to_event(1), obs=x.flatten(1))

        def guide(self, x: Tensor) -> None:
            pyro.module("encoder", self.encoder)
            with pyro.plate("data", x.shape[0]):
                loc, log_scale = self.encoder(x).chunk(2, -1)
                pyro.sample("latent", dist.Normal(loc, log_scale.exp()).to_event(1))

    vae = Tutorial()
    svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": LEARNING_RATE}), loss=Trace_ELBO())
    for _ in turns:
        for x in data.train.batches(options.batch_size, shuffle=True):
            svi.step(x)


def numpyro(options: Options, turns: Turns) -> None:
    """Jit a whole epoch as NumPyro's example does: data on the device, binarised in the loop."""
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from jax import lax, random
    from jax.example_libraries import stax
    from numpyro.infer import SVI, Trace_ELBO

    architecture, data = ARCHITECTURES[options.architecture], load(options)
    hidden, D, n = architecture.hidden_features, architecture.latent_dim, prod(data.data_shape)
    batch_size, (_, height, width) = options.batch_size, data.data_shape
    activation = stax.Tanh if architecture.activation is nn.Tanh else stax.Relu
    heads = (stax.FanOut(2), stax.parallel(stax.Dense(D), stax.serial(stax.Dense(D), stax.Exp)))
    if hidden:
        encoder = stax.serial(*(part for h in hidden for part in (stax.Dense(h), activation)), *heads)
        decoder = stax.serial(*(part for h in hidden[::-1] for part in (stax.Dense(h), activation)), stax.Dense(n))
        shape: tuple[int, ...] = (batch_size, n)
    else:
        small = height // 4

        def up(channels: int) -> Any:
            return stax.ConvTranspose(channels, (3, 3), (2, 2), padding="SAME")

        image = (
            ((), lambda rng, given: ((given[0], small, small, 32), ())),
            lambda params, x, **_: x.reshape(-1, small, small, 32),
        )
        encoder = stax.serial(
            stax.Conv(16, (3, 3), (2, 2), "SAME"),
            stax.Relu,
            stax.Conv(32, (3, 3), (2, 2), "SAME"),
            stax.Relu,
            stax.Flatten,
            *heads,
        )
        decoder = stax.serial(
            stax.Dense(small * small * 32), (image[0][1], image[1]), stax.Relu, up(16), stax.Relu, up(1), stax.Flatten
        )
        shape = (batch_size, height, width, 1)

    def model(x: Any) -> None:
        decode = numpyro.module("decoder", decoder, (batch_size, D))
        with numpyro.plate("batch", batch_size):
            z = numpyro.sample("z", dist.Normal(0, 1).expand([D]).to_event(1))
            numpyro.sample("obs", dist.Bernoulli(logits=decode(z)).to_event(1), obs=x.reshape(batch_size, n))

    def guide(x: Any) -> None:
        encode = numpyro.module("encoder", encoder, shape)
        loc, scale = encode(x)
        with numpyro.plate("batch", batch_size):
            numpyro.sample("z", dist.Normal(loc, scale).to_event(1))

    svi = SVI(model, guide, numpyro.optim.Adam(LEARNING_RATE), Trace_ELBO())
    images = jnp.asarray(data.train.stored.numpy(), jnp.float32) / (data.levels - 1)
    images = images.reshape(len(images), *shape[1:])
    num_batches = len(images) // batch_size  # the example leaves out what does not fill a batch

    @jax.jit
    def epoch(state: Any, key: Any) -> Any:
        order_key, noise_key = random.split(key)
        order = random.permutation(order_key, len(images))

        def body(i: Any, carried: Any) -> Any:
            state, total = carried
            grey = images[lax.dynamic_slice_in_dim(order, i * batch_size, batch_size)]
            x = random.bernoulli(random.fold_in(noise_key, i), grey).astype(jnp.float32)
            state, loss = svi.update(state, x)
            return state, total + loss

        return lax.fori_loop(0, num_batches, body, (state, 0.0))

    key = random.PRNGKey(options.seed)
    state = svi.init(key, images[:batch_size].round())
    for _ in turns:
        key, now = random.split(key)
        state, total = epoch(state, now)
        total.block_until_ready()


def pythae(options: Options, turns: Turns) -> None:
    """Run pythae's trainer, on images binarised once, since it has no other way."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE as PythaeVAE
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    data = load(options)
    first, second = networks(options, data)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = first

        def forward(self, x: Tensor) -> ModelOutput:
            loc, log_variance = self.network(x).chunk(2, -1)
            return ModelOutput(embedding=loc, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = second

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.network(z).view(-1, *data.data_shape).sigmoid())

    class EpochByEpoch(TrainingCallback):
        def on_epoch_end(self, training_config: Any, **_: Any) -> None:
            next(turns)

    x = data.train[:]
    D = ARCHITECTURES[options.architecture].latent_dim
    model = PythaeVAE(
        VAEConfig(input_dim=data.data_shape, latent_dim=D, reconstruction_loss="bce"), Encoder(), Decoder()
    )
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w", encoding="utf-8") as silence:
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=options.rounds + 1,
            learning_rate=LEARNING_RATE,
            per_device_train_batch_size=options.batch_size,
            no_cuda=True,
        )
        trainer = BaseTrainer(
            model, BaseDataset(x, torch.zeros(len(x))), training_config=config, callbacks=[EpochByEpoch()]
        )
        next(turns)
        with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            trainer.train()


def products(onednn: bool, options: Options, turns: Turns) -> None:
    """Multiply the matrices of an epoch, forward and backward, and nothing else."""
    data = load(options)
    done: list[Callable[[], object]] = []
    x = data.train[: options.batch_size]
    loc = x
    for network in networks(options, data):
        for layer in network.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                layer.register_forward_hook(
                    lambda layer, given, out: done.extend(_products_of(layer, given[0], out, given[0] is x, onednn))
                )
        with torch.no_grad():
            loc = network(loc).chunk(2, -1)[0].contiguous() if loc is x else network(loc)
    num_batches = -(-len(data.train) // options.batch_size)
    with torch.no_grad():
        for _ in turns:
            for _ in range(num_batches):
                for product in done:
                    product()


def _products_of(layer: nn.Module, x: Tensor, y: Tensor, is_data: bool, onednn: bool) -> Iterator[Callable[[], object]]:
    grad = torch.randn_like(y)
    if isinstance(layer, nn.Linear):
        W, b = layer.weight, layer.bias
        if onednn:
            multiply = torch.ops.mkldnn._linear_pointwise  # what Inductor calls; it transposes its second matrix
            yield lambda: multiply(x, W, b, "none", [], "")
            yield lambda: multiply(grad.T, x.T, None, "none", [], "")
            if not is_data:
                yield lambda: multiply(grad, W.T, None, "none", [], "")
        else:
            yield lambda: torch.addmm(b, x, W.T)
            yield lambda: torch.mm(grad.T, x)
            if not is_data:
                yield lambda: torch.mm(grad, W)
        return
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    turned = isinstance(layer, nn.ConvTranspose2d)
    how = (layer.stride, layer.padding, layer.dilation, turned, layer.output_padding, layer.groups)
    yield lambda: layer.forward(x)  # without the hook
    yield lambda: torch.ops.aten.convolution_backward(
        grad, x, layer.weight, [len(layer.weight)], *how, [not is_data, True, False]
    )


CONTENDERS: dict[str, Callable[[Options, Turns], None]] = {
    "hand-written, Adam()": partial(hand_written, False),
    "hand-written, Adam(fused=True)": partial(hand_written, True),
    "Pyro's tutorial": pyro_tutorial,
    "NumPyro, jitted epoch": numpyro,
    "pythae's trainer": pythae,
    "matrix products": partial(products, False),
    "matrix products, oneDNN": partial(products, True),
}
