"""Every row that can be swapped in trains for real on digits: its bound improves and its evaluation is finite.

Rows are found as classes, so that a new one is tested by being there.
"""

import inspect
from functools import partial

import pytest
import torch
from contracts import classes, image_likelihoods, program_classes
from sklearn.datasets import load_digits

from pyrovae import (
    MLP,
    VAE,
    Bernoulli,
    ConvolutionalDecoder,
    ConvolutionalEncoder,
    DataSet,
    DiagonalNormal,
    Digits,
    DiscretizedLogisticMixture,
    Objective,
    Posterior,
    Prior,
    ResNetDecoder,
    ResNetEncoder,
    StandardNormal,
    TraceEnum_ELBO,
    fit,
    generate,
    log_marginal,
    reconstruct,
)
from pyrovae import objectives as of_pyrovae
from pyrovae import vae as programs
from pyrovae.flows import Flow
from pyrovae.programs import uses_labels
from pyrovae.runs import first_data, template_of

D = 4
small = partial(MLP, hidden_features=(48,))
fast = partial(torch.optim.Adam, lr=8e-3)


@pytest.fixture(scope="module")
def data():
    digits = load_digits()
    counts = torch.tensor(digits.images, dtype=torch.int64)
    return {
        "binary": Digits(),
        "dequantized": Digits(binarization="none", dequantize=True),
        "scaled": Digits(binarization="none"),
        "counts": DataSet(counts, torch.tensor(digits.target)),
    }


def explained_by(likelihood, data):
    """Return the first data set that a likelihood is a likelihood of."""
    for kind, dataset in data.items():
        made = likelihood(dataset.data_shape, D)
        if made.caveat(kind) is None:
            try:
                made.check(dataset.train[:])
            except ValueError:
                continue
            return dataset
    raise AssertionError("no data set suits it")


def train(program, data, epochs=4, **options):
    """Train shortly and return the program evaluated; recording must not fail, as its warning would be an error."""
    torch.manual_seed(0)
    if hasattr(program, "initialize"):
        program.initialize(data.train[:])
    options = {"optimizer": fast, "batch_size": 100, "progress": False, "max_norm": 1e4, **options}
    history = fit(program.model, program.guide, data, epochs=epochs, **options)
    assert history.epochs[-1].validation_elbo > history.epochs[0].validation_elbo
    assert history.epochs[-1].train_elbo > history.epochs[0].train_elbo + 0.5
    x = first_data(program, data.test, 20)
    if not is_deterministic(program):
        ml = log_marginal(program.model, program.guide, x, num_samples=60)
        assert ml.log_prob.isfinite().all()
        assert (ml.log_prob >= ml.elbo - 1e-6).all()
    assert reconstruct(program.model, program.guide, x).isfinite().all()
    new = generate(program.model, 6, template_of(program, data), noise=True)
    assert new.shape == (6, *data.data_shape)
    assert new.isfinite().all()
    return history


def is_deterministic(program):
    return isinstance(program, programs.Autoencoder) or type(getattr(program, "posterior", None)).__name__ == (
        "PointPosterior"
    )


def partner(cls):
    """Return the posterior of a prior's support, or the other way round."""
    family, default = (Posterior, DiagonalNormal) if issubclass(cls, Prior) else (Prior, StandardNormal)
    return default if default.support is cls.support else next(c for c in classes(family) if c.support is cls.support)


@pytest.mark.slow
@pytest.mark.parametrize("cls", classes(Prior), ids=lambda cls: cls.__name__)
def test_every_prior_trains(cls, data):
    shape = (1, 8, 8)
    options = {"num_components": 20} if "num_components" in inspect.signature(cls).parameters else {}
    train(VAE(cls(D, **options), Bernoulli(shape, D, small), partner(cls)(shape, D, small)), data["binary"])


@pytest.mark.slow
@pytest.mark.parametrize("cls", classes(Posterior), ids=lambda cls: cls.__name__)
def test_every_posterior_trains(cls, data):
    shape = (1, 8, 8)
    train(VAE(partner(cls)(D), Bernoulli(shape, D, small), cls(shape, D, small)), data["binary"])


@pytest.mark.slow
@pytest.mark.parametrize("flow", classes(Flow), ids=lambda cls: cls.__name__)
def test_every_flow_trains_in_the_posterior(flow, data):
    from pyrovae import FlowPosterior

    shape = (1, 8, 8)
    posterior = FlowPosterior(shape, D, small, flow=flow)
    train(VAE(StandardNormal(D), Bernoulli(shape, D, small), posterior), data["binary"])


@pytest.mark.slow
@pytest.mark.parametrize("flow", [cls for cls in classes(Flow) if cls.invertible], ids=lambda cls: cls.__name__)
def test_every_invertible_flow_trains_in_the_prior(flow, data):
    from pyrovae import FlowPrior

    shape = (1, 8, 8)
    prior = FlowPrior(D, flow=flow)
    train(VAE(prior, Bernoulli(shape, D, small), DiagonalNormal(shape, D, small)), data["binary"])


@pytest.mark.slow
@pytest.mark.parametrize("cls", image_likelihoods(), ids=lambda cls: cls.__name__)
def test_every_likelihood_trains(cls, data):
    options = {"levels": 17} if "levels" in inspect.signature(cls).parameters else {}
    cls = partial(cls, network=small, **options)
    suited = explained_by(cls, data)
    shape = suited.data_shape
    train(VAE(StandardNormal(D), cls(shape, D), DiagonalNormal(shape, D, small)), suited)


@pytest.mark.slow
def test_the_optimal_scale_trains(data):
    from pyrovae import Gaussian

    shape, dequantized = (1, 8, 8), data["dequantized"]
    likelihood = Gaussian(shape, D, small, scale="optimal")
    train(VAE(StandardNormal(D), likelihood, DiagonalNormal(shape, D, small)), dequantized, compile="off")


@pytest.mark.slow
@pytest.mark.parametrize("cls", classes(Objective), ids=lambda cls: cls.__name__)
def test_every_objective_trains(cls, data):
    shape = (1, 8, 8)
    vae = VAE(StandardNormal(D), Bernoulli(shape, D, small), DiagonalNormal(shape, D, small))
    options = {"kl_weight": 1.0, "mmd_weight": 10.0} if "kl_weight" in inspect.signature(cls).parameters else {}
    train(vae, data["binary"], objective=partial(cls, **options), kl_warmup=2)


@pytest.mark.slow
@pytest.mark.parametrize("cls", classes(Objective), ids=lambda cls: cls.__name__)
def test_a_recorded_objective_ends_in_the_same_weights(cls, data):
    few = DataSet(data["binary"].train[:350])  # five batches of 50 and a smaller one
    ends = []
    for compile in ("off", "graph"):
        torch.manual_seed(0)
        shape = (1, 8, 8)
        vae = VAE(StandardNormal(D), Bernoulli(shape, D, small), DiagonalNormal(shape, D, small))
        fit(vae.model, vae.guide, few, epochs=2, batch_size=50, objective=cls, compile=compile, progress=False)
        ends.append(torch.cat([p.detach().flatten() for p in vae.parameters()]))
    assert torch.equal(*ends)


@pytest.mark.slow
@pytest.mark.parametrize("cls", program_classes(), ids=lambda cls: cls.__name__)
def test_every_program_trains(cls, data):
    options = {"objective": TraceEnum_ELBO} if uses_labels(cls((1, 8, 8), D).model) == "where known" else {}
    train(cls((1, 8, 8), D), data["binary"], optimizer=partial(torch.optim.Adam, lr=1e-3), **options)


CONVOLUTIONAL, RESIDUAL = (ConvolutionalEncoder, ConvolutionalDecoder), (ResNetEncoder, ResNetDecoder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("likelihood", "pair"),
    [
        *((likelihood, CONVOLUTIONAL) for likelihood in image_likelihoods()),
        (Bernoulli, RESIDUAL),
        (DiscretizedLogisticMixture, RESIDUAL),  # of the most parameters for a value
    ],
    ids=lambda part: getattr(part, "__name__", None),
)
def test_colour_images_train_with_every_likelihood(likelihood, pair):
    torch.manual_seed(0)
    waves = torch.linspace(0, 6, 32).sin()[:, None] * torch.linspace(0, 4, 32).cos() * torch.rand(60, 3, 1, 1)
    images = ((waves + 1) * 7.5).to(torch.uint8)  # (60, 3, 32, 32), 16 levels
    options = {"levels": 16} if "levels" in inspect.signature(likelihood).parameters else {}
    encoder, decoder = partial(pair[0], channels=(8, 8)), partial(pair[1], channels=(8, 8))
    make = partial(likelihood, network=decoder, **options)
    data = {
        "binary": DataSet(images, levels=16, binarization="threshold"),
        "dequantized": DataSet(images, levels=16, dequantize=True),
        "scaled": DataSet(images, levels=16),
        "counts": DataSet(images.int()),
    }
    suited = explained_by(make, data)
    shape = (3, 32, 32)
    vae = VAE(StandardNormal(D), make(shape, D), DiagonalNormal(shape, D, encoder))
    vae.initialize(suited.train[:])
    history = fit(vae.model, vae.guide, suited, epochs=2, batch_size=24, optimizer=fast, progress=False, max_norm=1e5)
    assert history.epochs[-1].train_elbo > history.epochs[0].train_elbo
    assert log_marginal(vae.model, vae.guide, suited.test[:2], num_samples=4).log_prob.isfinite().all()
    assert generate(vae.model, 2, suited.test[:1], noise=True).shape == (2, *shape)


def test_the_rows_are_those_of_the_package():
    assert {"IWAE", "DReG", "MMD"} <= {cls.__name__ for cls in classes(Objective)}
    assert {cls.__name__ for cls in classes(Objective)} <= set(of_pyrovae.__all__)
