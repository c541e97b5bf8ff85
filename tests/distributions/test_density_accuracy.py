"""Log-densities in float32 against exact ones, by mpmath, of the very same float32 parameters, over the whole range.

What an evaluation reports as its error is that of Monte Carlo: rounding must be below it, wherever the parameters are.
"""

import math
from functools import partial
from itertools import product

import mpmath as mp
import pyro.distributions as dist
import pytest
import torch
from contracts import cases as conditionals
from contracts import distribution
from torch import nn
from torch.distributions.transforms import AffineTransform

from pyrovae import distributions
from pyrovae.compilation.graph_capture import Recording
from pyrovae.distributions import (
    Columnwise,
    GivenTotal,
    InflatedCounts,
    LinearBernoulli,
    LogNormal,
    LowRankMultivariateNormal,
    MultivariateNormal,
    NegativeBinomialCounts,
    NormalMixture,
    OptimalNormal,
    PoissonCounts,
    Pushforward,
    QuantizedCategorical,
    QuantizedLogistic,
    QuantizedLogisticMixture,
    StudentT,
    UniformSphere,
    UnitBernoulli,
    VonMisesFisher,
    log_gamma,
)

EPS = torch.finfo(torch.float32).eps
CASES = {}


def case(make=None, **options):
    """Register a function that returns a distribution, values, and the exact log-density of each value.

    With an option, once for each of its values.
    """
    if make is None:
        return partial(case, **options)
    name = make.__name__.replace("_", "-")
    ((option, values),) = options.items() or [(None, [None])]
    CASES.update(
        {
            name if value is None else f"{name}-{value:g}": partial(make, **({option: value} if option else {}))
            for value in values
        }
    )
    return make


def grid(*axes):
    """Return all combinations of numbers, as float32 columns."""
    return [torch.tensor(column, dtype=torch.float32) for column in zip(*product(*axes), strict=True)]


def exact(tensor):
    return [mp.mpf(number) for number in tensor.double().reshape(-1).tolist()]


def each(function, *tensors):
    """Apply a function of mpmath's numbers to each element of float32 tensors."""
    return [function(*numbers) for numbers in zip(*map(exact, torch.broadcast_tensors(*tensors)), strict=True)]


def log_sigmoid(x):
    return -mp.log1p(mp.exp(-x)) if x > 0 else x - mp.log1p(mp.exp(x))


def log_sum(terms):
    largest = max(terms)
    return largest + mp.log(mp.fsum(mp.exp(term - largest) for term in terms))


def normal(x, loc, scale):
    return -(((x - loc) / scale) ** 2) / 2 - mp.log(scale) - mp.log(2 * mp.pi) / 2


def poisson(x, eta):
    return x * eta - mp.exp(eta) - mp.loggamma(x + 1)


def negative_binomial(x, eta, theta):
    mean = mp.exp(eta)
    ways = mp.loggamma(x + theta) - mp.loggamma(theta) - mp.loggamma(x + 1)
    return ways - theta * mp.log1p(mean / theta) + x * mp.log(mean / (theta + mean))


def inflated(log_prob, x, gate):
    counted = log_prob + log_sigmoid(-gate)
    return log_sum([counted, log_sigmoid(gate)]) if x == 0 else counted


def quantized(k, loc, scale, levels):
    """Return the log-probability of the level k, of a logistic variable in units of one step."""
    steps = levels - 1
    above = 0 if k == steps else log_sigmoid((k + 0.5 - loc * steps) / (scale * steps))
    below = 0 if k == 0 else log_sigmoid((loc * steps - k + 0.5) / (scale * steps))
    width = 0 if k in (0, steps) else mp.log(-mp.expm1(-1 / (scale * steps)))
    return above + below + width


COUNTS = [0.0, 1.0, 2.0, 9.0, 1e3, 1e5, 1e6, 1e7]


def near(counts):
    """Return log rates around counts, and far from all of them."""
    means = [max(x, 0.3) + width * math.sqrt(max(x, 0.3)) for x in counts for width in (0.0, 1.0)]
    return [math.log(mean) for mean in means] + [-50.0, -3.0, 0.0, 20.0]


@case
def Poisson():
    x, eta = grid(COUNTS, near(COUNTS))
    return PoissonCounts(eta), x, each(poisson, x, eta)


@case
def NegativeBinomial():
    x, eta, theta = grid(COUNTS, [-50.0, 0.3, 7.0, math.log(1e6), 20.0], [1e-3, 0.5, 8.0, 1e3, 1e6, 1e8, 1e12])
    return NegativeBinomialCounts(eta, theta), x, each(negative_binomial, x, eta, theta)


@case
def zero_inflated_Poisson():
    x, eta, gate = grid([0.0, 3.0, 1e6], [-50.0, -10.0, 1.0, math.log(1e6)], [-100.0, -20.0, -1.0, 0.0, 15.0, 100.0])
    fn = InflatedCounts(PoissonCounts(eta), gate)
    return fn, x, each(lambda x, eta, gate: inflated(poisson(x, eta), x, gate), x, eta, gate)


@case
def zero_inflated_NegativeBinomial():
    x, eta, theta, gate = grid([0.0, 3.0, 1e6], [-10.0, 1.0, math.log(1e6)], [1e-3, 1.0, 1e8], [-100.0, 0.0, 100.0])
    fn = InflatedCounts(NegativeBinomialCounts(eta, theta), gate)
    return fn, x, each(lambda x, eta, theta, g: inflated(negative_binomial(x, eta, theta), x, g), x, eta, theta, gate)


def given_total(counts, log_prob):
    log_share = torch.randn(6, 50).log_softmax(-1)
    total = torch.tensor([[3.0], [1e3], [1e5], [1e6], [1e7], [5e7]])
    x = torch.poisson(log_share.exp() * total)
    expected = [
        mp.fsum(log_prob(n, mp.log(mp.fsum(row)) + share) for n, share in zip(row, exact(shares), strict=True))
        for row, shares in zip(map(exact, x), log_share, strict=True)
    ]
    return GivenTotal(log_share, torch.tensor(1e4), counts, 1), x, expected


@case
def Poisson_given_the_total():
    return given_total(PoissonCounts, poisson)


@case
def NegativeBinomial_given_the_total():
    counts = partial(NegativeBinomialCounts, dispersion=torch.tensor(1e6))
    return given_total(counts, lambda x, eta: negative_binomial(x, eta, mp.mpf(1e6)))


@case
def fifty_counts_of_a_million():
    x = torch.poisson(torch.full((20, 50), 1e6))
    eta = (torch.poisson(torch.full((20, 50), 1e6))).log()
    terms = each(poisson, x, eta)
    return PoissonCounts(eta).to_event(1), x, [mp.fsum(terms[i : i + 50]) for i in range(0, len(terms), 50)]


LOGITS = [0.0, 1e-6, 0.01, 0.49, 0.499, 0.501, 0.51, 1.0, 5.0, 17.0, 50.0, 100.0]
LOGITS += [-logit for logit in LOGITS[1:]]
GREYS = [0.0, 1e-6, 0.25, 0.5, 0.7, 1 - 2**-23, 1.0]


@case
def Bernoulli():
    x, logit = grid(GREYS, LOGITS)
    return UnitBernoulli(logits=logit), x, each(lambda x, logit: x * logit + log_sigmoid(-logit), x, logit)


@case
def ContinuousBernoulli():
    x, logit = grid(GREYS, [*LOGITS, -1e4, 1e4])
    return distributions.ContinuousBernoulli(logit), x, each(lambda x, logit: x * logit - log_slope(logit), x, logit)


def log_slope(logit):
    return mp.log(mp.expm1(logit) / logit) if logit else mp.mpf(0)


SCALES = [1e-12, 1e-6, 1e-3, 0.5, 1.0, 30.0, 1e6, 1e12]
WHITE = [0.0, 1e-4, 1.0, -7.0, 1e3, 1e6]


@case
def Gaussian():
    loc, scale, white = grid([0.0, 0.7, -1e3], SCALES, WHITE)
    x = loc + scale * white
    return dist.Normal(loc, scale), x, each(normal, x, loc, scale)


@case
def Gaussian_of_optimal_scale():
    loc = 1e3 * torch.rand(20)
    x = loc + 1e-3 * torch.randn(20)
    scale = mp.sqrt(mp.fsum(each(lambda x, m: (x - m) ** 2, x, loc)) / 20)
    return (OptimalNormal(loc, torch.ones(20), lambda _: None), x, each(partial(normal, scale=scale), x, loc))


@case
def Laplace():
    loc, scale, white = grid([0.0, 0.7, -1e3], SCALES, WHITE)
    x = loc + scale * white
    return dist.Laplace(loc, scale), x, each(lambda x, m, b: -abs(x - m) / b - mp.log(2 * b), x, loc, scale)


@case(df=[0.5, 1.0, 1.5, 5.0, 37.0, 1e3, 1999.0, 2001.0, 1e4, 1e6, 1e8])
def student_t(df):
    nu = mp.mpf(df)
    constant = mp.loggamma((nu + 1) / 2) - mp.loggamma(nu / 2) - mp.log(nu * mp.pi) / 2
    loc, scale, white = grid([0.0, 0.7, -1e3], [1e-6, 1e-3, 1.0, 1e6], WHITE)
    x = loc + scale * white

    def log_prob(x, m, s):
        return constant - mp.log(s) - (nu + 1) / 2 * mp.log1p(((x - m) / s) ** 2 / nu)

    return StudentT(df, loc, scale), x, each(log_prob, x, loc, scale)


@case
def log_normal():
    loc, scale, white = grid([0.0, 0.7, -20.0], [1e-4, 1e-2, 1.0, 3.0], WHITE)
    x = (loc.double() + scale.double() * white.double()).exp().float()

    def log_prob(x, m, s):
        return normal(mp.log(x), m, s) - mp.log(x)

    return LogNormal(loc, scale), x, each(log_prob, x, loc, scale)


@case
def an_image_under_student_t_that_is_nearly_normal():
    df, x, scale = mp.mpf(10**6), torch.randn(784), torch.tensor(0.5)
    constant = mp.loggamma((df + 1) / 2) - mp.loggamma(df / 2) - mp.log(df * mp.pi) / 2 - mp.log(0.5)
    terms = each(lambda x, s: constant - (df + 1) / 2 * mp.log1p((x / s) ** 2 / df), x, scale)
    return StudentT(1e6, torch.zeros(784), scale).to_event(1), x, [mp.fsum(terms)]


@case
def DiscretizedLogistic():
    k, loc, scale = grid(
        [0, 1, 76, 127, 128, 254, 255], [-50.0, -0.1, 0.0, 0.2991, 0.5, 1.0, 2.0], [1e-6, 1e-4, 0.1, 1e5]
    )
    return QuantizedLogistic(loc, scale), k / 255, each(partial(quantized, levels=256), k, loc, scale)


@case
def DiscretizedLogistic_at_the_borders():
    k = torch.arange(1.0, 255.0)
    loc = (k + 0.5) / 255 + 1e-5 * torch.randn(254)
    scale = torch.full((254,), 1e-4)
    return QuantizedLogistic(loc, scale), k / 255, each(partial(quantized, levels=256), k, loc, scale)


@case
def DiscretizedLogisticMixture():
    K, P, levels = 3, 40, 256
    logits, loc, slopes = 30 * torch.randn(P, K, 1), torch.rand(P, K, 3, 1), 0.5 * torch.randn(P, K, 3, 1)
    scale = torch.tensor([1e-4, 1e-2, 10.0]).reshape(K, 1, 1).expand(P, K, 3, 1)
    k = torch.randint(1, levels - 1, (P, 3, 1))
    # The narrow component is likely, and ends at the borders of these levels.
    logits[:, 0] += 1e3
    level, a = k / 255 - 0.5, slopes[:, 0]
    loc[:, 0] = (k + 0.5) / 255
    loc[:, 0, 1] -= a[:, 0] * level[:, 0]
    loc[:, 0, 2] -= a[:, 1] * level[:, 0] + a[:, 2] * level[:, 1]
    expected = []
    for p in range(P):
        weights, terms = exact(logits[p]), []
        n = exact(k[p])
        x = [number / (levels - 1) - mp.mpf(1) / 2 for number in n]
        for j in range(K):
            m, s, a = exact(loc[p, j]), exact(scale[p, j]), exact(slopes[p, j])
            locs = m[0], m[1] + a[0] * x[0], m[2] + a[1] * x[0] + a[2] * x[1]
            parts = [quantized(*of_channel, levels) for of_channel in zip(n, locs, s, strict=True)]
            terms.append(weights[j] + mp.fsum(parts))
        expected.append(log_sum(terms) - log_sum(weights))
    return QuantizedLogisticMixture(logits, loc, scale, slopes, (3, 1)), k / 255, expected


@case
def Categorical():
    logits = torch.cat([torch.randn(20, 17), 100 * torch.randn(20, 17), 1e3 + torch.randn(20, 17)])
    k = torch.randint(17, (60,))
    expected = [row[i] - log_sum(row) for row, i in zip(map(exact, logits), k.tolist(), strict=True)]
    return QuantizedCategorical(logits), k / 16, expected


def cholesky_normal(x, loc, factor):
    """Return the log-density of N(loc, L L^T)."""
    white = []
    for i, row in enumerate(factor):
        white.append((x[i] - loc[i] - mp.fsum(a * b for a, b in zip(row, white, strict=False))) / row[i])
    log_det = mp.fsum(mp.log(row[i]) for i, row in enumerate(factor))
    return -mp.fsum(w * w for w in white) / 2 - log_det - len(white) * mp.log(2 * mp.pi) / 2


@case
def FullCovarianceNormal():
    loc, factor, noise = torch.randn(10, 8), torch.randn(10, 8, 8).tril(-1), torch.randn(10, 8)
    diagonal = torch.ones(10, 8)
    diagonal[:, 5] = torch.logspace(-4, 1, 10)
    factor = factor + diagonal.diag_embed()
    x = loc + (factor @ noise[..., None])[..., 0]
    expected = [cholesky_normal(exact(x[i]), exact(loc[i]), [exact(row) for row in factor[i]]) for i in range(10)]
    return MultivariateNormal(loc, scale_tril=factor), x, expected


@case
def LowRankNormal():
    loc, factor, scale = torch.randn(6, 5), torch.randn(6, 5, 2), torch.logspace(-4, 1, 6)[:, None].expand(6, 5)
    x = loc + (factor @ torch.randn(6, 2, 1))[..., 0] + scale * torch.randn(6, 5)
    expected = []
    for i in range(6):
        w = mp.matrix([exact(row) for row in factor[i]])
        covariance = w * w.T + mp.diag([s * s for s in exact(scale[i])])
        root = mp.cholesky(covariance)
        expected.append(cholesky_normal(exact(x[i]), exact(loc[i]), root.tolist()))
    return LowRankMultivariateNormal(loc, factor, scale), x, expected


def mixed(x, logits, loc, scale):
    weights = exact(logits)
    terms = [weight + mp.fsum(each(normal, x, m, s)) for weight, m, s in zip(weights, loc, scale, strict=True)]
    return log_sum(terms) - log_sum(weights)


@case
def GaussianMixture():
    logits, loc = 50 * torch.randn(5), 3 * torch.randn(5, 4)
    scale = torch.logspace(-4, 2, 5)[:, None].expand(5, 4)
    x = torch.cat((loc + scale * torch.randn(5, 4), 100 * torch.randn(5, 4)))
    return NormalMixture(logits, loc, scale), x, [mixed(row, logits, loc, scale) for row in x]


@case
def MixturePosterior():
    logits, loc = 50 * torch.randn(6, 5), 3 * torch.randn(6, 5, 4)
    scale = torch.logspace(-8, 4, 5)[:, None].expand(6, 5, 4)
    x = loc[:, 0] + scale[:, 0] * torch.randn(6, 4)
    return NormalMixture(logits, loc, scale), x, [mixed(*row) for row in zip(x, logits, loc, scale, strict=True)]


@case
def VampPrior_of_full_covariances():
    loc = torch.randn(4, 3)
    factor = torch.randn(4, 3, 3).tril(-1) + 0.01 * torch.eye(3)
    x = loc + (factor @ torch.randn(4, 3, 1))[..., 0]
    parts = [(exact(m), [exact(row) for row in root]) for m, root in zip(loc, factor, strict=True)]
    expected = [log_sum([cholesky_normal(exact(row), *part) for part in parts]) - mp.log(4) for row in x]
    fn = dist.MixtureSameFamily(dist.Categorical(logits=torch.zeros(4)), MultivariateNormal(loc, scale_tril=factor))
    return fn, x, expected


@case
def Pushforward_of_a_normal():
    loc, scale, white = grid([0.0, -1e3], SCALES, WHITE[:-2])
    x = (loc + scale * white)[:, None]
    base = dist.Normal(torch.zeros(1), torch.ones(1)).to_event(1)
    fn = Pushforward(base, [AffineTransform(loc[:, None], scale[:, None], event_dim=1)])
    return fn, x, each(normal, x[:, 0], loc, scale)


@case(dim=[2, 3, 10, 50, 100])
def von_mises_fisher(dim):
    kappa = torch.logspace(-3, 5, 5)
    loc = nn.functional.normalize(torch.randn(5, dim), dim=-1)
    x = VonMisesFisher(loc, kappa).sample((2,))
    x[1] = nn.functional.normalize(torch.randn(5, dim), dim=-1)
    nu = mp.mpf(dim) / 2 - 1
    constants = [nu * mp.log(k) - (nu + 1) * mp.log(2 * mp.pi) - mp.log(mp.besseli(nu, k)) for k in exact(kappa)]
    expected = []
    for row, i in zip(x.reshape(10, dim), [*range(5)] * 2, strict=True):
        # Of directions: what float32 vectors are off the sphere by is no part of them.
        z, mean = exact(row), exact(loc[i])
        cosine = mp.fdot(z, mean) / mp.sqrt(mp.fdot(z, z) * mp.fdot(mean, mean))
        expected.append(exact(kappa)[i] * cosine + constants[i])
    return VonMisesFisher(loc, kappa), x, expected


@case
def uniform_on_the_sphere():
    x = nn.functional.normalize(torch.randn(2, 100), dim=-1)
    return UniformSphere(100), x, [mp.loggamma(50) - mp.log(2) - 50 * mp.log(mp.pi)] * 2


@case
def LinearBernoulli_of_sure_pixels():
    h = torch.randn(5, 1, 8)
    W, b = torch.cat((torch.randn(392, 8) / 8, torch.randn(392, 8))), torch.randn(784)
    x = (torch.rand(2, 784) < torch.sigmoid(nn.functional.linear(h[0], W, b))).float()
    return _linear(h, W, b, x)


@case
def LinearBernoulli_of_very_sure_pixels():
    h = torch.ones(6, 1, 1)
    W = torch.linspace(-100, 100, 784)[:, None]
    x = (W[:, 0] > 0).float().expand(2, -1).clone()
    return _linear(h, W, torch.zeros(784), x)


def _linear(h, W, b, x):
    H, rows, bias = [exact(row) for row in h], [exact(row) for row in W], exact(b)
    expected = []
    for features in H:
        logits = [mp.fdot(features, row) + c for row, c in zip(rows, bias, strict=True)]
        off = mp.fsum(log_sigmoid(-logit) for logit in logits)
        expected += [off + mp.fdot(datum, logits) for datum in map(exact, x)]
    return LinearBernoulli(h, W, b, (784,)), x, expected


@pytest.mark.parametrize("name", CASES)
def test_log_prob_is_exact_to_rounding(name):
    torch.manual_seed(0)
    with mp.workdps(50):
        fn, x, expected = CASES[name]()
        found = fn.log_prob(x)
        assert found.dtype == torch.float32
        pairs = list(zip(exact(found), expected, strict=True))
        errors = [float(abs(a - b) / (1 + abs(b))) / EPS for a, b in pairs]
        i = max(range(len(errors)), key=errors.__getitem__)
        assert max(errors) <= 8, f"{pairs[i][0]} is {mp.nstr(pairs[i][1], 12)}, {errors[i]:.1f} roundings off (at {i})"


def parts(fn):
    """Yield a distribution and those that it is made of."""
    yield fn
    for name in ("base_dist", "_component_distribution", "_mixture_distribution"):
        if name in vars(fn):
            yield from parts(vars(fn)[name])


def kinds(fn):
    return {type(part) for part in parts(fn)}


@pytest.mark.slow
def test_every_distribution_that_is_offered_is_compared():
    torch.manual_seed(0)
    with mp.workdps(15):
        compared = set().union(*(kinds(make()[0]) for make in CASES.values()))
    # Supports, other ways to say what is compared, and cells of tables, which tests/likelihoods/test_table.py compares
    others = ("Counts", "Levels", "FlattenedBatch", "to_pyro", "ColumnGroup", "ColumnSupport", "Columnwise")
    offered = {getattr(distributions, name) for name in distributions.__all__ if name not in others}
    for make, shape in (conditional.values for conditional in conditionals()):
        if shape in (None, (5,)):
            fn, _, _ = distribution(make(), shape, (2,))
            offered |= kinds(fn) - {Columnwise}
    assert offered <= compared | {dist.Delta}, offered - compared  # a point, which has no density


EXTREME = {
    "Poisson": (PoissonCounts, [[0.0, 3.0, 1e7], [-50.0, 0.0, 16.0, 50.0]]),
    "NegativeBinomial": (NegativeBinomialCounts, [[0.0, 3.0, 1e7], [-50.0, 0.0, 16.0, 50.0], [1e-3, 1.0, 1e8]]),
    "inflated": (lambda e, g: InflatedCounts(PoissonCounts(e), g), [[0.0, 3.0, 1e7], [-50.0, 0.0, 16.0], LOGITS]),
    "Bernoulli": (lambda logits: UnitBernoulli(logits=logits), [GREYS, LOGITS]),
    "ContinuousBernoulli": (distributions.ContinuousBernoulli, [GREYS, LOGITS]),
    "StudentT": (partial(StudentT, 1e6), [[0.0, 1.0, -1e3], [0.0, 0.7], [1e-3, 1.0, 1e6]]),
    "DiscretizedLogistic": (QuantizedLogistic, [[0.0, 0.2, 1.0], [-50.0, 0.2, 1.0, 2.0], [1e-4, 0.1, 1e5]]),
    "GaussianMixture": (
        lambda m, s: NormalMixture(
            torch.zeros(2).to(m), m[:, None, None] * torch.tensor([[1.0], [2.0]]), s[:, None, None].expand(-1, 2, 1)
        ),
        [[0.0, 1.0, -3.0], [0.0, 0.7], [0.5, 1.0, 1e6]],
    ),
}


@pytest.mark.parametrize("name", EXTREME)
def test_gradients_are_those_of_double_precision(name):
    make, axes = EXTREME[name]
    x, *parameters = grid(*axes)
    x = x.unsqueeze(-1) if name == "GaussianMixture" else x
    gradients = []
    for dtype in (torch.float32, torch.float64):
        leaves = [parameter.to(dtype).requires_grad_() for parameter in parameters]
        log_prob = make(*leaves).log_prob(x.to(dtype))
        gradients.append(torch.autograd.grad(log_prob.sum(), leaves))
    for found, expected in zip(*gradients, strict=True):
        assert found.isfinite().all()
        assert ((found - expected).abs() <= 1e-5 * (1 + expected.abs())).all()


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (log_gamma.log_factorial, [[0.0, 1.0, 3.5, 40.0, 1e5]]),
        (log_gamma.log_gamma_difference, [[1e-3, 0.7, 5.0, 1e6], [0.1, 1.0, 3.5, 1e5]]),
    ],
)
def test_log_gammas_are_differentiable_twice(function, arguments):
    arguments = [tensor.double().requires_grad_() for tensor in grid(*arguments)]
    assert torch.autograd.gradcheck(function, arguments, atol=1e-4, rtol=1e-4)
    assert torch.autograd.gradgradcheck(function, arguments, atol=1e-4, rtol=1e-4)


def test_log_gammas_are_exact_in_double_precision():
    z, x = (axis.double() for axis in grid([1e-4, 0.5, 1.0, 7.5, 1e3, 1e8, 1e15], [0.0, 1.0, 2.5, 30.0, 1e7]))
    with mp.workdps(50):
        for found, expected in (
            (log_gamma.log_factorial(x), each(lambda x: mp.loggamma(x + 1), x)),
            (log_gamma.log_gamma_difference(z, x), each(lambda z, x: mp.loggamma(z + x) - mp.loggamma(z), z, x)),
        ):
            assert max(abs(a - b) / (1 + abs(b)) for a, b in zip(exact(found), expected, strict=True)) < 1e-14
        for z in (0.25, 1.0, 999.0, 1001.0, 1e9):
            half_step = mp.loggamma(mp.mpf(z) + 0.5) - mp.loggamma(z) - mp.log(z) / 2
            assert abs(log_gamma.log_gamma_half_step(z) - half_step) < 2e-12


def test_a_recorded_step_has_the_same_gradients():
    x, eta = torch.poisson(torch.full((3, 4), 1e6)), torch.full((3, 4), 14.0, requires_grad=True)
    theta = torch.tensor([0.1, 1.0, 1e3, 1e7], requires_grad=True)

    def step(x):
        log_prob = NegativeBinomialCounts(eta, theta, validate_args=False).log_prob(x).sum()
        return log_prob, *torch.autograd.grad(log_prob, [eta, theta])

    recorded = Recording(step, (torch.zeros(3, 4),))
    for once, again in zip(step(x), recorded(x), strict=True):
        assert torch.equal(once, again)
