"""Posteriors: densities against those made by hand, exact gradients of draws, steps that can be recorded."""

import copy
import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.distributions as td
from linear_gaussian import LinearGaussian
from torch import nn

from pyrovae import (
    MLP,
    VAE,
    AffineAutoregressive,
    AffineCoupling,
    Bernoulli,
    DiagonalNormal,
    FlowPosterior,
    FullCovarianceNormal,
    InputError,
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
    VonMisesFisher,
    log_weights,
)
from pyrovae.compilation import TrainingStep
from pyrovae.distributions import LowRankMultivariateNormal, NormalMixture
from pyrovae.objectives import Trace_ELBO, TraceMeanField_ELBO
from pyrovae.programs import private_modules

SHAPE, D = (5,), 3
small = partial(MLP, hidden_features=(16,))
FLOWS = [AffineAutoregressive, AffineCoupling, Planar, Radial, Spline, SplineAutoregressive, SplineCoupling]
POSTERIORS = {
    **{
        cls.__name__: cls
        for cls in (DiagonalNormal, FullCovarianceNormal, LowRankNormal, MixturePosterior, PointPosterior)
    },
    **{f"flow of {flow.__name__}": partial(FlowPosterior, flow=flow, num_layers=1) for flow in FLOWS},
    "VonMisesFisher": VonMisesFisher,
}
every_posterior = pytest.mark.parametrize("posterior", POSTERIORS.values(), ids=POSTERIORS)


def program(posterior, latent_dim=D):
    prior = SphericalUniform if posterior is VonMisesFisher else StandardNormal
    return VAE(prior(latent_dim), Bernoulli(SHAPE, latent_dim, small), posterior(SHAPE, latent_dim, small))


def data(count):
    return (torch.rand(count, *SHAPE) < 0.5).float()


def is_recorded(vae, batches, elbo=Trace_ELBO):
    """Take as many steps as it takes to record one and compare it with Pyro; a warning is an error."""
    step = TrainingStep(elbo(), "graph", [vae])
    with private_modules(), pyro.validation_enabled(False):
        for x in batches:
            assert math.isfinite(step.loss_and_grads(vae.model, vae.guide, x))
    return step.compile == "graph" and len(step._graphs) == 1


RECORDED = {
    name: posterior for name, posterior in POSTERIORS.items() if "Coupling" not in name and "Spline" not in name
}


@pytest.mark.slow
@pytest.mark.parametrize("posterior", RECORDED.values(), ids=RECORDED)  # splines and couplings: as priors
def test_the_step_is_recorded(posterior):
    assert is_recorded(program(posterior), data(30).split(10))


@pytest.mark.slow
@pytest.mark.parametrize("posterior", [FullCovarianceNormal, PointPosterior, VonMisesFisher])
def test_the_step_with_a_closed_kl_is_recorded(posterior):
    assert is_recorded(program(posterior), data(30).split(10), TraceMeanField_ELBO)


@every_posterior
def test_importance_weights_are_finite(posterior):
    if posterior is PointPosterior:
        pytest.skip("a point has no density")
    vae = program(posterior)
    found = log_weights(vae.model, vae.guide, data(4), num_samples=20)
    assert found.shape == (20, 4)
    assert found.isfinite().all()


@every_posterior
def test_programs_are_copied_and_one_dimension_is_enough(posterior):
    vae = program(posterior, 2 if posterior is VonMisesFisher or "Coupling" in str(posterior) else 1)
    x = data(4)
    torch.manual_seed(0)
    z = vae.guide(x)
    copied = copy.deepcopy(vae)  # after use, of which nothing must stay
    pyro.clear_param_store()
    torch.manual_seed(0)
    assert torch.equal(copied.guide(x), z)
    pyro.clear_param_store()


def test_full_covariance_is_that_of_its_factor():
    q = FullCovarianceNormal(SHAPE, D, small)
    fn = q(data(4))
    factor = fn.scale_tril
    assert torch.equal(factor, factor.tril())
    assert (factor.diagonal(dim1=-2, dim2=-1) > 0).all()
    assert (factor.tril(-1).abs().sum((-2, -1)) > 0).all()
    by_hand = td.MultivariateNormal(fn.mean, factor @ factor.mT)
    z = fn.sample((6,))
    torch.testing.assert_close(fn.log_prob(z), by_hand.log_prob(z), rtol=1e-4, atol=1e-4)


def test_low_rank_covariance_is_a_factor_and_a_diagonal():
    q = LowRankNormal(SHAPE, 4, small, rank=2).double()
    fn = q(data(3).double())
    covariance = fn.cov_factor @ fn.cov_factor.mT + fn.cov_diag.diag_embed()
    by_hand = td.MultivariateNormal(fn.mean, covariance)
    z = fn.sample((6,))
    torch.testing.assert_close(fn.log_prob(z), by_hand.log_prob(z))
    torch.testing.assert_close(fn.variance, by_hand.variance)
    more = fn.expand((6, 3))
    assert more.sample().shape == (6, 3, 4)
    torch.testing.assert_close(more.log_prob(z), fn.log_prob(z))


def test_low_rank_keeps_its_digits_in_single_precision():
    torch.manual_seed(0)
    loc, factor = torch.randn(8, 20), torch.randn(8, 20, 1).repeat(1, 1, 2)  # of which rank 2 is singular
    scale = torch.full((8, 20), 1e-4)
    fn = LowRankMultivariateNormal(loc, factor, scale)
    z = fn.rsample()
    assert z.dtype == fn.log_prob(z).dtype == fn.mean.dtype == torch.float32
    exact = td.MultivariateNormal(
        loc.double(), factor.double() @ factor.double().mT + scale.double().square().diag_embed()
    ).log_prob(z.double())
    torch.testing.assert_close(fn.log_prob(z).double(), exact, rtol=1e-4, atol=1e-2)
    with pytest.raises(RuntimeError, match="not positive-definite"):  # what it is for
        dist.LowRankMultivariateNormal(loc, factor, scale.square())


def test_full_covariance_can_be_the_exact_posterior():
    exact = LinearGaussian(latent_dim=2, data_dim=5, scale=0.5)
    q = FullCovarianceNormal(SHAPE, 2, partial(MLP, hidden_features=()), min_scale=0.0).double()
    gain = exact.covariance @ exact.W.T / exact.scale**2
    factor = torch.linalg.cholesky(exact.covariance)
    (layer,) = q.network.layers
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:2] = gain
        layer.bias[:2] = -gain @ exact.b
        layer.bias[2:4] = q.positive.inverse(factor.diagonal())
        layer.bias[4] = factor[1, 0]
    x = exact.simulate(3)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", q(x))

    found = log_weights(exact.model, guide, x, num_samples=10)
    torch.testing.assert_close(found, exact.log_prob(x).expand(10, 3))


def gradients(fn, parameters, value):
    """Differentiate a function of a batch of draws, one for each copy of the parameters."""
    copies = [part.expand(40_000, *part.shape).clone().requires_grad_() for part in parameters]
    return torch.autograd.grad(value(fn(*copies).rsample()).sum(), copies)


@pytest.mark.parametrize("spread", [1.0, 3.0])
@pytest.mark.parametrize("dim", [1, 2, 4])
def test_draws_of_a_mixture_follow_all_its_parameters(dim, spread):
    torch.manual_seed(dim)
    parameters = [torch.randn(3), spread * torch.randn(3, dim) / dim, 0.7 + torch.rand(3, dim)]
    parameters = [part.double().requires_grad_() for part in parameters]
    logits, loc, scale = parameters
    a = torch.linspace(-1, 2, dim).double()
    weight = logits.softmax(-1)
    first = weight @ loc
    moments = {  # of z, and of every product of two components, so that their dependence counts
        "linear": (lambda z: z @ a, first @ a),
        "square": (
            lambda z: (z @ a) ** 2,
            (weight * ((loc @ a) ** 2 + scale.square() @ a.square())).sum(),
        ),
    }
    for name, (value, expected) in moments.items():
        exact = torch.autograd.grad(expected, parameters, retain_graph=True, materialize_grads=True)
        found = gradients(NormalMixture, [part.detach() for part in parameters], value)
        for which, samples, right in zip(("logits", "loc", "scale"), found, exact, strict=True):
            error = samples.std(0) / len(samples) ** 0.5
            assert ((samples.mean(0) - right).abs() < 4.5 * error + 1e-9).all(), (name, which)


def test_a_mixture_of_normals_is_the_sum_of_their_densities():
    logits, loc, scale = torch.randn(4, 3), torch.randn(4, 3, 2), 0.2 + torch.rand(4, 3, 2)
    fn = NormalMixture(logits, loc, scale)
    z = fn.sample((6,))
    parts = td.Normal(loc, scale).log_prob(z.unsqueeze(-2)).sum(-1).exp()
    expected = (logits.softmax(-1) * parts).sum(-1).log()
    torch.testing.assert_close(fn.log_prob(z), expected)
    torch.testing.assert_close(fn.expand((6, 4)).log_prob(z), expected)
    for k in range(4):  # whose components all values have in common: computed otherwise
        one = NormalMixture(logits[k], loc[k], scale[k])
        torch.testing.assert_close(one.log_prob(z[:, k]), expected[:, k])
        torch.testing.assert_close(one.expand((6,)).log_prob(z[:, k]), expected[:, k])
    z = fn.sample((40_000,))
    torch.testing.assert_close(z.mean(0), fn.mean, rtol=0, atol=0.05)
    torch.testing.assert_close(z.var(0), fn.variance, rtol=0.08, atol=0)
    assert fn.expand((6, 4)).mean.shape == (6, 4, 2)


def test_a_common_mixture_keeps_its_digits_where_scales_are_small():
    loc, scale = 5 + torch.randn(50, 10), torch.full((50, 10), 1e-4)
    fn, exact = NormalMixture(torch.zeros(50), loc, scale), NormalMixture(torch.zeros(50), loc.double(), scale.double())
    z = fn.sample((20,))
    torch.testing.assert_close(fn.log_prob(z).double(), exact.log_prob(z.double()), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("flow", [Planar, Radial])
def test_a_flow_without_an_inverse_scores_its_own_draws_alone(flow):
    q = FlowPosterior(SHAPE, D, small, flow=flow)
    assert not q.has_density
    fn = q(data(4)).expand((6, 4))
    z = fn.rsample()
    assert fn.log_prob(z).shape == (6, 4)
    with pytest.raises(InputError, match=f"^flow must have an inverse.*but {flow.__name__} was given"):
        fn.log_prob(z.clone())


@pytest.mark.parametrize("flow", [flow for flow in FLOWS if flow.invertible])
def test_a_flow_scores_other_codes_as_its_own(flow):
    q = FlowPosterior(SHAPE, D, small, flow=flow, num_layers=3).double()
    fn = q(data(4).double())
    z = fn.rsample((6,))
    own = fn.log_prob(z)
    torch.testing.assert_close(fn.log_prob(z.clone()), own)


def test_a_flow_posterior_integrates_to_one():
    q = FlowPosterior(SHAPE, 2, small, context_features=4).double()
    axis = torch.linspace(-8, 8, 161, dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1)
    density = q(data(1)[0].double()).log_prob(grid).exp()
    assert density.sum().item() * 0.1**2 == pytest.approx(1, rel=1e-3)


def test_flows_see_the_datum_through_the_context():
    for context_features in (0, 4):
        q = FlowPosterior(SHAPE, D, small, context_features=context_features)
        with torch.no_grad():
            q.network.layers[-1].weight[: 2 * D] = 0  # one base for all data
        fn = q(data(2) + torch.tensor([[0.0], [3.0]]))
        z = torch.randn(D).expand(2, D)
        same = torch.allclose(*fn.log_prob(z))
        assert same == (context_features == 0)


def test_a_point_has_no_spread():
    q = PointPosterior(SHAPE, D, small)
    x = data(4)
    fn = q(x)
    assert torch.equal(fn.sample((2,)), q.network(x).expand(2, 4, D))
    assert torch.equal(fn.log_prob(fn.rsample()), torch.zeros(4))
    assert fn.rsample().requires_grad


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LowRankNormal(SHAPE, D, rank=0), "rank must be an integer of at least 1"),
        (lambda: MixturePosterior(SHAPE, D, num_components=0), "num_components must be an integer of at least 1"),
        (lambda: FlowPosterior(SHAPE, D, context_features=-1), "context_features must be an integer of at least 0"),
        (lambda: FlowPosterior(SHAPE, D, num_layers=0), "num_layers must be an integer of at least 1"),
        (lambda: FullCovarianceNormal(SHAPE, D, min_scale=-1.0), "min_scale must be a finite number"),
        (
            lambda: FlowPosterior(SHAPE, 1, flow=AffineCoupling),
            "features of a coupling must be an integer of at least 2",
        ),
        (lambda: FullCovarianceNormal(SHAPE, D, nn.Linear), "network must be a class"),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(InputError, match=f"^{message}"):
        make()
