"""Use in notebooks: arrays, data frames and float64 tensors as data; short results; figures that show."""

import io
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pyrovae import VAE, ConditionalVAE, DataSet, DiagonalNormal, Digits, Gaussian, InputError, StandardNormal, figures
from pyrovae.evaluation import (
    Adaptive,
    Annealed,
    anomaly_scores,
    compare,
    cross_check,
    diagnose,
    log_marginal,
    log_weights,
    rate_distortion,
    refine,
    sandwich,
)
from pyrovae.prediction import decode, encode, generate, reconstruct

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
    def of(x):
        torch.manual_seed(1)
        return FUNCTIONS[name](vae.model, vae.guide, x)

    expected = of(X)
    for x in (X.double(), X.numpy(), X.double().numpy(), X.numpy().astype(">f4"), pd.DataFrame(X.numpy())):
        found = of(x)
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


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
    assert torch.equal(made.train.images, DataSet(X.repeat(10, 1)).train.images)
    assert made.train.labels.max() > 50


def test_what_is_no_data_is_one_sentence(vae):
    words = pd.DataFrame({"a": ["b", "c"]})
    with pytest.raises(InputError, match="x must hold numbers, but a DataFrame of type"):
        log_marginal(vae.model, vae.guide, words)
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
