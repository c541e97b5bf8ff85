"""Bounds of many samples: they are what their formulas say of the log weights, tempered or subsampled, and exact."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from linear_gaussian import LinearGaussian

from pyrovae import CIWAE, IWAE, MIWAE, PIWAE, STL, DReG, InputError, Renyi, Trace_ELBO
from pyrovae.handlers import Temper
from pyrovae.programs import private_modules

K, B = 6, 4


@pytest.fixture(autouse=True)
def _surroundings():
    with private_modules():
        yield


@pytest.fixture
def pair():
    return LinearGaussian(3, 5, guide="mean_field", shift=0.5)


def log_weights(pair, x, num_particles=K, beta=1.0):
    """Weigh the samples that an objective draws after the same seed, by hand."""
    torch.manual_seed(7)
    mean = (x - pair.b) @ pair.W @ pair.covariance + pair.shift * pair.mean_field
    q = dist.Normal(mean, pair.mean_field).to_event(1)
    z = q.rsample((num_particles,))
    p = dist.Normal(torch.zeros(3, dtype=torch.float64), 1.0).to_event(1)
    reconstruction = dist.Normal(z @ pair.W.T + pair.b, pair.scale).to_event(1).log_prob(x)
    return reconstruction + beta * (p.log_prob(z) - q.log_prob(z))  # (K, B)


def bound(objective, model, guide, x):
    torch.manual_seed(7)
    return -objective.loss(model, guide, x)


def mean_of_exponentials(lw, dim=0):
    return lw.logsumexp(dim) - math.log(lw.shape[dim])


CASES = [
    (IWAE(K), lambda lw: mean_of_exponentials(lw)),
    (DReG(K), lambda lw: mean_of_exponentials(lw)),
    (STL(K), lambda lw: lw.mean(0)),
    (STL(K, weighted=True), lambda lw: mean_of_exponentials(lw)),
    (MIWAE(3, 2), lambda lw: mean_of_exponentials(lw.reshape(2, 3, -1), 1).mean(0)),
    (PIWAE(3, 2), lambda lw: mean_of_exponentials(lw)),
    (CIWAE(K, 0.25), lambda lw: 0.25 * lw.mean(0) + 0.75 * mean_of_exponentials(lw)),
    (Renyi(K, 0.0), lambda lw: mean_of_exponentials(lw)),
    (Renyi(K, 1.0), lambda lw: lw.mean(0)),
    (Renyi(K, 0.5), lambda lw: 2 * mean_of_exponentials(0.5 * lw)),
    (Renyi(K, -1.0), lambda lw: 0.5 * mean_of_exponentials(2 * lw)),
]


@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize(("objective", "formula"), CASES, ids=lambda case: type(case).__name__)
def test_the_bound_is_its_formula_of_the_log_weights(pair, objective, formula, beta):
    x = pair.simulate(B)
    temper = Temper(torch.tensor(beta, dtype=torch.float64))
    found = bound(objective, temper(pair.model), temper(pair.guide), x)
    assert found == pytest.approx(formula(log_weights(pair, x, beta=beta)).sum().item(), rel=1e-9)


class InAPlateOfForty(LinearGaussian):
    """The same pair, whose batch stands for ten times as many data."""

    def model(self, x):
        with pyro.plate("data", 10 * len(x), subsample=torch.arange(len(x))):
            z = pyro.sample("z", dist.Normal(torch.zeros(3, dtype=torch.float64), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.W.T + self.b, self.scale).to_event(1), obs=x)

    def guide(self, x):
        mean = (x - self.b) @ self.W @ self.covariance + self.shift * self.mean_field
        with pyro.plate("data", 10 * len(x), subsample=torch.arange(len(x))):
            pyro.sample("z", dist.Normal(mean, self.mean_field).to_event(1))


@pytest.mark.parametrize("kind", [IWAE, partial(Renyi, alpha=0.5), partial(MIWAE, num_bounds=2), DReG])
def test_a_subsampled_plate_scales_the_bound_and_not_the_weights(pair, kind):
    x, whole = pair.simulate(B), InAPlateOfForty(3, 5, guide="mean_field", shift=0.5)
    plain = bound(kind(num_particles=K), pair.model, pair.guide, x)
    assert bound(kind(num_particles=K), whole.model, whole.guide, x) == pytest.approx(10 * plain, rel=1e-9)


def test_pyros_own_bound_is_wrong_in_a_subsampled_plate(pair):
    """The reason why there is a class of our own."""
    x, whole = pair.simulate(B), InAPlateOfForty(3, 5, guide="mean_field", shift=0.5)
    pyros = pyro.infer.RenyiELBO(0.0, num_particles=K, vectorize_particles=True, max_plate_nesting=2)
    exact = 10 * bound(IWAE(K), pair.model, pair.guide, x)
    assert bound(pyros, pair.model, pair.guide, x) == pytest.approx(exact / 10, rel=1e-9)
    assert bound(pyros, whole.model, whole.guide, x) > exact + 1


@pytest.mark.parametrize("objective", [IWAE(K), DReG(K), STL(K), MIWAE(3, 2), PIWAE(3, 2), CIWAE(K), Renyi(K)])
def test_with_the_exact_posterior_every_bound_is_the_evidence(objective):
    pair = LinearGaussian(3, 5, guide="exact")
    x = pair.simulate(B)
    assert bound(objective, pair.model, pair.guide, x) == pytest.approx(pair.log_prob(x).sum().item(), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [IWAE, STL, DReG])
def test_one_run_or_many_draw_from_the_same_bound(pair, kind):
    x = pair.simulate(B).repeat(10, 1)
    torch.manual_seed(0)
    in_one = torch.tensor([kind(K).loss(pair.model, pair.guide, x) for _ in range(100)])
    apart = torch.tensor([kind(K, vectorize_particles=False).loss(pair.model, pair.guide, x) for _ in range(100)])
    error = math.hypot(in_one.std().item(), apart.std().item()) / math.sqrt(100)
    assert in_one.mean().item() == pytest.approx(apart.mean().item(), abs=4 * error)
    assert in_one.std().item() == pytest.approx(apart.std().item(), rel=0.3)


def test_more_samples_tighten_the_bound(pair):
    x = pair.simulate(200)
    values = [bound(IWAE(k), pair.model, pair.guide, x) for k in (1, 10, 500)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(bound(Trace_ELBO(), pair.model, pair.guide, x), rel=1e-9)
    assert values[-1] == pytest.approx(pair.log_prob(x).sum().item(), abs=0.03 * 200)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: IWAE(0), "num_particles must be an integer of at least 1, but 0 was given"),
        (lambda: MIWAE(5, 0), "num_bounds must be an integer of at least 1, but 0 was given"),
        (lambda: CIWAE(5, 1.5), "elbo_weight must be .* at most 1, but 1.5 was given"),
        (lambda: Renyi(5, math.nan), "alpha must be a finite number"),
    ],
)
def test_bad_options_get_one_sentence(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()


def test_an_objective_that_needs_reparametrised_samples_says_so():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.ones(2)))
            pyro.sample("x", dist.Normal(z.double(), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(torch.ones(2)))

    for kind in (IWAE, STL, DReG, MIWAE, PIWAE, CIWAE, Renyi):
        with pytest.raises(InputError, match="needs a guide whose samples are reparametrised, but those of site 'z'"):
            kind(2).loss(model, guide, torch.zeros(3, dtype=torch.float64))


def test_a_latent_that_the_guide_forgets_is_named(pair):
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("w", dist.Normal(0.0, 1.0))
            pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(0.0, 1.0).expand([5]).to_event(1), obs=x)

    def guide(x, names=("w",)):
        with pyro.plate("data", len(x)):
            for name in names:
                pyro.sample(name, dist.Normal(0.0, 1.0))

    cases = {"but does not sample 'z'": ("w",), "but samples 'v' too": ("w", "z", "v"), "but samples none": ()}
    for sentence, names in cases.items():
        with pyro.validation_enabled(False), pytest.raises(InputError, match=sentence):
            IWAE(2).loss(model, partial(guide, names=names), pair.simulate(2))
