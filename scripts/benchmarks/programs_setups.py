"""Programs whose training steps ``programs.py`` times, on random data of their shapes, and how each is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas
import programs_by_hand as by_hand
import torch
from architectures import ARCHITECTURES
from programs_by_hand import mlp
from torch import nn
from training_contenders import networks_of

import pyrovae as pv
from pyrovae.compilation import Compile, ObjectiveFactory
from pyrovae.compilation.recorded_step import RecordedStep
from pyrovae.training.batching import batches, labels_for
from pyrovae.vae import GaussianLayer

__all__ = ["LEARNING_RATE", "SETUPS", "Setup", "counting", "train", "train_by_hand"]

LEARNING_RATE = 1e-3
MNIST_SHAPE, VALIDATION = (1, 28, 28), 16
TANH: Any = partial(pv.MLP, activation=nn.Tanh)


@dataclass
class Setup:
    """A program, what it is trained on, and the same in plain PyTorch.

    Attributes:
        program: the program.
        data: data of a few batches.
        by_hand: module that maps a batch to the loss.
        objective: makes the objective.
        batch_size: number of data in a batch.
    """

    program: pv.Program
    data: pv.DataSet
    by_hand: nn.Module
    objective: ObjectiveFactory = pv.Trace_ELBO
    batch_size: int = 128


def train(setup: Setup, mode: Compile, epochs: int, its_turns: Iterator[None]) -> None:
    """Train by fit; each epoch is a turn."""
    setup.program.initialize(setup.data.train[:])
    next(its_turns)
    pv.fit(
        setup.program.model,
        setup.program.guide,
        setup.data,
        epochs=epochs,
        batch_size=setup.batch_size,
        objective=setup.objective,
        optimizer=partial(torch.optim.Adam, lr=LEARNING_RATE),
        compile=mode,
        progress=False,
        callback=lambda *_: next(its_turns),
    )


def train_by_hand(setup: Setup, its_turns: Iterator[None]) -> None:
    """Train the program in plain PyTorch, on batches that pyrovae's data sets give."""
    module = setup.by_hand
    counts = [sum(part.numel() for part in made.parameters()) for made in (module, setup.program)]
    assert counts[0] == counts[1], "the networks are not the same"
    labels = labels_for(setup.program.model, setup.program.guide, setup.data)
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE, fused=True)
    for _ in its_turns:
        for arguments in batches(labels, setup.data.train, setup.batch_size, shuffle=True):
            loss = module(*arguments)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@contextmanager
def counting(counts: dict[str, int]) -> Iterator[None]:
    """Count how often a recorded step is ``replayed``, and how often in its ``compiled`` form."""
    original: Any = RecordedStep.__call__

    def counted(recorded: RecordedStep, *arguments: Any, compiled: bool = False) -> Any:
        counts["replayed"] += 1
        counts["compiled"] += compiled and recorded.is_compiled
        return original(recorded, *arguments, compiled=compiled)

    RecordedStep.__call__ = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        RecordedStep.__call__ = original  # type: ignore[method-assign]


def images(num_data: int, shape: tuple[int, ...] = MNIST_SHAPE, **options: Any) -> pv.DataSet:
    """Return random images of 256 levels, some of which are for validation too."""
    x = torch.randint(0, 256, (num_data, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return pv.DataSet(x, test_x=x[:VALIDATION], validation_x=x[:VALIDATION], **options)


def binary(num_batches: int) -> pv.DataSet:
    return images(128 * num_batches, binarization="dynamic")


def networks_of_a() -> tuple[nn.Module, nn.Module]:
    """Return decoder and encoder of A."""
    return mlp(20, 400, 784), mlp(784, 400, 40)


def iwae(num_batches: int) -> Setup:
    vae = ARCHITECTURES["A"].vae(MNIST_SHAPE)
    return Setup(vae, binary(num_batches), by_hand.IWAE(*networks_of_a()), partial(pv.IWAE, num_particles=5))


def dreg(num_batches: int) -> Setup:
    vae = ARCHITECTURES["A"].vae(MNIST_SHAPE)
    return Setup(vae, binary(num_batches), by_hand.DReG(*networks_of_a()), partial(pv.DReG, num_particles=5))


def two_layers(num_batches: int) -> Setup:
    wide, narrow = partial(TANH, hidden_features=(200, 200)), partial(TANH, hidden_features=(100, 100))
    vae = pv.HierarchicalVAE(
        MNIST_SHAPE,
        50,
        dims=(100,),
        likelihood=partial(pv.Bernoulli, network=wide),
        posterior=partial(pv.DiagonalNormal, network=wide),
        layer=partial(GaussianLayer, network=narrow),
        layer_posterior=partial(pv.DiagonalNormal, network=narrow),
    )
    return Setup(vae, binary(num_batches), by_hand.TwoLayers())


def of_a(prior: pv.Prior, posterior: type[pv.Posterior] = pv.DiagonalNormal) -> pv.VAE:
    """Return A with another prior or posterior."""
    network: Any = partial(pv.MLP, hidden_features=(400,))
    return pv.VAE(prior, pv.Bernoulli(MNIST_SHAPE, 20, network), posterior(MNIST_SHAPE, 20, network))


def vamp_prior(num_batches: int) -> Setup:
    hand = by_hand.VampPriorELBO(torch.rand(500, *MNIST_SHAPE), *networks_of_a())
    return Setup(of_a(pv.VampPrior(20, num_components=500)), binary(num_batches), hand)


def flow_posterior(num_batches: int) -> Setup:
    hand = by_hand.FlowELBO(mlp(20, 400, 784), mlp(784, 400, 104))
    return Setup(of_a(pv.StandardNormal(20), pv.FlowPosterior), binary(num_batches), hand)


def convolutional(num_batches: int) -> Setup:
    encoder, decoder = networks_of("convolutional", MNIST_SHAPE)
    vae = ARCHITECTURES["convolutional"].vae(MNIST_SHAPE)
    return Setup(vae, binary(num_batches), by_hand.ELBO(decoder, encoder))


def logistic_mixture(num_batches: int) -> Setup:
    shape = (3, 32, 32)
    likelihood = pv.DiscretizedLogisticMixture(shape, 32, pv.ConvolutionalDecoder)
    vae = pv.VAE(pv.StandardNormal(32), likelihood, pv.DiagonalNormal(shape, 32, pv.ConvolutionalEncoder))
    return Setup(vae, images(32 * num_batches, shape), by_hand.LogisticMixtureELBO(), batch_size=32)


def semi_supervised(num_batches: int) -> Setup:
    num_labels = 128 * max(1, num_batches // 4)
    labels = torch.arange(128 * num_batches) % 10
    labels[num_labels:] = -1
    data = images(
        len(labels),
        (784,),
        labels=labels,
        test_labels=labels[:VALIDATION],
        validation_labels=labels[:VALIDATION],
        binarization="dynamic",
    )
    network: Any = partial(pv.MLP, hidden_features=(400,))
    vae = pv.SemiSupervisedVAE(
        (784,),
        20,
        likelihood=partial(pv.Bernoulli, network=network),
        posterior=partial(pv.DiagonalNormal, network=network),
        classifier=network,
    )
    decoder, encoder, classifier = mlp(30, 400, 784), mlp(794, 400, 40), mlp(784, 400, 10)
    return Setup(vae, data, by_hand.M2(decoder, encoder, classifier), pv.TraceEnum_ELBO)


def table(num_batches: int) -> Setup:
    rng = np.random.default_rng(0)
    N = 128 * num_batches
    columns: dict[str, Any] = {f"real {i}": rng.normal(size=N) for i in range(10)}
    columns |= {f"positive {i}": rng.lognormal(size=N) for i in range(4)}
    columns |= {f"count {i}": rng.poisson(3, N) for i in range(4)}
    columns |= {f"binary {i}": np.where(rng.random(N) < 0.3, "yes", "no") for i in range(4)}
    columns |= {f"nominal {i}": rng.choice(list("abcde"), N) for i in range(4)}
    whole = pandas.DataFrame(columns)
    rows = pandas.concat([whole, whole.head(VALIDATION)], ignore_index=True)
    data = pv.Table(rows, test=whole.head(VALIDATION), validation_size=VALIDATION)
    network: Any = partial(pv.MLP, hidden_features=(128,))
    shape, schema = data.data_shape, data.schema
    encoder: Any = partial(pv.TableEncoder, network=network, schema=schema)
    likelihood = pv.TableLikelihood(shape, 8, network, schema=schema)
    vae = pv.VAE(pv.StandardNormal(8), likelihood, pv.DiagonalNormal(shape, 8, encoder))
    return Setup(vae, data, by_hand.TableELBO(*moments(schema)))


def moments(schema: pv.Schema) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of columns, after the logarithm where they are positive or counts."""
    logs = [column.kind in ("positive", "count") for column in schema.columns]
    pairs = [
        (column.log_mean, column.log_std) if log else (column.mean, column.std)
        for column, log in zip(schema.columns, logs, strict=True)
    ]
    center, spread = zip(*pairs, strict=True)
    return torch.tensor(center), torch.tensor(spread)


SETUPS: dict[str, Callable[[int], Setup]] = {
    "IWAE, K = 5": iwae,
    "DReG, K = 5": dreg,
    "two layers": two_layers,
    "VampPrior, 500 components": vamp_prior,
    "flow posterior": flow_posterior,
    "convolutional": convolutional,
    "discretised logistic mixture, 3x32x32": logistic_mixture,
    "M2, classes enumerated": semi_supervised,
    "table likelihood": table,
}
"""Makes the setups of so many batches, by name."""
