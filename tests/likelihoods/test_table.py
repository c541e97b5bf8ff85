"""The density of a table's rows is that of its columns in their own units, whatever their scale and order."""

from functools import partial

import numpy as np
import pandas
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from torch import nn

from pyrovae import (
    MLP,
    VAE,
    Categorical,
    Column,
    DiagonalNormal,
    DiscretizedLogistic,
    FullCovarianceNormal,
    Gaussian,
    InputError,
    Laplace,
    LogNormal,
    NegativeBinomial,
    Ordinal,
    Poisson,
    Schema,
    StandardNormal,
    StudentT,
    TableEncoder,
    TableLikelihood,
    impute,
    log_marginal,
)
from pyrovae.distributions import ColumnGroup, Columnwise
from pyrovae.missing import draw_missing

SCHEMA = Schema(
    (
        Column("height", mean=1.7, std=0.1),
        Column("income", "positive", log_mean=10.0, log_std=0.5),
        Column("visits", "count"),
        Column("sex", "binary", ("female", "male")),
        Column("animal", "categorical", ("cat", "cow", "dog")),
        Column("mood", "ordinal", ("bad", "fair", "good", "best")),
        Column("error", mean=1e-6, std=1e-7),
        Column("pulse", mean=70.0, std=9.0),
        Column("calls", "count"),
    )
)
linear = partial(MLP, hidden_features=())


@pytest.fixture
def likelihood():
    torch.manual_seed(0)
    families = {"error": partial(StudentT, df=3.0, initial_scale=0.7), "pulse": Laplace, "calls": Poisson}
    return TableLikelihood((9,), 2, linear, families, schema=SCHEMA).double()


def of_scipy(likelihood, z, x):
    """Return the log-density of each cell by scipy, from the parameters of each column's own likelihood."""
    h = likelihood.network(z)
    cells = {}
    for group in likelihood.groups:
        own, raw = group.likelihood, group.likelihood.network(h).detach().numpy()
        for i, column in enumerate(group.members):
            name = type(own).__name__
            value, at = x[:, SCHEMA.names.index(column.name)], raw[:, i]
            scale = own.positive(own.raw_scale).detach().reshape(-1)[i].item() if hasattr(own, "raw_scale") else None
            if name in ("Gaussian", "Laplace", "StudentT"):
                kind = {"Gaussian": scipy.stats.norm, "Laplace": scipy.stats.laplace, "StudentT": scipy.stats.t(3.0)}
                units = {"loc": column.mean + column.std * at, "scale": column.std * scale}
                if name == "StudentT":
                    cells[column.name] = scipy.stats.t.logpdf(value, 3.0, **units)
                else:
                    cells[column.name] = kind[name].logpdf(value, **units)
            elif name == "LogNormal":
                cells[column.name] = scipy.stats.lognorm.logpdf(value, scale, scale=np.exp(column.log_mean + at))
            elif name == "Poisson":
                cells[column.name] = scipy.stats.poisson.logpmf(value, np.exp(at))
            elif name == "NegativeBinomial":
                theta = own.positive(own.raw_dispersion).detach().numpy()[i]
                cells[column.name] = scipy.stats.nbinom.logpmf(value, theta, theta / (theta + np.exp(at)))
            elif name == "Bernoulli":
                cells[column.name] = scipy.stats.bernoulli.logpmf(value, 1 / (1 + np.exp(-at)))
            elif name == "Categorical":
                cells[column.name] = np.log(scipy.special.softmax(raw, 1))[range(len(x)), value.astype(int)]
            else:
                ends = np.pad(own.thresholds.detach().numpy()[i], 1, constant_values=(-np.inf, np.inf))
                below = scipy.special.expit(ends - at[:, None])
                cells[column.name] = np.log(np.diff(below))[range(len(x)), value.astype(int)]
    return np.stack([cells[name] for name in SCHEMA.names], 1)


def test_log_density_is_that_of_each_column_in_its_own_units(likelihood):
    z = torch.randn(50, 2, dtype=torch.float64)
    fn = likelihood(z)
    x = fn.sample()
    likelihood.check(x)
    expected = of_scipy(likelihood, z, x.numpy())
    np.testing.assert_allclose(fn.base_dist.log_prob(x).detach(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(fn.log_prob(x).detach(), expected.sum(1), rtol=1e-5, atol=1e-5)


def test_masked_cells_are_left_out_of_the_density_and_of_gradients(likelihood):
    fn = likelihood(torch.randn(20, 2, dtype=torch.float64))
    x, mask = fn.sample(), torch.rand(20, 9) < 0.5
    filled = torch.where(mask, x, 0.0)  # outside the support of positive numbers
    masked = dist.Independent(fn.base_dist.mask(mask), 1).log_prob(filled)
    torch.testing.assert_close(masked, fn.base_dist.log_prob(x).masked_fill(~mask, 0.0).sum(1))
    masked.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in likelihood.parameters())


def test_masked_cells_leave_gradients_finite_where_a_density_has_a_pole():
    """As at 1, the upper end of the support."""
    concentration = torch.tensor([0.5, 3.0], requires_grad=True)
    fn = torch.distributions.Kumaraswamy(concentration[:1], concentration[1:], validate_args=False)
    group = ColumnGroup(torch.tensor([0]), fn, torch.zeros(1), torch.ones(1), is_density=True)
    masked = Columnwise([group], ()).mask(torch.tensor([False]))
    (gradient,) = torch.autograd.grad(masked.log_prob(torch.tensor([0.3])).sum(), concentration)
    assert (gradient == 0).all()


def test_moments_are_those_of_samples(likelihood):
    fn = likelihood(torch.zeros(1, 2, dtype=torch.float64)).base_dist
    torch.manual_seed(0)
    x = fn.sample((40_000,))[:, 0]
    std = fn.variance[0].sqrt()
    near = [i for i, column in enumerate(SCHEMA.columns) if column.kind != "categorical"]
    assert ((x.mean(0) - fn.mean[0]).abs() < 0.05 * std)[near].all()
    heavy = SCHEMA.names.index("error")  # the variance of a t distribution with 3 degrees of freedom converges slowly
    assert ((x.std(0) / std - 1).abs() < 0.1)[[i for i in range(9) if i != heavy]].all()
    assert fn.mean[0, 4] == x[:, 4].mode().values


def test_initialization_starts_at_the_marginals_of_the_columns():
    """With a network that is zero, the likelihood of the initialized columns is that of independent ones."""
    torch.manual_seed(0)
    likelihood = TableLikelihood((9,), 2, linear, schema=SCHEMA)
    x = likelihood(torch.randn(3000, 2)).sample()
    x[::7, 0] = torch.nan
    likelihood.initialize(x)
    for parameter in likelihood.network.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        fn = likelihood(torch.zeros(1, 2)).base_dist
    shares = fn.groups[[g.members[0].name for g in likelihood.groups].index("animal")].fn.probs[0, 0]
    counted = torch.tensor([(x[:, 4] == code).double().mean() for code in range(3)])
    torch.testing.assert_close(shares.double(), counted, atol=1e-3, rtol=0)
    assert fn.mean[0, 0].item() == pytest.approx(x[:, 0].nanmean().item(), abs=1e-3)
    assert fn.mean[0, 2].item() == pytest.approx(x[:, 2].mean().item(), rel=0.01)
    assert fn.mean[0, 5].item() == pytest.approx(x[:, 5].mean().item(), abs=0.01)


def linear_gaussian(schema):
    """Return a table's linear-Gaussian VAE with an exact guide, and log p(x) of rows in their own units."""
    torch.manual_seed(1)
    count, dims = len(schema), 2
    families = {name: partial(Gaussian, scale="fixed", initial_scale=0.6) for name in schema.names}
    likelihood = TableLikelihood((count,), dims, linear, families, features=4, schema=schema)
    encoder = partial(TableEncoder, network=linear, schema=schema)
    vae = VAE(StandardNormal(dims), likelihood, FullCovarianceNormal((count,), dims, encoder)).double()
    trunk = likelihood.network.layers[0]
    rows = [group.likelihood.network.layer for group in likelihood.groups]
    W = torch.cat([row.weight @ trunk.weight for row in rows])
    b = torch.cat([row.weight @ trunk.bias + row.bias for row in rows])
    S = torch.linalg.inv(torch.eye(dims, dtype=torch.float64) + W.T @ W / 0.6**2)
    L, layer = torch.linalg.cholesky(S), vae.posterior.network.network.layers[0]
    with torch.no_grad():  # the exact posterior, of standardised features
        layer.weight.zero_()
        layer.weight[:dims] = S @ W.T / 0.6**2
        layer.bias[:dims] = -S @ W.T @ b / 0.6**2
        layer.bias[dims : 2 * dims] = vae.posterior.positive.inverse(L.diagonal())
        layer.bias[-1] = L[1, 0]
    means = torch.tensor([column.mean for column in schema.columns], dtype=torch.float64)
    stds = torch.tensor([column.std for column in schema.columns], dtype=torch.float64)
    noise = 0.6**2 * torch.eye(count, dtype=torch.float64)
    covariance = stds[:, None] * (W @ W.T + noise) * stds
    return vae, dist.MultivariateNormal((means + stds * b).detach(), covariance.detach())


def test_log_marginal_of_a_linear_gaussian_table_is_exact_in_its_own_units():
    schema = Schema((Column("a", mean=1000.0, std=200.0), Column("b", mean=0.003, std=0.0005), Column("c")))
    vae, exact = linear_gaussian(schema)
    x = exact.sample((30,))
    found = log_marginal(vae.model, vae.guide, x, num_samples=3, progress=False)
    torch.testing.assert_close(found.log_prob, exact.log_prob(x), rtol=0, atol=1e-4)


def test_a_frame_with_reordered_columns_has_the_same_density():
    schema = Schema((Column("a", mean=10.0, std=2.0), Column("b", mean=0.3, std=0.5)))
    vae, exact = linear_gaussian(schema)
    frame = pandas.DataFrame(exact.sample((5,)).numpy(), columns=["a", "b"])
    found = []
    for given in (frame, frame[["b", "a"]], frame.assign(other="x")[["other", "b", "a"]]):
        torch.manual_seed(0)
        found.append(log_marginal(vae.model, vae.guide, given, num_samples=50, progress=False).log_prob)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    with pytest.raises(InputError, match="lacks 'b' and has 'c'"):
        log_marginal(vae.model, vae.guide, frame.rename(columns={"b": "c"}), num_samples=5, progress=False)


@pytest.mark.parametrize(
    ("families", "says"),
    [
        ({"weight": Gaussian}, "columns must be of the table, height, .* has 'weight'"),
        ({"animal": Gaussian}, "'animal' must be one of its 3 categories.* Gaussian was given"),
        ({"animal": NegativeBinomial}, "'animal' must be one of its 3 categories"),
        ({"animal": "DiscretizedLogistic"}, "'animal' must be one of its 3 categories"),  # they have no order
        ({"height": "NoSuch"}, "likelihood of column 'height' must be one of .*, but 'NoSuch'"),
        ({"visits": partial(Poisson, library="observed")}, "'visits' must have a distribution of each column"),
        ({"height": partial(Gaussian, network=linear)}, "'height' must be given without a network"),
        ({"height": MLP}, "'height' must be a class that makes a Likelihood"),
    ],
)
def test_families_that_do_not_fit_are_refused(families, says):
    with pytest.raises(InputError, match=says):
        TableLikelihood((9,), 2, linear, families, schema=SCHEMA)


def test_values_outside_a_support_are_named_with_their_column(likelihood):
    x = likelihood(torch.zeros(3, 2, dtype=torch.float64)).sample()
    x[1, 1] = -5.0
    with pytest.raises(InputError, match=r"column 'income' must lie in .* for LogNormal, but holds -5"):
        likelihood.check(x)


@pytest.mark.parametrize("family", [DiscretizedLogistic, Categorical, Ordinal])
def test_a_count_may_have_levels_which_are_its_integers(family):
    """Probabilities of all integers from 0 to 5 sum to 1, and samples are among them."""
    schema = Schema((Column("visits", "count"),))
    chosen = partial(family, levels=6)
    likelihood = TableLikelihood((1,), 2, linear, {"visits": chosen}, schema=schema)
    counts = torch.arange(6.0)[:, None]
    likelihood.initialize(counts.repeat(5, 1))
    fn = likelihood(torch.zeros(1, 2))
    assert fn.log_prob(counts).exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert set(fn.sample((200,)).flatten().tolist()) <= set(range(6))
    assert 0 < fn.mean.item() < 5
    with pytest.raises(InputError, match=r"'visits' must hold integers from 0 to 5, .* but holds 6"):
        likelihood.check(counts + 1)


def test_a_density_of_counts_is_said_to_have_no_bound():
    schema = Schema((Column("visits", "count"), Column("income", "positive")))
    assert TableLikelihood((2,), 2, linear, schema=schema).caveat("table") is None
    assert "'visits' holds integers" in TableLikelihood((2,), 2, linear, {"visits": LogNormal}, schema=schema).caveat(
        "table"
    )


def test_a_missing_category_is_imputed_by_its_probability_given_the_others():
    """Means of codes have no meaning: the most probable category of the mixture over z is imputed."""
    torch.manual_seed(0)
    likelihood = TableLikelihood((9,), 2, linear, schema=SCHEMA)
    vae = VAE(StandardNormal(2), likelihood, FullCovarianceNormal((9,), 2, partial(TableEncoder, schema=SCHEMA)))
    x = likelihood(torch.randn(6, 2)).sample()
    x[:, 4:6], x[0, 0] = torch.nan, torch.nan
    found = impute(vae.model, vae.guide, x, num_samples=200, num_draws=300, num_imputations=300, progress=False)
    codes = found.imputations[:, :, 4]
    counted = torch.stack([(codes == code).double().mean(0) for code in range(3)])
    ahead = counted.sort(0).values.diff(dim=0)[-1] > 0.15  # of 300 draws
    assert (found.mean[ahead, 4] == counted.argmax(0)[ahead]).all()
    assert found.standard_deviation[:, 4].isnan().all()
    assert (found.mean[:, 5] - found.imputations[:, :, 5].mean(0)).abs().max() < 0.25
    assert found.standard_deviation[0, 0] > 0
    assert torch.equal(found.mean[1:, 0].to(x), x[1:, 0])
    table = found.to_dataframe()
    assert list(table.columns[:3]) == ["datum", "column", "mean"]
    assert list(table["column"][:3]) == [SCHEMA.names[i] for i in (0, 4, 5)]
    assert f">{SCHEMA.names[4]}</td>" in found._repr_html_()


@pytest.mark.parametrize("family", ["DiscretizedLogistic", "Ordinal", "Categorical", "ContinuousBernoulli"])
def test_numbers_between_0_and_1_stay_there(family):
    torch.manual_seed(0)
    x = torch.randint(0, 256, (200, 2)) / 255
    x[0, 0] = torch.nan
    vae = VAE(
        StandardNormal(2),
        TableLikelihood((2,), 2, linear, {"x0": family, "x1": family}),
        DiagonalNormal((2,), 2, linear),
    )
    vae.initialize(draw_missing(x))
    drawn = vae.likelihood(torch.zeros(500, 2)).sample()
    assert bool(((drawn > 0) & (drawn < 1)).any(0).all())  # rather than rounded to integers
    found = impute(vae.model, vae.guide, x[:3], num_samples=50, progress=False)
    assert 0.1 < found.standard_deviation[0, 0] < 0.5
    assert bool(((found.mean >= 0) & (found.mean <= 1)).all())
