"""Priors: densities that integrate to one, where they start, and what a VampPrior shares with the posterior."""

import copy
import math
from functools import partial

import numpy as np
import pyro
import pytest
import torch
from torch import nn

from pyrovae import (
    MLP,
    VAE,
    AffineAutoregressive,
    AffineCoupling,
    Bernoulli,
    DiagonalNormal,
    FlowPosterior,
    FlowPrior,
    FullCovarianceNormal,
    GaussianMixture,
    InputError,
    LearnedNormal,
    LowRankNormal,
    MixturePosterior,
    Planar,
    PointPosterior,
    Radial,
    SphericalUniform,
    Spline,
    SplineAutoregressive,
    SplineCoupling,
    StandardNormal,
    VampPrior,
    VonMisesFisher,
    generate,
    log_marginal,
)
from pyrovae.compilation import TrainingStep
from pyrovae.distributions import UniformSphere
from pyrovae.objectives import Trace_ELBO
from pyrovae.programs import private_modules

SHAPE, D = (5,), 2
small = partial(MLP, hidden_features=(16,))
FLOWS = [AffineAutoregressive, AffineCoupling, Spline, SplineAutoregressive, SplineCoupling]
PRIORS = {
    **{cls.__name__: cls for cls in (StandardNormal, LearnedNormal, GaussianMixture, FlowPrior)},
    **{f"flow of {flow.__name__}": partial(FlowPrior, flow=flow, num_layers=1) for flow in FLOWS[1:]},
    "VampPrior": partial(VampPrior, num_components=6),
    "SphericalUniform": SphericalUniform,
}
POSTERIORS = [
    DiagonalNormal,
    FullCovarianceNormal,
    LowRankNormal,
    MixturePosterior,
    FlowPosterior,
    partial(FlowPosterior, flow=Radial),
    PointPosterior,
    VonMisesFisher,
]
MIXED = [DiagonalNormal, FullCovarianceNormal, LowRankNormal, MixturePosterior, FlowPosterior]
every_prior = pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)


def data(count):
    return (torch.rand(count, *SHAPE) < 0.5).float()


def program(prior, posterior=None):
    made = prior(D)
    posterior = posterior or (VonMisesFisher if made.support is SphericalUniform.support else DiagonalNormal)
    return VAE(made, Bernoulli(SHAPE, D, small), posterior(SHAPE, D, small))


def bent(prior):
    """Move the parameters far from where they start."""
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return prior


def codes(count, dim=D):
    """Return codes in two clumps, far from standard normal."""
    z = torch.randn(count, dim) * torch.linspace(0.1, 0.5, dim)
    return z + torch.where(torch.rand(count, 1) < 0.3, 3.0, -1.0)


@every_prior
def test_the_density_integrates_to_the_share_of_draws(prior):
    if prior is SphericalUniform:
        pytest.skip("tested with directions")
    vae = program(prior).double()
    density = bent(vae.prior)()
    axis = torch.linspace(-10, 10, 251, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    with torch.no_grad():
        integral = density.log_prob(grid).exp().sum().item() * 0.08**2
        inside = (density.sample((20_000,)).abs() < 10.04).all(-1).double().mean().item()
    assert inside > 0.95
    assert integral == pytest.approx(inside, abs=0.02)  # which is what the grid misses of steep splines


@every_prior
def test_draws_have_the_density(prior):
    """The mean of 1 / p over a region that draws fall into is its area over their share."""
    if prior is SphericalUniform:
        pytest.skip("tested with directions")
    fn = bent(program(prior).prior)()
    with torch.no_grad():
        z = fn.sample((20_000,))
        inside = (z.abs() < 1).all(-1)
        ratio = torch.where(inside, (-fn.log_prob(z)).exp(), 0.0)
    assert ratio.mean().item() == pytest.approx(4, abs=5 * ratio.std().item() / len(z) ** 0.5)


def is_recorded(vae):
    """Take three steps: to see, to record, to compare with Pyro. A warning is an error."""
    step = TrainingStep(Trace_ELBO(), "graph", [vae])
    with private_modules(), pyro.validation_enabled(False):
        for x in data(30).split(10):
            assert math.isfinite(step.loss_and_grads(vae.model, vae.guide, x))
    return step.compile == "graph" and len(step._graphs) == 1


@pytest.mark.slow
@every_prior
def test_the_step_is_recorded(prior):
    vae = program(prior)
    vae.initialize(data(20))
    assert is_recorded(vae)


@pytest.mark.slow
@pytest.mark.parametrize("posterior", MIXED[1:])
def test_the_step_of_a_mixture_of_posteriors_is_recorded(posterior):
    assert is_recorded(program(PRIORS["VampPrior"], partial(posterior)))


@pytest.mark.slow
@every_prior
def test_every_pair_has_a_marginal_likelihood(prior):
    x = data(3)
    for posterior in POSTERIORS:
        if (posterior is VonMisesFisher) != (prior is SphericalUniform):
            continue
        if prior is PRIORS["VampPrior"] and posterior not in MIXED:
            continue
        vae = program(prior, posterior)
        assert generate(vae.model, 4, x).isfinite().all()
        if posterior is not PointPosterior:
            assert log_marginal(vae.model, vae.guide, x, num_samples=50).log_prob.isfinite().all()


@pytest.mark.parametrize(
    "prior", [LearnedNormal, partial(GaussianMixture, num_components=2), *(partial(FlowPrior, flow=f) for f in FLOWS)]
)
def test_a_prior_that_starts_at_codes_explains_them_better(prior):
    prior, z = prior(D), codes(500)
    before = prior().log_prob(z).mean()
    prior.initialize_from_codes(z)
    after = prior().log_prob(z).mean()
    normal = LearnedNormal(D)
    normal.initialize_from_codes(z)
    assert after > before + 0.3
    if not isinstance(prior, FlowPrior):
        assert after >= normal().log_prob(z).mean() - 1e-4


def test_a_learned_normal_starts_at_the_moments():
    prior, z = LearnedNormal(D), codes(500)
    prior.initialize_from_codes(z)
    torch.testing.assert_close(prior().mean, z.mean(0))
    torch.testing.assert_close(prior().stddev, z.std(0, correction=0))


def test_a_flow_prior_starts_by_standardising():
    prior, z = FlowPrior(D), codes(500)
    prior.initialize_from_codes(z)
    affine = prior().transforms[-1]
    torch.testing.assert_close(affine.inv(z).mean(0), torch.zeros(D), atol=1e-5, rtol=0)
    torch.testing.assert_close(affine.inv(z).std(0, correction=0), torch.ones(D))


def test_a_gaussian_mixture_finds_the_clumps_and_leaves_numpys_noise_alone():
    z = codes(2000)
    first, second = GaussianMixture(D, num_components=2), GaussianMixture(D, num_components=2)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first.initialize_from_codes(z)
    assert np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    second.initialize_from_codes(z)
    assert torch.equal(first.loc, second.loc)
    assert sorted(first.loc[:, 0].tolist()) == pytest.approx([-1, 3], abs=0.05)
    assert sorted(first.logits.softmax(0).tolist()) == pytest.approx([0.3, 0.7], abs=0.05)
    z = first().sample((20_000,))
    torch.testing.assert_close(z.mean(0), first().mean, rtol=0, atol=0.08)


def test_codes_that_are_all_the_same_leave_a_density():
    z = torch.ones(20, D)
    for prior in (LearnedNormal(D), GaussianMixture(D, 2), FlowPrior(D)):
        prior.initialize_from_codes(z)
        assert prior().log_prob(z).isfinite().all()


@pytest.mark.parametrize("posterior", MIXED)
def test_a_vamp_prior_is_the_mean_of_the_posteriors(posterior):
    vae = program(PRIORS["VampPrior"], posterior)
    z = torch.randn(7, 3, D)
    q = vae.posterior(vae.prior.pseudo_data)
    expected = torch.stack([q.log_prob(z[i, j].expand(6, D)).logsumexp(0) for i in range(7) for j in range(3)])
    prior = vae.prior()
    assert prior.batch_shape == ()
    torch.testing.assert_close(prior.log_prob(z).flatten(), expected - math.log(6), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prior.expand((3,)).log_prob(z), prior.log_prob(z))
    assert prior.expand((3,)).sample((7,)).shape == z.shape


def test_a_vamp_prior_starts_at_data_and_stays_in_their_range():
    vae = program(partial(VampPrior, num_components=8))
    x = 2 + torch.rand(20, *SHAPE)
    vae.initialize(x)
    pseudo = vae.prior.pseudo_data.detach()
    found = (pseudo[:, None] == x).all(-1)
    assert (found.sum(1) == 1).all()
    assert (found.sum(0) <= 1).all()  # each once
    before = vae.prior().mean
    with torch.no_grad():
        vae.prior.pseudo_data.add_(100)
    clamped = vae.posterior(x.max().expand(8, *SHAPE)).mean.mean(0)
    assert not torch.allclose(before, clamped)
    torch.testing.assert_close(vae.prior().mean, clamped)
    vae.initialize(x[:3])  # fewer than components: some twice
    assert torch.unique(vae.prior.pseudo_data, dim=0).shape[0] == 3


def test_a_vamp_prior_registers_nothing_twice():
    vae = program(PRIORS["VampPrior"])
    assert {name for name, _ in vae.prior.named_parameters()} == {"pseudo_data"}
    assert len({id(p) for p in vae.parameters()}) == len(list(vae.named_parameters(remove_duplicate=False)))
    assert not [name for name in vae.state_dict() if name.startswith("prior") and "network" in name]


def test_a_copied_vamp_prior_has_the_copied_posterior():
    vae = program(PRIORS["VampPrior"])
    copied = copy.deepcopy(vae)
    z = torch.randn(4, D)
    torch.testing.assert_close(copied.prior().log_prob(z), vae.prior().log_prob(z))
    with torch.no_grad():
        copied.posterior.network.layers[-1].bias.add_(1)
    assert not torch.allclose(copied.prior().log_prob(z), vae.prior().log_prob(z))
    assert copied.prior._posterior[0] is copied.posterior


@every_prior
def test_a_program_is_the_same_after_its_state_is_loaded(prior):
    first, second = program(prior), program(prior)
    bent(first)
    first.initialize(data(10))
    second.load_state_dict(first.state_dict())
    z = UniformSphere(D).sample((4,))  # which is a code for all of them
    torch.testing.assert_close(second.prior().log_prob(z), first.prior().log_prob(z), rtol=0, atol=0)


def test_the_posterior_in_a_vamp_prior_is_evaluated_with_the_program():
    vae = program(PRIORS["VampPrior"])
    vae.posterior.network.layers.insert(0, nn.Dropout(0.5))
    z = torch.randn(4, D)
    assert not torch.equal(vae.prior().log_prob(z), vae.prior().log_prob(z))
    vae.eval()
    assert torch.equal(vae.prior().log_prob(z), vae.prior().log_prob(z))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianMixture(D, num_components=0), "num_components must be an integer of at least 1"),
        (
            lambda: GaussianMixture(D, 10).initialize_from_codes(codes(9)),
            "num_components must be at most the number of codes, 9, but",
        ),
        (lambda: FlowPrior(D, flow=Planar), "flow must have an inverse in a prior, .*, but Planar was given"),
        (lambda: FlowPrior(1, flow=AffineCoupling), "features of a coupling must be an integer of at least 2"),
        (lambda: VampPrior(D)(), "posterior must be given to a VampPrior by connect"),
        (lambda: VampPrior(D).initialize(data(3)), "posterior must be given to a VampPrior by connect"),
        (lambda: program(VampPrior, PointPosterior), "posterior must score every code .* but PointPosterior"),
        (lambda: program(VampPrior, partial(FlowPosterior, flow=Planar)), "posterior must score every code"),
        (lambda: program(VampPrior, VonMisesFisher), "prior and posterior must have one support"),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(InputError, match=f"^{message}"):
        make()
