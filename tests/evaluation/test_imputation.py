"""Imputed values have the conditional mean and spread of a linear-Gaussian model, and keep the observed values."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from linear_gaussian import GappyLinearGaussian, LinearGaussian

from pyrovae import VAE, Annealed, Categorical, DiagonalNormal, Importance, InputError, StandardNormal, decode, impute


@pytest.mark.parametrize("estimator", [Importance(1000), Annealed(20, num_chains=64)], ids=lambda e: e.method)
def test_moments_are_the_exact_ones(estimator):
    oracle, program = GappyLinearGaussian(2, 5, scale=0.7), LinearGaussian(2, 5, scale=0.7)
    x = oracle.simulate_gaps(12)
    found = impute(program.model, program.guide, x, estimator, num_draws=1000, num_imputations=1000, progress=False)
    mean, deviation = oracle.conditional(x)
    gaps = x.isnan()
    assert torch.equal(found.missing, gaps)
    for values in (found.mean, found.imputations.mean(0)):
        assert torch.equal(values[~gaps], x[~gaps]) or torch.allclose(values[~gaps], x[~gaps])
        assert ((values - mean)[gaps] / deviation[gaps]).abs().max() < 0.35
        assert ((values - mean)[gaps] / deviation[gaps]).mean().abs() < 0.03
    for values in (found.standard_deviation, found.imputations.std(0)):
        assert (values[gaps] / deviation[gaps] - 1).abs().max() < 0.3
        assert (values[gaps] / deviation[gaps]).mean().item() == pytest.approx(1, abs=0.05)
    assert bool((found.standard_deviation[~gaps] == 0).all())


def test_draws_of_several_cells_have_their_covariance():
    oracle = GappyLinearGaussian(1, 3, scale=0.3, coupling=1.0)
    x = torch.full((1, 3), torch.nan, dtype=torch.float64)  # nothing is observed: the prior predictive
    draws = impute(
        oracle.model, oracle.guide, x, num_samples=4000, num_draws=4000, num_imputations=4000, progress=False
    ).imputations[:, 0]
    whole = oracle.W @ oracle.W.T + oracle.scale**2 * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(draws.T.cov(), whole, atol=0.15 * whole.max().item(), rtol=0)


def test_result_as_a_table_and_in_words():
    oracle = GappyLinearGaussian(2, 5, scale=0.7)
    x = oracle.simulate_gaps(6)
    x[0] = 1.0
    found = impute(oracle.model, oracle.guide, x, num_samples=50, num_imputations=2, num_draws=20, progress=False)
    table = found.to_dataframe()
    assert list(table.columns) == [
        *("datum", "cell", "mean", "standard_deviation", "draw_0", "draw_1", "pareto_k", "reliable")
    ]
    assert len(table) == int(x.isnan().sum())
    first = table.iloc[0]
    assert found.mean[int(first["datum"]), int(first["cell"])].item() == first["mean"]
    assert f"num_missing={len(table)}" in repr(found)
    assert f"Imputation of {len(table)} missing values in 6 data" in found._repr_html_()
    assert bool(found.reliable[0])


def test_classes_get_the_most_probable_one_and_levels_their_mean():
    probs = torch.tensor([0.1, 0.2, 0.7])

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("real", dist.Normal(z, 1.0), obs=x[:, 0])
            pyro.sample("class", dist.Categorical(probs), obs=x[:, 1])

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, 0] / 2, 1.0))

    x = torch.tensor([[1.0, 2.0], [torch.nan, 0.0], [0.0, torch.nan]])
    found = impute(model, guide, x, num_samples=200, progress=False)
    assert found.mean[2].tolist() == [0.0, 2.0]
    assert bool(found.standard_deviation[2, 1].isnan())
    assert set(found.imputations[:, 2, 1].tolist()) <= {0.0, 1.0, 2.0}
    torch.testing.assert_close(found.mean[1, 0], torch.tensor(0.0), atol=0.3, rtol=0)
    likelihood = Categorical((3,), 2, levels=5)
    vae = VAE(StandardNormal(2), likelihood, DiagonalNormal((3,), 2))
    z = torch.zeros(1, 2)
    expected = likelihood(z).base_dist.probs @ torch.linspace(0, 1, 5)
    torch.testing.assert_close(decode(vae.model, {"z": z}, (3,)), expected)
    x = torch.tensor([[0.25, torch.nan, 1.0]])
    found = impute(vae.model, vae.guide, x, num_samples=200, progress=False)
    assert 0 < found.mean[0, 1] < 1
    assert bool((found.imputations[:, 0, 1] * 4 % 1 == 0).all())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_imputations": 300}, "num_draws must be at least num_imputations, 300, but 200"),
        ({"num_draws": 0}, "num_draws must be an integer of at least 1"),
        ({"x": torch.ones(2, 5, dtype=torch.long)}, "x must be floats, with NaN"),
    ],
)
def test_bad_options_get_a_sentence(options, sentence):
    program = GappyLinearGaussian(2, 5)
    x = options.pop("x", program.simulate_gaps(2))
    with pytest.raises(InputError, match=sentence):
        impute(program.model, program.guide, x, num_samples=10, progress=False, **options)
