"""A guide that cannot draw what the model can is refused; one that draws more has weights of zero there."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import AffineTransform
from torch.distributions.transforms import StickBreakingTransform

from pyrovae import Adaptive, Annealed, Importance, InputError, diagnose, log_marginal, log_weights, sandwich
from pyrovae.evaluation import rate_distortion, refine
from pyrovae.execution import evaluating
from pyrovae.execution.batched import BatchedPrograms


def programs(prior, guide, likelihood=lambda z: dist.Normal(0 * z, 1.0)):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior(x))
            pyro.sample("x", likelihood(z), obs=x[:, 0])

    def of_x(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", guide(x))

    return model, of_x


def uniform(low, high):
    return lambda x: dist.Uniform(torch.tensor(low), high)


def first(z):
    return dist.Normal(0 * z[..., 0], 1.0)


def cut(fn, *transforms):
    return lambda x: dist.TransformedDistribution(fn, list(transforms))


ZERO, TWO, FOUR = torch.zeros(()), torch.zeros(2), torch.zeros(4)
CUT_STICK = cut(dist.Uniform(TWO, 1.0).to_event(1), StickBreakingTransform())
LOST = {
    "half of an interval": (
        uniform(0.0, 1.0),
        uniform(0.0, 0.5),
        r"'z' it covers \[0, 0.5\] and the model's is \[0, 1\]",
    ),
    "an affine change": (uniform(0.0, 1.0), cut(dist.Beta(ZERO + 1, 1.0), AffineTransform(0.0, 0.5)), r"\[0, 0.5\]"),
    "half-line for a line": (lambda x: dist.Normal(ZERO, 1.0), lambda x: dist.LogNormal(ZERO, 1.0), r"\[0, inf\]"),
    "for one datum of two": (uniform(0.0, 1.0), lambda x: dist.Uniform(ZERO, 1 + x[:, 0]), r"it covers \[0, 0.8\]"),
    "bounds of the model": (lambda x: dist.Uniform(x[:, 0] - 1, 2.0), uniform(-1.0, 3.0), r"'z' it covers \[-1, 3\]"),
    "a coin for three": (
        lambda x: dist.Categorical(logits=FOUR[:3]),
        lambda x: dist.Bernoulli(ZERO + 0.5),
        r"\[0, 1\]",
    ),
    "a certain coin": (lambda x: dist.Bernoulli(ZERO + 0.5), lambda x: dist.Bernoulli(ZERO + 1), "draws the class 0"),
    "angle for a line": (lambda x: dist.Normal(ZERO, 1.0), lambda x: dist.VonMises(ZERO, 1.0), r"\[-3.142, 3.142\]"),
}
LOST["fewer classes"] = (
    lambda x: dist.Categorical(logits=FOUR),
    lambda x: dist.Categorical(logits=FOUR[:3]),
    r"it covers \[0, 2\] and the model's is \[0, 3\]",
)
OF_SEVERAL = {
    "cut simplex": (lambda x: dist.Dirichlet(torch.ones(3)), CUT_STICK, "'z' the model draws a value"),
    "no simplex": (
        lambda x: dist.Dirichlet(torch.ones(3)),
        lambda x: dist.Normal(torch.zeros(3), 1.0).to_event(1),
        "of one kind at each latent site, but at 'z' the guide's support is Real and the model's is Simplex",
    ),
    "one of two": (
        lambda x: dist.Normal(TWO, 1.0).to_event(1),
        lambda x: dist.TransformedDistribution(
            dist.Uniform(TWO - 5, 5.0).to_event(1), [AffineTransform(0.0, torch.tensor([1.0, 3.0]))]
        ),
        r"covers \[-5, 5\] and the model's is \[-inf, inf\]",
    ),
}
X = torch.tensor([[0.3], [-0.2]])


@pytest.mark.parametrize("name", [*LOST, *OF_SEVERAL])
def test_a_guide_that_misses_some_of_the_prior_is_refused(name):
    prior, guide, message = {**LOST, **OF_SEVERAL}[name]
    model, of_x = programs(prior, guide, first if name in OF_SEVERAL else lambda z: dist.Normal(0.0 * z, 1.0))
    with pytest.raises(InputError, match=message):
        log_marginal(model, of_x, X, num_samples=10)


def test_every_estimate_refuses():
    model, guide = programs(uniform(0.0, 1.0), uniform(0.0, 0.5))
    path = Annealed(3, num_chains=4)
    for estimate in (
        lambda: log_weights(model, guide, X, 10),
        lambda: log_marginal(model, guide, X, Importance(10, proposal_scale=1.2)),
        lambda: log_marginal(model, guide, X, path),
        lambda: log_marginal(model, guide, X, Adaptive(0.1)),
        lambda: sandwich(model, guide, X, path, num_simulated=5),
        lambda: diagnose(model, guide, X, estimator=path),
        lambda: refine(model, guide, X, 3),
    ):
        with pytest.raises(InputError, match="guide must cover the support of the model's latents"):
            estimate()


def test_samples_of_the_prior_stand_in_for_what_a_guide_misses():
    model, guide = programs(uniform(0.0, 1.0), uniform(0.0, 0.5))
    exact = dist.Normal(0.0, 1.0).log_prob(X[:, 0])
    for options in ({"prior_share": 0.3}, {"prior_share": 0.3, "proposal_scale": 1.2}):
        ml = log_marginal(model, guide, X, Importance(4000, **options))
        assert ((ml.log_prob - exact).abs() < 5 * ml.standard_error).all()


COVERED = {
    "the same": (uniform(0.0, 1.0), uniform(0.0, 1.0)),
    "wider": (uniform(0.0, 1.0), uniform(-1.0, 3.0)),
    "open or closed": (uniform(0.0, 1.0), lambda x: dist.Beta(ZERO + 1.2, 1.0)),
    "of the data": (lambda x: dist.Uniform(x[:, 0], x[:, 0] + 0.7), lambda x: dist.Uniform(x[:, 0], x[:, 0] + 0.7)),
    "affine, rounded": (uniform(0.1, 0.4), cut(dist.Beta(ZERO + 1, 1.0), AffineTransform(0.1, 0.3))),
    "a line for a half-line": (lambda x: dist.Exponential(ZERO + 1), lambda x: dist.Normal(ZERO + 1, 2.0)),
    "a line for an angle": (lambda x: dist.VonMises(ZERO, 1.0), lambda x: dist.Normal(ZERO, 2.0)),
    "an interval for an angle": (lambda x: dist.VonMises(ZERO, 1.0), uniform(-math.pi, math.pi)),
    "far below one": (lambda x: dist.Beta(ZERO + 0.02, 0.02), lambda x: dist.Kumaraswamy(ZERO + 0.03, ZERO + 0.015)),
    "a coin for two classes": (lambda x: dist.Categorical(logits=FOUR[:2]), lambda x: dist.Bernoulli(ZERO + 0.4)),
    "more classes": (lambda x: dist.Categorical(logits=FOUR[:2]), lambda x: dist.Categorical(logits=FOUR)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COVERED)
def test_a_guide_that_covers_more_gives_the_same_number(name):
    prior, guide = COVERED[name]
    model, of_x = programs(prior, guide)
    exact = dist.Normal(0.0, 1.0).log_prob(X[:, 0])
    for options in ({}, {"prior_share": 0.3}):
        ml = log_marginal(model, of_x, X, Importance(4000, **options))
        assert ((ml.log_prob - exact).abs() < 5 * ml.standard_error + 1e-6).all()
    if "classes" not in name:
        for start in ("guide", "prior"):
            chains = Annealed(10, num_chains=100, start=start)
            ml = log_marginal(model, of_x, X, chains, num_draws=0)
            assert ((ml.log_prob - exact).abs() < 5 * ml.standard_error + 1e-6).all()


@pytest.mark.slow
def test_chains_that_begin_where_the_prior_has_no_density_are_lost():
    """z ~ Exponential(1), x ~ N(z, 1/4); a normal guide has a hundredth, a third or most of its mass below zero."""
    x = torch.full((1, 1), 0.2)
    z = torch.linspace(0, 20, 200_001, dtype=torch.float64)
    exact = torch.trapezoid((dist.Normal(z, 0.5).log_prob(torch.tensor(0.2)) - z).exp(), z).log().item()
    for loc, scale in ((1.2, 0.5), (0.2, 0.5), (-0.2, 0.6)):
        model, guide = programs(
            lambda x: dist.Exponential(ZERO + 1),
            lambda x, at=(loc, scale): dist.Normal(*at),
            lambda z: dist.Normal(z, 0.5),
        )
        found = [log_marginal(model, guide, x, num_samples=40_000)]
        found += [log_marginal(model, guide, x, Annealed(T, num_chains=1000)) for T in (3, 20)]
        for ml in found:
            assert ml.log_prob.item() == pytest.approx(exact, abs=5 * ml.standard_error.item())
        lost = dist.Normal(loc, scale).cdf(ZERO).item()
        paths = log_weights(model, guide, x, 10_000)
        assert (paths == -math.inf).double().mean().item() == pytest.approx(lost, abs=0.02)
    with pytest.raises(InputError, match="guide must sample where the prior has a density, or its ELBO is minus infin"):
        diagnose(model, guide, x, estimator=Annealed(3))


def test_an_elbo_of_minus_infinity_is_not_refined():
    model, guide = programs(lambda x: dist.Exponential(ZERO + 1), lambda x: dist.Normal(ZERO - 0.5, 1.0))
    with pytest.raises(InputError, match="guide must sample where the prior has a density, or its ELBO is minus infin"):
        refine(model, guide, X, 5)


def test_codes_of_other_data_have_no_density_outside_the_guides_support_of_these():
    """Two data whose codes lie apart: which of them it was is known from the code, which is log 2 nats."""

    def beta(a):
        return lambda x: dist.AffineBeta(ZERO + a, 2.0, x[:, 0], ZERO + 1)

    model, guide = programs(beta(1.0), beta(1.5))
    found = rate_distortion(model, guide, torch.tensor([[-5.0], [5.0]]), 50)
    assert found.mutual_information.value == pytest.approx(math.log(2), abs=1e-5)


def test_programs_see_latents_only_where_they_have_a_density():
    seen = []

    def likelihood(z):
        seen.append(z.min().item())
        return dist.Normal(0.0, z.sqrt())

    model, guide = programs(lambda x: dist.Exponential(ZERO + 1), lambda x: dist.Normal(ZERO + 0.5, 1.0), likelihood)
    lw = log_weights(model, guide, X, 1000)
    assert min(seen) >= 0
    assert not lw.isnan().any()
    ml = log_marginal(model, guide, X, Annealed(10, num_chains=16))
    assert min(seen) >= 0
    assert ml.log_prob.isfinite().all()


def test_a_support_of_another_latent_is_judged_site_by_site():
    def model(x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Uniform(ZERO, 1.0))
            pyro.sample("b", dist.Uniform(ZERO, a))
            pyro.sample("x", dist.Normal(ZERO, 1.0), obs=x[:, 0])

    def guide_of(share):
        def guide(x):
            with pyro.plate("data", len(x)):
                a = pyro.sample("a", dist.Beta(ZERO + 2, 1.0))
                pyro.sample("b", dist.Uniform(ZERO, share * a))

        return guide

    def the_other_way_round(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Beta(ZERO + 1, 2.0))
            pyro.sample("a", dist.Uniform(b, 1.0))

    def too_high(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Beta(ZERO + 1, 2.0))
            pyro.sample("a", dist.Uniform((b + 0.1).clamp(max=0.99), 1.0))

    exact = dist.Normal(0.0, 1.0).log_prob(X[:, 0])
    for guide in (guide_of(1.0), guide_of(1.5), the_other_way_round):
        ml = log_marginal(model, guide, X, num_samples=4000)
        assert ((ml.log_prob - exact).abs() < 5 * ml.standard_error + 1e-6).all()
    with pytest.raises(InputError, match="at 'b' it covers"):
        log_marginal(model, guide_of(0.5), X, num_samples=10)
    with pytest.raises(InputError, match="at 'a' the model draws 0"):
        log_marginal(model, too_high, X, num_samples=10)


def test_an_upper_bound_is_infinite_where_the_start_does_not_reach(monkeypatch):
    """Should a gap have been missed when the programs were compared."""
    monkeypatch.setattr(BatchedPrograms, "_check_cover", lambda self, traced: None)
    model, guide = programs(uniform(0.0, 1.0), uniform(0.0, 0.5))
    bounds = sandwich(model, guide, X, Annealed(3, num_chains=4), num_simulated=40)
    lost = (bounds.upper == math.inf).double().mean().item()
    assert 0.2 < lost < 0.8
    assert "inf nats" in bounds.sentence


def test_samples_are_drawn_for_a_comparison_only_where_bounds_do_not_tell(monkeypatch):
    calls = []
    run = BatchedPrograms.run
    monkeypatch.setattr(BatchedPrograms, "run", lambda self, program, k: calls.append(k) or run(self, program, k))
    for prior, guide, expected in (
        (lambda x: dist.Normal(ZERO, 1.0), lambda x: dist.Normal(x[:, 0], 1.0), False),
        (uniform(0.0, 1.0), uniform(0.0, 1.0), False),
        (lambda x: dist.Uniform(x[:, 0], 1.0), lambda x: dist.Uniform(x[:, 0], 1.0), True),
    ):
        calls.clear()
        model, of_x = programs(prior, guide)
        state = torch.get_rng_state()
        with evaluating(model, of_x):
            pair = BatchedPrograms(model, of_x, (X,))
        assert (max(calls) > 2) == expected
        assert pair.broadcasts
        torch.set_rng_state(state)
