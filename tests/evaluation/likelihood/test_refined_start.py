"""The refined start of chains: it finds Gaussian posteriors, keeps what is better, and changes no p(x)."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from linear_gaussian import LinearGaussian

from pyrovae import Annealed, log_marginal, sandwich
from pyrovae.arviz_import import read_inference_data, write_inference_data
from pyrovae.evaluation.likelihood import annealed
from pyrovae.evaluation.likelihood.annealed_chains import anneal
from pyrovae.evaluation.likelihood.annealing_target import AffineMap, AnnealingTarget
from pyrovae.evaluation.likelihood.concatenation import concatenate
from pyrovae.evaluation.likelihood.refined_start import refine_start
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.runs import stored_evaluation


def refined(oracle, x, num_rounds=3, guide=None):
    target = AnnealingTarget(BatchedPrograms(oracle.model, guide or oracle.guide, (x,)))
    with target.running():
        start = refine_start(target, num_rounds)
        return start, start.target.evaluate(start.target.draw(200)).log_weight


@pytest.mark.parametrize("latent_dim", [2, 10])
def test_it_finds_the_posterior_of_a_linear_model_from_a_hopeless_guide(latent_dim):
    oracle = LinearGaussian(latent_dim, 3 * latent_dim, guide="mean-field", shift=4.0, widening=0.5)
    x = oracle.simulate(40)
    start, log_weight = refined(oracle, x, num_rounds=4)
    short = oracle.log_prob(x) - log_weight.mean(0)
    assert short.max() < 1
    assert short.mean() < 0.05
    assert start.num_evaluations == 5 * max(16, 2 * latent_dim)


def test_the_posterior_itself_stays():
    oracle = LinearGaussian(3, 6)
    x = oracle.simulate(4)
    _, log_weight = refined(oracle, x)
    torch.testing.assert_close(log_weight, oracle.log_prob(x).expand(200, -1), rtol=0, atol=1e-8)


def test_data_are_refined_one_by_one():
    """One datum whose density has no number leaves the others what they would be, and stays as it is."""
    oracle = LinearGaussian(2, 4, guide="mean-field", shift=3.0)
    x = torch.cat((oracle.simulate(2), torch.full((1, 4), 1e200, dtype=torch.float64)))
    _, log_weight = refined(oracle, x, 4, guide=lambda x: oracle.guide(x.clamp(-5, 5)))
    torch.testing.assert_close(log_weight[:, :2].mean(0), oracle.log_prob(x[:2]), rtol=0, atol=0.05)
    assert (log_weight[:, 2] == -torch.inf).all()


def test_coordinates_are_found_again():
    """As the sandwich needs it, whose chains begin at given latents."""
    oracle = LinearGaussian(3, 6, guide="mean-field", shift=2.0)
    start, _ = refined(oracle, oracle.simulate(4))
    with start.target.running():
        v = start.target.draw(5)
        torch.testing.assert_close(start.target.coordinates_of(start.target.evaluate(v).latents), v)


class Skewed:
    """A positive latent z ~ Gamma(2, 1) and x ~ Poisson(z), with a log-normal guide: p(x) = (x + 1) / 2^(x + 2)."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(2 * torch.ones(1).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Poisson(z).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.LogNormal(torch.full_like(x, 3.0), 0.2).to_event(1))

    def log_prob(self, x):
        return ((x + 1).log() - (x + 2) * torch.tensor(2.0).log())[:, 0]


def test_a_skewed_posterior_far_from_the_guide():
    program, x = Skewed(), torch.tensor([[0.0], [2.0], [7.0]]).double()
    for keep_guide in (True, False):
        estimator = Annealed(20, num_chains=100, refinement_rounds=4, keep_guide=keep_guide)
        ml = log_marginal(program.model, program.guide, x, estimator)
        assert ((ml.log_prob - program.log_prob(x)).abs() < 4 * ml.standard_error + 0.01).all()
        assert (ml.elbo < program.log_prob(x) - 3).all()  # of the guide as it is


class TwoModes:
    """z ~ N(0, 1) and x ~ N(z^2, 0.3^2): modes at plus and minus, and a guide as wide as both."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.square(), 0.3).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros_like(x), x.sqrt()).to_event(1))

    def log_prob(self, x):
        z = torch.linspace(-8, 8, 16_001, dtype=x.dtype)
        joint = dist.Normal(0.0, 1.0).log_prob(z) + dist.Normal(z.square(), 0.3).log_prob(x)
        return joint.logsumexp(1) + torch.tensor(0.001).log()


def test_the_guide_is_kept_where_it_covers_more_modes():
    """The refined guide has one of two modes: chains that all start there miss the other, and say nothing of it."""
    program, x = TwoModes(), torch.tensor([[2.0], [3.0]]).double().repeat(150, 1)
    torch.manual_seed(0)
    kept, moved = (
        log_marginal(program.model, program.guide, x, Annealed(20, 16, refinement_rounds=3, keep_guide=keep_guide))
        for keep_guide in (True, False)
    )
    ratio = (kept.log_prob - program.log_prob(x)).exp()
    assert (ratio.mean() - 1).abs() < 4 * ratio.std() / len(x) ** 0.5
    assert ratio.median() > 0.8
    assert (program.log_prob(x) - moved.log_prob).median() > 0.5  # log 2 is half of p(x)


@pytest.mark.parametrize(("chunk_size", "sizes"), [(2000, [8]), (5, [4, 4]), (1, [2, 2, 2, 2])])
def test_each_weight_of_a_kept_guide_is_the_mean_of_two_chains(monkeypatch, chunk_size, sizes):
    oracle, runs = LinearGaussian(3, 6, guide="mean-field", shift=1.0), []
    monkeypatch.setattr(annealed, "anneal", lambda *given: runs.append(anneal(*given)) or runs[-1])
    programs = BatchedPrograms(oracle.model, oracle.guide, (oracle.simulate(1),))
    ml = Annealed(20, 8, refinement_rounds=2, num_prior_chains=0).estimate(programs, chunk_size=chunk_size)
    weights = [run.log_weight.exp() for run in runs]
    assert [len(each) for each in weights] == sizes
    assert int(ml.num_samples) == 4
    torch.testing.assert_close(ml.log_prob.exp(), torch.cat(weights).mean(0))
    pairs = torch.cat([0.5 * (each[: len(each) // 2] + each[len(each) // 2 :]) for each in weights])
    torch.testing.assert_close(ml.ess, pairs.sum(0).square() / pairs.square().sum(0))
    alone = Annealed(20, 8, refinement_rounds=2, keep_guide=False, num_prior_chains=0).estimate(programs)
    assert int(alone.num_samples) == 8
    assert torch.equal(alone.num_evaluations, ml.num_evaluations)


def test_the_mixture_has_the_density_of_its_samples():
    """By a map far from the identity; the importance weights of its samples have the mean p(x)."""
    oracle = LinearGaussian(2, 5, guide="mean-field")
    x = oracle.simulate(3)
    factor = torch.tensor([[0.5, 0.0], [0.4, 1.5]], dtype=x.dtype)
    affine = AffineMap(x.new_tensor([0.5, -0.3]).expand(3, 2), factor.expand(3, 2, 2), factor.det().log().expand(3))
    target = AnnealingTarget(BatchedPrograms(oracle.model, oracle.guide, (x,))).mapped(affine, keep_guide=True)
    torch.manual_seed(0)
    with target.running():
        v = target.draw(20_000)
        point, _, slope = target.gradients(v)
    inverse = torch.linalg.inv(factor)  # the guide's own samples are N(0, 1) at u = a + L v
    own = dist.MultivariateNormal(-inverse @ affine.shift[0], inverse @ inverse.T)
    both = torch.stack((dist.Normal(x.new_zeros(2), 1.0).to_event(1).log_prob(v), own.log_prob(v)))
    torch.testing.assert_close(point.log_start, both.logsumexp(0) - torch.tensor(2.0).log())
    step = 1e-6 * torch.randn(2, dtype=x.dtype)
    torch.testing.assert_close(target.log_start(v + step) - point.log_start, slope @ step, rtol=1e-3, atol=1e-9)
    ratio = (point.log_weight - oracle.log_prob(x)).exp()
    assert ((ratio.mean(0) - 1).abs() < 4 * ratio.std(0) / len(v) ** 0.5).all()


def test_chains_of_a_mixture_have_no_thermodynamic_integral():
    """They stay in their part, of which the weights take account and the integral would not."""
    oracle = LinearGaussian(2, 5, guide="mean-field", shift=6.0, widening=0.5)
    x = oracle.simulate(20)
    kept, alone = (
        log_marginal(oracle.model, oracle.guide, x, Annealed(40, refinement_rounds=2, keep_guide=keep_guide))
        for keep_guide in (True, False)
    )
    assert kept.integral is None
    assert "Thermodynamic" not in kept.verdict
    assert abs(alone.integral.mean_difference) < 0.1
    torch.testing.assert_close(kept.log_prob, oracle.log_prob(x), rtol=0, atol=0.3)


def test_reverse_chains_of_a_kept_guide_are_as_tight_as_those_of_the_refined_one():
    """To the mixture, they would be log 2 too high where the guide is far off, and this one is."""
    oracle = LinearGaussian(2, 5, guide="mean-field", shift=6.0, widening=0.5)
    torch.manual_seed(0)
    bounds = sandwich(
        oracle.model, oracle.guide, oracle.simulate(1), Annealed(40, refinement_rounds=2), num_simulated=60
    )
    exact = oracle.log_prob(bounds.estimate.x)
    for bound in (bounds.lower, bounds.upper):
        difference = bound - exact
        assert difference.mean().abs() < 4 * difference.std() / len(exact) ** 0.5 + 0.02


def test_angles_are_not_refined():
    def model(x):
        with pyro.plate("data", len(x)):
            angle = pyro.sample("angle", dist.VonMises(torch.zeros(()).double(), 1.0))
            pyro.sample("x", dist.Normal(angle.cos(), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("angle", dist.VonMises(torch.zeros(()).double(), 2.0))

    target = AnnealingTarget(BatchedPrograms(model, guide, (torch.zeros(3).double(),)))
    with target.running():
        assert refine_start(target, 3).target is target


def test_rounds_cost_what_they_say_and_are_in_the_label():
    oracle = LinearGaussian(3, 6, guide="mean-field", shift=1.0)
    x = oracle.simulate(4)
    plain, ml = (log_marginal(oracle.model, oracle.guide, x, Annealed(5, refinement_rounds=R)) for R in (0, 2))
    assert (ml.num_evaluations - plain.num_evaluations == 3 * 16 + 100).all()  # three fits; the ELBO of the guide
    assert (ml.elbo - plain.elbo).abs().max() < 3
    assert Annealed(refinement_rounds=2).label == "annealed-16-T100-R2"
    assert Annealed(refinement_rounds=2, keep_guide=False).label == "annealed-16-T100-R2-refined-only"


@pytest.mark.parametrize("keep_guide", [True, False])
def test_the_verdict_says_that_chains_from_a_refined_guide_agree_too_easily(keep_guide, tmp_path):
    oracle = LinearGaussian(3, 6, guide="mean-field")
    x, said = oracle.simulate(4), "Chains from a refined guide agree also where it misses a mode"
    plain, ml = (
        log_marginal(oracle.model, oracle.guide, x, Annealed(40, refinement_rounds=R, keep_guide=keep_guide))
        for R in (0, 2)
    )
    assert said in ml.verdict
    assert said not in plain.verdict
    assert said in concatenate([ml, ml]).verdict
    for result in (plain, ml):  # in a file too
        write_inference_data(result.to_arviz(), tmp_path / "values.nc")
        again = stored_evaluation._result(read_inference_data(tmp_path / "values.nc"))
        assert (said in again.verdict) == (result is ml)
