"""The model without latents: exact values, and the sentence that says when a model is no better."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from pyrovae import InputError
from pyrovae.evaluation import Baseline, independent_baseline

N = 400


def binary(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.bernoulli(torch.tensor([0.1, 0.5, 0.9, 0.0]).expand(count, 4), generator=generator)


def test_binary_features_are_bernoulli_with_one_datum_added():
    train, x = binary(N), binary(30, seed=1)
    found = independent_baseline(train, x, discrete=True, levels=2)
    p = (train.sum(0) + 0.5) / (N + 1)
    expected = torch.distributions.Bernoulli(p.double()).log_prob(x.double()).sum(1)
    torch.testing.assert_close(found.log_prob, expected, rtol=1e-6, atol=1e-6)
    assert found.family == "Bernoulli"
    assert found.nll == pytest.approx(-expected.mean().item())


def test_grey_levels_are_categorical_and_sum_to_one():
    train = (torch.rand(N, 2, generator=torch.Generator().manual_seed(0)) * 4).round() / 4
    levels = torch.arange(5.0) / 4
    every = torch.cartesian_prod(levels, levels)  # all images of two pixels
    found = independent_baseline(train, every, discrete=True, levels=5)
    assert found.log_prob.exp().sum().item() == pytest.approx(1.0)
    assert found.family == "categorical"


def test_counts_are_the_better_of_two_families():
    generator = np.random.default_rng(0)
    for name, draw, frozen in (
        ("Poisson", lambda n: generator.poisson(3.0, (n, 1)), stats.poisson(3.0)),
        ("negative binomial", lambda n: generator.negative_binomial(2, 0.25, (n, 1)), stats.nbinom(2, 0.25)),
    ):
        train, x = (torch.tensor(draw(n)).float() for n in (20_000, 500))
        found = independent_baseline(train, x, discrete=True, counts=True)
        assert found.nll == pytest.approx(-frozen.logpmf(x.numpy()).mean(), abs=0.01)
        if name == "negative binomial":
            assert found.family == name


def test_real_numbers_are_normal_unless_one_is_constant():
    train, x = torch.randn(N, 3) * torch.tensor([1.0, 2.0, 0.1]) + 5, torch.randn(20, 3)
    found = independent_baseline(train, x, discrete=False)
    expected = stats.norm(train.double().mean(0), train.double().std(0)).logpdf(x.double()).sum(1)
    np.testing.assert_allclose(found.log_prob, expected, rtol=1e-6)
    assert independent_baseline(torch.ones(N, 3), x, discrete=False) is None
    assert independent_baseline(train, x, discrete=True) is None


def test_it_is_said_when_a_model_is_no_better():
    baseline = Baseline(torch.full((100,), -27.0).double() + 0.1 * torch.randn(100).double(), "Bernoulli")
    noise = 0.1 * torch.randn(100).double()
    assert "no better than one without latents" in baseline.verdict(baseline.log_prob + noise - noise.mean())
    assert "NLL of 27.0" in baseline.verdict(baseline.log_prob)
    assert baseline.verdict(baseline.log_prob + noise + 1) is None
    gain, error = baseline.gain(baseline.log_prob + 1)
    assert gain == pytest.approx(1.0)
    assert error == pytest.approx(0.0, abs=1e-6)
    one = Baseline(torch.tensor([-27.0]), "Bernoulli")
    assert one.verdict(torch.tensor([-20.0])) is None
    assert one.verdict(torch.tensor([-30.0])) is None  # one datum tells nothing
    assert baseline.verdict(torch.where(torch.arange(100) == 3, -math.inf, baseline.log_prob)) is None
    assert math.isnan(one.gain(torch.tensor([-20.0]))[1])


def test_counts_that_hardly_vary_more_than_poisson_are_exact():
    """A negative binomial of a large total count is Poisson; naively it loses all digits."""
    train = torch.tensor(np.random.default_rng(1).poisson(1000.0, (2000, 1))).float()
    train = train - train.mean().round() + 1000
    found = independent_baseline(train, train, discrete=True, counts=True)
    mean = train.double().mean().item()
    assert found.nll == pytest.approx(-stats.poisson(mean).logpmf(train.numpy()).mean(), abs=0.02)


def test_parts_are_put_together(monkeypatch):
    train, x = binary(N), binary(30, seed=1)
    whole = independent_baseline(train, x, discrete=True, levels=2).log_prob
    monkeypatch.setattr("pyrovae.evaluation.baseline._VALUES", 4 * 7)  # seven data at a time
    torch.testing.assert_close(independent_baseline(train, x, discrete=True, levels=2).log_prob, whole)


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match=r"x must have the shape of the training data, \(4,\), but has \(3,\)"):
        independent_baseline(binary(5), torch.zeros(2, 3), discrete=True, levels=2)
