"""Use in notebooks: arrays, data frames and float64 tensors as data; short results; figures that show."""

import copy
import io
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from pyrovae import (
    VAE,
    Bernoulli,
    ConditionalVAE,
    DataSet,
    DiagonalNormal,
    Digits,
    Gaussian,
    InputError,
    StandardNormal,
    figures,
    fit,
)
from pyrovae.evaluation import (
    Adaptive,
    Annealed,
    anomaly_scores,
    compare,
    convergence,
    coverage,
    cross_check,
    diagnose,
    linear_probe,
    log_marginal,
    log_weights,
    pareto_k,
    rate_distortion,
    refine,
    sandwich,
    separation,
)
from pyrovae.prediction import class_direction, decode, encode, generate, linear_path, reconstruct, simulate

D, K = 2, 30
short = Annealed(num_temperatures=3, num_chains=2)
X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
FUNCTIONS = {
    "encode": lambda m, g, x: encode(g, x)["z"],
    "reconstruct": reconstruct,
    "generate": lambda m, g, x: generate(m, 3, x),
    "log_weights": lambda m, g, x: log_weights(m, g, x, K),
    "log_marginal": lambda m, g, x: log_marginal(m, g, x, num_samples=K).log_prob,
    "annealed": lambda m, g, x: log_marginal(m, g, x, short).log_prob,
    "within": lambda m, g, x: log_marginal(m, g, x, Adaptive(5.0, max_evaluations=500)).log_prob,
    "cross_check": lambda m, g, x: (
        cross_check(m, g, x, log_marginal(m, g, x, num_samples=K), 2, num_temperatures=3).log_prob
    ),
    "sandwich": lambda m, g, x: sandwich(m, g, x, short, num_simulated=3).upper,
    "refine": lambda m, g, x: refine(m, g, x, 2, 4).refined_elbo,
    "rate_distortion": lambda m, g, x: rate_distortion(m, g, x, 4).rate,
    "diagnose": lambda m, g, x: (
        diagnose(m, g, x, log_marginal(m, g, x, num_samples=K), refinement_steps=2).rate_distortion.rate
    ),
    "anomaly_scores": lambda m, g, x: anomaly_scores(m, g, x, 4, refinement_steps=2)["reconstruction error"],
}


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return VAE(StandardNormal(D), Gaussian((4,), D), DiagonalNormal((4,), D))


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_data_may_be_of_any_kind(vae, name):
    """Of every kind for some functions; for the others of two, for all convert alike."""

    def of(x):
        torch.manual_seed(1)
        return FUNCTIONS[name](vae.model, vae.guide, x)

    expected = of(X)
    kinds = [pd.DataFrame(X.double().numpy()), Rows(X)]
    if name in ("encode", "generate", "log_marginal"):
        kinds += [X.double(), X.numpy(), X.double().numpy(), X.numpy().astype(">f4"), X.tolist(), TensorDataset(X)]
    for x in kinds:
        found = of(x)
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


class Endless(IterableDataset):
    """A data set without a length."""

    def __iter__(self):
        return iter(X)


class Rows(Dataset):
    """Items as many data sets have them: arrays, with labels that the program does not take."""

    def __init__(self, x):
        self.x = x.numpy()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], i % 3


def test_integers_are_converted_with_a_word_unless_the_program_takes_them(capsys):
    fresh = VAE(StandardNormal(D), Bernoulli((4,), D), DiagonalNormal((4,), D))
    for x in ([[0, 1, 1, 0]] * 3, np.ones((3, 4), np.int64), torch.ones(3, 4, dtype=torch.int32)):
        floats = torch.as_tensor(np.asarray(x)).float()
        assert torch.equal(encode(fresh.guide, x)["z"], encode(fresh.guide, floats)["z"])
    told = capsys.readouterr().err
    assert told.count("x holds integers (int64), and is converted to float32") == 1  # once
    assert "converted" not in (encode(fresh.guide, np.ones((3, 4), bool)), capsys.readouterr().err)[1]
    assert "converted" not in (encode(fresh.guide, np.ones((3, 4))), capsys.readouterr().err)[1]
    embedding = torch.nn.Embedding(5, 2)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(embedding(x), 1.0).to_event(2))

    assert encode(guide, [[0, 4]])["z"].shape == (1, 2, 2)
    assert "converted" not in capsys.readouterr().err


@pytest.mark.slow
def test_whatever_holds_numbers_can_be_trained_on(capsys):
    x, y = torch.rand(40, 4).round(), torch.arange(40) % 2
    runs = []
    for data in (DataSet(x), x, x.numpy(), x.double().numpy(), pd.DataFrame(x.numpy()), x.tolist(), Rows(x)):
        torch.manual_seed(0)
        program = VAE(StandardNormal(D), Bernoulli((4,), D), DiagonalNormal((4,), D))
        runs.append(fit(program.model, program.guide, data, epochs=1, compile="off", progress=False))
    assert len({history.best_value for history in runs}) == 1
    assert capsys.readouterr().err.count("the data are split: DataSet(train=32, validation=4, test=4") == 6
    program = ConditionalVAE((4,), D, num_classes=2)
    for data in ((x, y), (x.numpy(), y.tolist()), TensorDataset(x, y)):
        fit(program.model, program.guide, data, epochs=1, compile="off", progress=False)
    with pytest.raises(InputError, match=r"data must be a DataSet, a tensor, .* but a str was given"):
        fit(program.model, program.guide, "digits")


def test_functions_of_codes_take_arrays_and_lists():
    z, y = torch.randn(40, 2), torch.arange(40) % 2
    assert linear_probe(z.numpy(), y.tolist(), z.numpy(), y.numpy()) == linear_probe(z, y, z, y)
    assert coverage(z.numpy(), z.tolist()) == 1.0
    assert separation([0.0, 1.0], np.array([2.0, 3.0])).auroc == 1.0
    assert torch.equal(
        linear_path([0.0, 2.0], [1.0, 0.0], 3).float(), linear_path(*torch.tensor([[0.0, 2.0], [1.0, 0]]), 3)
    )
    assert torch.equal(class_direction(z.numpy(), y.numpy(), 1), class_direction(z, y, 1))
    assert pareto_k(z.double().numpy()).shape == convergence(z.numpy()).bound.shape[1:]


def test_data_are_generated_without_an_example_where_the_program_tells_their_shape(vae):
    torch.manual_seed(0)
    expected = generate(vae.model, 5, X[:1])
    torch.manual_seed(0)
    assert torch.equal(generate(vae.model, 5), expected)
    assert simulate(vae.model, 3)[1][0].shape == (3, 4)
    assert generate(copy.deepcopy(vae).double().model, 2).dtype == torch.float64
    with pytest.raises(InputError, match=r"like must be \(x, y\) for a model that takes labels"):
        generate(ConditionalVAE((4,), D, num_classes=2).model, 5)
    with pytest.raises(InputError, match="like must be given for a model that does not tell the shape"):
        generate(lambda x: None, 5)


def test_labels_and_codes_may_be_arrays():
    program = ConditionalVAE((1, 8, 8), D, num_classes=10)
    data = Digits()
    x, y = data.test[:5], data.test.labels[:5]
    torch.manual_seed(1)
    expected = log_marginal(program.model, program.guide, (x, y), num_samples=K).log_prob
    for labels in (y.numpy().astype(np.int32), pd.Series(y.numpy())):
        torch.manual_seed(1)
        assert torch.equal(
            log_marginal(program.model, program.guide, (x.numpy(), labels), num_samples=K).log_prob, expected
        )
    z = {"z": torch.zeros(5, D)}
    expected = decode(program.model, z, (1, 8, 8), y)
    assert torch.equal(decode(program.model, {"z": np.zeros((5, D))}, (1, 8, 8), y.numpy()), expected)
    frame = pd.DataFrame(X.repeat(10, 1).numpy())
    made = DataSet(frame, pd.Series(range(60)))
    assert torch.equal(made.train.stored, DataSet(X.repeat(10, 1)).train.stored)
    assert made.train.labels.max() > 50


def test_what_is_no_data_is_one_sentence(vae):
    words = pd.DataFrame({"a": ["b", "c"]})
    with pytest.raises(InputError, match="x must hold numbers, but a DataFrame of type"):
        log_marginal(vae.model, vae.guide, words)
    with pytest.raises(InputError, match="x must be a list of lists that have one length"):
        log_marginal(vae.model, vae.guide, [[0.0, 1.0], [1.0]])
    with pytest.raises(InputError, match="x must be a data set with a length"):
        log_marginal(vae.model, vae.guide, Endless())
    with pytest.raises(InputError, match=r"cannot be run on data of shape \(4,\) and type uint8: mat1 and mat2"):
        log_marginal(vae.model, vae.guide, torch.ones(3, 4, dtype=torch.uint8))


@pytest.mark.slow
def test_results_show_themselves_in_a_line(vae):
    torch.manual_seed(0)
    m, g = vae.model, vae.guide
    marginal = log_marginal(m, g, X, num_samples=K)
    diagnosis = diagnose(m, g, X, marginal, refinement_steps=2)
    adaptive = log_marginal(m, g, X, Adaptive(5.0, max_evaluations=500))
    pair = {"a": marginal, "<b>": log_marginal(m, g, X, num_samples=K)}
    results = [
        *(marginal, marginal.convergence, log_marginal(m, g, X, short).paths),
        *(diagnosis, diagnosis.rate_distortion, diagnosis.refinement, adaptive, adaptive.adaptive),
        *(
            cross_check(m, g, X, marginal, 2, num_temperatures=3),
            sandwich(m, g, X, short, num_simulated=3),
        ),
        *(compare(pair), Digits().train),
    ]
    for result in results:
        assert repr(result).startswith(f"{type(result).__name__}(")
        assert 30 < len(repr(result)) < 400
        assert "tensor" not in repr(result)
    for result in (marginal, adaptive, diagnosis, replace(diagnosis, refinement=None), compare(pair)):
        shown = ElementTree.fromstring(result._repr_html_())
        assert shown.find(".//strong").text
        assert shown.find("svg") is not None
    assert marginal.verdict in "".join(ElementTree.fromstring(marginal._repr_html_()).itertext())
    assert f"LogMarginal(nll={marginal.nll:.5g}, standard_error=" in repr(marginal)
    assert "num_data=6, num_samples=30, method='importance')" in repr(marginal)
    assert f"elbo={diagnosis.figures['elbo'].value:.5g}" in repr(diagnosis)


def test_tables_hold_the_figures(vae):
    torch.manual_seed(0)
    marginal = log_marginal(vae.model, vae.guide, X, num_samples=K)
    diagnosis = diagnose(vae.model, vae.guide, X, marginal, refinement_steps=2)
    table = diagnosis.to_dataframe()
    assert table["mean"].to_dict() == {name: diagnosis.figures[name].value for name in table.index}
    assert table["mean"]["elbo"] == pytest.approx(-table["mean"]["distortion"] - table["mean"]["rate"])
    compared = compare({"a": marginal, "b": marginal}).to_dataframe()
    assert compared.nll.to_dict() == {"a": marginal.nll, "b": marginal.nll}


def test_a_notebook_shows_figures_without_pyplot():
    """It asks for this method where it knows nothing else of a figure."""
    picture = Image.open(io.BytesIO(figures.samples(torch.rand(4, 1, 8, 8))._repr_png_()))
    assert (picture.format, picture.width > 300) == ("PNG", True)
    assert figures.samples(np.random.default_rng(0).random((4, 8, 8))).axes[0].images[0].get_array().max() <= 1
