"""What is reported of each column is exact where the program is: ranks are uniform, and columns sum to the ELBO."""

from functools import partial

import pyro.distributions as dist
import pytest
import scipy.stats
import torch

from pyrovae import (
    MLP,
    VAE,
    Column,
    DiagonalNormal,
    FullCovarianceNormal,
    Gaussian,
    InputError,
    Schema,
    StandardNormal,
    TableEncoder,
    TableLikelihood,
    log_marginal,
)
from pyrovae.evaluation import report_columns, table_baseline
from pyrovae.figures import column_report, marginals, pairs, worst_rows

linear = partial(MLP, hidden_features=())
SCHEMA = Schema((Column("a", mean=100.0, std=20.0), Column("b", "binary", ("no", "yes")), Column("c", "count")))


def exact_vae():
    """A table of one real column and one latent, whose posterior is exact: u = w z + e with e of scale 0.6."""
    torch.manual_seed(0)
    schema = Schema((Column("a", mean=100.0, std=20.0),))
    families = {"a": partial(Gaussian, scale="fixed", initial_scale=0.6)}
    encoder = partial(TableEncoder, network=linear, schema=schema)
    vae = VAE(
        StandardNormal(1),
        TableLikelihood((1,), 1, linear, families, features=1, schema=schema),
        FullCovarianceNormal((1,), 1, encoder),
    ).double()
    decoder, head = vae.likelihood.network.layers[0], vae.likelihood.groups[0].likelihood.network.layer
    layer, variance = vae.posterior.network.network.layers[0], 1 / (1 + 1 / 0.6**2)
    with torch.no_grad():
        for part, weight in ((decoder, 1.0), (head, 1.0)):
            part.weight.fill_(weight)
            part.bias.zero_()
        layer.weight.copy_(torch.tensor([[variance / 0.6**2], [0.0]]))
        layer.bias.copy_(torch.stack((torch.zeros(()), vae.posterior.positive.inverse(torch.tensor(variance) ** 0.5))))
    return vae, dist.Normal(100.0, 20.0 * (1 + 0.6**2) ** 0.5)


def test_ranks_are_uniform_and_columns_sum_to_log_p_of_an_exact_program():
    vae, exact = exact_vae()
    x = exact.sample((800, 1)).double()
    x[5] = torch.nan
    x[6] = 400.0
    found = report_columns(vae.model, vae.guide, x, num_draws=2)
    known = torch.arange(800) != 5
    assert scipy.stats.kstest(found.rank[known, 0], "uniform").pvalue > 1e-4
    torch.testing.assert_close(found.elbo[known], exact.log_prob(x[known, 0]), rtol=0, atol=1e-4)  # at every draw
    assert found.log_prob[5].isnan().all()
    worst = found.worst_rows(1).iloc[0]
    assert (worst["row"], worst["column"], worst["value"]) == (6, "a", 400.0)
    table = found.to_dataframe().iloc[0]
    assert table["inside_50"] == pytest.approx(0.5, abs=0.08)
    assert table["inside_90"] == pytest.approx(0.9, abs=0.05)
    assert table["missing"] == pytest.approx(1 / 800)


def table_vae():
    torch.manual_seed(0)
    likelihood = TableLikelihood((3,), 2, linear, schema=SCHEMA)
    vae = VAE(StandardNormal(2), likelihood, DiagonalNormal((3,), 2, partial(TableEncoder, schema=SCHEMA)))
    return vae, likelihood(torch.randn(60, 2)).sample()


def test_columns_sum_to_the_elbo_of_mixed_kinds():
    vae, x = table_vae()
    x[::5, 0] = torch.nan
    found = report_columns(vae.model, vae.guide, x, num_draws=60)
    reference = log_marginal(vae.model, vae.guide, x, num_samples=500, progress=False).elbo
    assert found.elbo.mean().item() == pytest.approx(reference.mean().item(), abs=0.15)


def test_the_figures_of_a_table_are_drawn():
    vae, x = table_vae()
    frame = SCHEMA.to_frame(x)
    report = report_columns(vae.model, vae.guide, x, num_draws=2)
    titles = [axes.get_title() for axes in marginals(frame, frame).axes if axes.get_title()]
    assert titles == ["a", "b", "c"]
    assert len(pairs(frame, frame).axes) == 4
    assert [text.get_text() for text in column_report(report).axes[0].get_yticklabels()] != []
    written = [text.get_text() for text in worst_rows(report, 3).axes[0].texts]
    assert len(written) == 9
    assert set(written) & {"no", "yes"}


def test_a_program_of_other_data_has_no_columns():
    vae = VAE(StandardNormal(2), Gaussian((3,), 2, linear), DiagonalNormal((3,), 2, linear))
    with pytest.raises(InputError, match="model must have a TableLikelihood"):
        report_columns(vae.model, vae.guide, torch.zeros(4, 3))


def test_the_baseline_is_that_of_independent_columns_in_their_units():
    rows = torch.stack(
        (100 + 20 * torch.randn(500), torch.rand(500).round(), torch.poisson(torch.full((500,), 4.0))), 1
    )
    x = rows[:50].clone()
    x[3, 0] = torch.nan
    found = table_baseline(SCHEMA, rows, x)
    a, b, c = rows.double().T
    first = scipy.stats.norm(a.mean(), a.std()).logpdf(x[:, 0])
    first[3] = 0.0
    share = (b.sum() + 0.5) / 501
    second = scipy.stats.bernoulli(share).logpmf(x[:, 1])
    third = scipy.stats.poisson(c.mean()).logpmf(x[:, 2])
    assert found.nll == pytest.approx(-(first + second + third).mean(), abs=0.02)
