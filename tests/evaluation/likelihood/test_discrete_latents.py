"""Discrete latents that are summed over: log p(x) of programs that have them, by every estimator."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from discrete_programs import Bits, Mixture
from pyro import poutine

from pyrovae import Adaptive, Annealed, Importance, InputError, SemiSupervisedVAE, cross_check, log_marginal, sandwich
from pyrovae.programs import private_modules

GUIDES = [("y first", False), ("y first", True), ("z first", False), ("apart", True), ("two sites", False)]
guides = pytest.mark.parametrize(("kind", "one_hot"), GUIDES)


def assert_right(ml, exact, slack=1e-3):
    assert ((ml.log_prob - exact).abs() < 5 * ml.standard_error + slack).all()


@guides
def test_weights_over_sums_have_less_variance_and_the_mean_p(kind, one_hot):
    program = Mixture(kind, one_hot)
    x = program.simulate(6)
    exact = program.log_prob(x)
    torch.manual_seed(0)
    plain = log_marginal(program.model, program.guide, x, Importance(2000))
    summed = log_marginal(program.model, program.guide, x, Importance(2000, sum_discrete=True))
    wide = log_marginal(program.model, program.guide, x, Importance(1000, 1.2, 0.2, sum_discrete=True))
    for ml in (plain, summed, wide):
        assert_right(ml, exact, 0.01)
    assert summed.standard_error.mean() < plain.standard_error.mean()
    assert (summed.num_evaluations == 3 * 2000 + 100).all()
    if kind == "y first":
        assert abs((summed.elbo - plain.elbo).mean()) < 0.1  # that of all latents


@guides
def test_annealed_chains(kind, one_hot):
    program = Mixture(kind, one_hot)
    x = program.simulate(5)
    torch.manual_seed(0)
    starts = ("guide",) if one_hot else ("guide", "prior")
    for start in starts:
        ml = log_marginal(program.model, program.guide, x, Annealed(8, start=start), num_draws=4)
        assert_right(ml, program.log_prob(x), 0.05)
        assert ml.certificate().nll > -program.log_prob(x).mean()
        assert ml.draws["y"].shape == ((5, 4, 3) if one_hot else (5, 4))


@pytest.mark.parametrize(("kind", "is_noise"), [("apart", True), ("y first", False)])
def test_chains_from_a_refined_start_of_the_summed_program(kind, is_noise):
    program = Mixture(kind)
    x = program.simulate(5)
    torch.manual_seed(0)
    plain, kept, alone = (
        log_marginal(program.model, program.guide, x, estimator, num_draws=4)
        for estimator in (
            Annealed(8),
            Annealed(8, refinement_rounds=3),
            Annealed(8, refinement_rounds=3, keep_guide=False),
        )
    )
    for refined, share in ((kept, 0.5), (alone, 0.3)):
        assert_right(refined, program.log_prob(x), 0.02)
        # four fits of 16 samples on each of 3 values; coordinates that are z itself are not refined
        assert (refined.num_evaluations - plain.num_evaluations == (4 * 16 * 3 if is_noise else 0)).all()
        if is_noise:
            assert refined.standard_error.mean() < share * plain.standard_error.mean()


def test_draws_of_discrete_latents_are_from_their_posterior():
    program = Mixture()
    x = program.simulate(4)
    torch.manual_seed(0)
    ml = log_marginal(program.model, program.guide, x, Importance(4000, sum_discrete=True), num_draws=1000)
    share = nn_one_hot(ml.draws["y"], 3).mean(1)  # (B, 3)
    torch.testing.assert_close(share, program.joint(x).softmax(-1), atol=0.06, rtol=0)
    fit = dist.Normal(ml.draws["z"] @ program.W.T, program.scale).log_prob(x[:, None]).sum(-1)
    torch.testing.assert_close(ml.log_likelihood, fit)


def nn_one_hot(y, classes):
    return torch.nn.functional.one_hot(y, classes).double()


@pytest.mark.slow
def test_the_certificate_holds_as_often_as_it_says():
    program = Mixture()
    x = program.simulate(1).expand(1000, -1)  # 1,000 repetitions of one datum
    exact = program.log_prob(x[:1]).item()
    torch.manual_seed(0)
    for estimator in (Annealed(2, num_chains=2, num_leapfrogs=1), Importance(2, sum_discrete=True)):
        found = log_marginal(program.model, program.guide, x, estimator, num_draws=0).log_unbiased[0]
        mean, error = (found - exact).exp().mean(), (found - exact).exp().std() / 1000**0.5
        assert abs(mean - 1) < 4 * error  # unbiased, however short the chains
        assert ((found - exact) > math.log(10)).double().mean() <= 0.1


@pytest.mark.slow
def test_a_sandwich_holds_the_exact_value_and_chains_from_the_prior_agree():
    program = Mixture()
    like = torch.zeros(1, 4).double()
    torch.manual_seed(0)
    bounds = sandwich(program.model, program.guide, like, Annealed(5, num_chains=4), num_simulated=30, chunk_size=200)
    exact = program.log_prob(bounds.estimate.x)
    for side, sign in ((bounds.lower, -1), (bounds.upper, 1)):
        apart = sign * (side - exact)
        assert -4 * apart.std().item() / 30**0.5 - 1e-3 < apart.mean().item() < 0.3
    check = cross_check(program.model, program.guide, bounds.estimate.x, bounds.estimate, 2, num_temperatures=20)
    assert not check.exceeds.any()


def exact_of_semi_supervised(vae, x):
    """Return log p(x) of a model M2 with one latent dimension by quadrature, ``(B,)``."""
    z = torch.linspace(-8, 8, 801)
    grid, step = z.repeat_interleave(vae.num_classes), (z[1] - z[0]).item()
    y = torch.eye(vae.num_classes).repeat(len(z), 1)
    found = []
    for datum in x:
        seen = poutine.condition(vae.model, {"y": y, "z": grid[:, None]})
        with torch.no_grad(), private_modules():
            trace = poutine.trace(seen).get_trace(datum.expand(len(grid), *datum.shape))
        trace.compute_log_prob()
        joint = sum(trace.nodes[name]["log_prob"] for name in ("y", "z", "x"))
        found.append(joint.double().logsumexp(0) + math.log(step))
    return torch.stack(found)


@pytest.mark.parametrize("estimator", [Annealed(8), Importance(1000, sum_discrete=True), Importance(2000)])
def test_the_semi_supervised_model_without_labels(estimator):
    torch.manual_seed(0)
    vae = SemiSupervisedVAE((6,), 1, num_classes=3).eval()
    for part in vae.parameters():
        part.data *= 1.3  # so that classes differ
    x = (torch.rand(4, 6) < 0.5).float()
    ml = log_marginal(vae.model, vae.guide, x, estimator)
    assert_right(ml, exact_of_semi_supervised(vae, x))


class OnSupport:
    """y of two values chooses between two priors of a bounded latent; x has a closed form given y."""

    def __init__(self, prior, likelihood, posterior, evidence, x):
        self.prior, self.likelihood, self.posterior, self.evidence, self.x = prior, likelihood, posterior, evidence, x

    def model(self, x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Bernoulli(torch.tensor(0.3).double()))
            z = pyro.sample("z", self.prior(y))
            pyro.sample("x", self.likelihood(z), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Bernoulli(torch.full((len(x),), 0.45).double()))
            pyro.sample("z", self.posterior(y, x))

    def log_prob(self):
        both = torch.stack([self.evidence(torch.tensor(y).double()).log_prob(self.x) for y in (0.0, 1.0)])
        return (both + torch.tensor([0.7, 0.3]).double().log()[:, None]).logsumexp(0)


def concentrations(y):
    return (1 + 2 * y).unsqueeze(-1) * torch.tensor([0.5, 1.0, 2.0]).double()


SUPPORTED = {
    "unit interval": lambda: OnSupport(
        lambda y: dist.Beta(0.5 + 2 * y, 1.5 - y),
        lambda z: dist.Binomial(6, z),
        lambda y, x: dist.Beta(0.8 * (0.5 + 2 * y + x), 0.8 * (1.5 - y + 6 - x)),
        lambda y: dist.BetaBinomial(0.5 + 2 * y, 1.5 - y, 6),
        torch.tensor([0.0, 3, 6]).double(),
    ),
    "positive": lambda: OnSupport(
        lambda y: dist.Gamma(0.5 + 2 * y, 1 + y),
        lambda z: dist.Poisson(z),
        lambda y, x: dist.Gamma(0.8 * (0.5 + 2 * y + x), 0.8 * (2 + y)),
        lambda y: dist.GammaPoisson(0.5 + 2 * y, 1 + y),
        torch.tensor([0.0, 1, 7]).double(),
    ),
    "simplex": lambda: OnSupport(
        lambda y: dist.Dirichlet(concentrations(y)),
        lambda z: dist.Multinomial(5, z),
        lambda y, x: dist.Dirichlet(0.8 * (concentrations(y) + x)),
        lambda y: dist.DirichletMultinomial(concentrations(y), 5),
        torch.tensor([[5.0, 0, 0], [2, 3, 0], [1, 1, 3]]).double(),
    ),
}


@pytest.mark.parametrize("name", SUPPORTED)
def test_bounded_latents_whose_prior_is_chosen_by_a_discrete_one(name):
    program = SUPPORTED[name]()
    torch.manual_seed(0)
    for estimator in (Annealed(5), Annealed(10, start="prior"), Importance(2000, sum_discrete=True)):
        assert_right(log_marginal(program.model, program.guide, program.x, estimator), program.log_prob(), 0.02)


@pytest.mark.parametrize(
    "estimator", [Annealed(), Annealed(start="prior"), Importance(5, sum_discrete=True), Adaptive()]
)
def test_all_latents_discrete_is_an_exact_sum(estimator):
    program = Bits()
    x = torch.tensor([[0.0, 1.0], [2.0, -1.0], [0.3, 0.1]]).double()
    torch.manual_seed(0)
    ml = log_marginal(program.model, program.guide, x, estimator, num_draws=2000, chunk_size=100)
    torch.testing.assert_close(ml.log_prob, program.log_prob(x))
    assert ml.method == "exact"
    assert ml.reliable.all()
    assert (ml.num_samples == 48).all()
    assert ml.verdict.startswith("All latents are discrete, and p(x) is the sum over their 48 joint values")
    assert "exact sum of 48 terms" in str(ml)
    assert (ml.elbo < ml.log_prob).all()
    posterior = program.joint(x).flatten(0, 1).softmax(0).unflatten(0, (16, 3)).sum(0)  # p(c|x), (3, B)
    torch.testing.assert_close(nn_one_hot(ml.draws["c"], 3).mean(1), posterior.T, atol=0.06, rtol=0)
    plain = log_marginal(program.model, program.guide, x, Importance(20_000))
    assert abs(ml.elbo - plain.elbo).max() < 0.2
    assert_right(plain, ml.log_prob)
    bounds = sandwich(program.model, program.guide, x, Annealed(2, num_chains=2), num_simulated=3)
    torch.testing.assert_close(bounds.upper, bounds.lower)


def with_latents(*sites):
    """Return programs with latent sites of these distributions, the same in model and guide."""

    def latents():
        return [pyro.sample(f"y{i}", site) for i, site in enumerate(sites)]

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            latents()
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))
            latents()

    return model, guide


many = dist.Bernoulli(torch.full((9,), 0.5)).to_event(1)
five = dist.Categorical(torch.ones(17))
REFUSED = [
    ([dist.Poisson(torch.tensor(3.0))], "at most 256 joint values.*but the values of 'y0', of a Poisson distribution"),
    ([dist.Categorical(torch.ones(300))], "the values of 'y0', of a Categorical distribution, are more or cannot"),
    ([many], "the values of 'y0', of a Bernoulli distribution, are more or cannot be listed"),
    ([five, five], "but 'y0' and 'y1' have 289"),
    ([dist.Bernoulli(torch.tensor(0.5)).mask(torch.tensor(False))], "must not be masked .* but 'y0' is"),
]


@pytest.mark.parametrize(("sites", "sentence"), REFUSED)
def test_what_cannot_be_summed_over_is_refused(sites, sentence):
    model, guide = with_latents(*sites)
    for estimator in (Annealed(2), Importance(10, sum_discrete=True)):
        with pytest.raises(InputError, match=f"(?s){sentence}"):
            log_marginal(model, guide, torch.zeros(2), estimator)
    log_marginal(model, guide, torch.zeros(2), Importance(10))


def test_values_or_supports_that_depend_on_other_latents_are_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            n = pyro.sample("n", dist.Categorical(torch.ones(3)))
            pyro.sample("m", dist.Binomial(n, 0.5 * torch.ones(())))
            pyro.sample("x", dist.Normal(n.float(), 1.0), obs=x)

    def of_two(x):
        with pyro.plate("data", len(x)):
            pyro.sample("n", dist.Categorical(torch.ones(3)))
            pyro.sample("m", dist.Binomial(torch.tensor(2), 0.5 * torch.ones(())))

    def bounded(x):
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Bernoulli(torch.full((), 0.5)))
            z = pyro.sample("z", dist.Uniform(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def by_bound(x):
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Bernoulli(torch.full((), 0.5)))
            pyro.sample("z", dist.Uniform(torch.zeros(()), 1 + y))

    for x in (torch.zeros(1), torch.zeros(4)):
        with pytest.raises(
            InputError, match=r"the same values for all data and other latents.* but those of 'm' differ"
        ):
            log_marginal(model, of_two, x, Annealed(2))
        with pytest.raises(InputError, match=r"a support that no discrete latent changes.* but that of 'z' differs"):
            log_marginal(bounded, by_bound, x, Annealed(2))
