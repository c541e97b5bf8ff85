"""Coordinates of one latent site: there and back, and the density of what is drawn."""

import math
from functools import partial

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints
from pyro.distributions.transforms import OrderedTransform
from torch import nn
from torch.distributions import AffineTransform, biject_to

from pyrovae import InputError
from pyrovae.distributions import LowRankMultivariateNormal, NormalMixture, UniformSphere, VonMisesFisher
from pyrovae.distributions.exact_density import log_density
from pyrovae.evaluation.likelihood.site_transforms import site_transform
from pyrovae.flows import AffineAutoregressive, Planar
from pyrovae.posteriors import FlowPosterior


def lower(*rows):
    return torch.tensor(rows, dtype=torch.float64)


TWO = torch.tensor([[0.5, 2.0], [-1.0, 0.3]], dtype=torch.float64)  # (B, 2), B = 2
TRIL = torch.stack([lower([1.0, 0.0], [0.7, 0.4]), lower([0.2, 0.0], [-0.5, 2.0])])


class Pushed(dist.TorchDistribution):
    """Normal noise, mapped to a support by Pyro's transform: its density is known whatever the support is."""

    arg_constraints = {}  # noqa: RUF012 - as torch's are
    has_rsample = True

    def __init__(self, support, size, batch_shape=(2,)):
        self._support, self.size = support, size
        value = biject_to(support)(torch.zeros(*batch_shape, *size).double())
        super().__init__(torch.Size(batch_shape), value.shape[len(batch_shape) :], validate_args=False)

    @property
    def support(self):
        return self._support

    def expand(self, batch_shape, _instance=None):
        return Pushed(self._support, self.size, batch_shape)

    def rsample(self, sample_shape=()):
        return biject_to(self._support)(0.6 * torch.randn(*sample_shape, *self.batch_shape, *self.size).double())

    def log_prob(self, z):
        transform = biject_to(self._support)
        v = transform.inv(z)
        volume = transform.log_abs_det_jacobian(v, z)
        normal = dist.Normal(torch.zeros(()).double(), 0.6, validate_args=False).log_prob(v)
        return _sum_over(normal, len(self.size)) - _sum_over(volume, volume.dim() - v.dim() + len(self.size))


def _sum_over(x, count):
    """Sum over the last ``count`` dimensions."""
    return x.flatten(x.dim() - count).sum(-1) if count else x


SUPPORTS = {
    constraints.real: (),
    constraints.independent(constraints.positive, 1): (2,),
    constraints.greater_than(-1.0): (),
    constraints.greater_than_eq(0.5): (),
    constraints.less_than(2.0): (),
    constraints.interval(-1.0, 3.0): (),
    constraints.unit_interval: (),
    constraints.half_open_interval(0.0, 2.0): (),
    constraints.simplex: (2,),
    constraints.corr_cholesky: (3,),
    constraints.corr_matrix: (1,),
    constraints.ordered_vector: (3,),
    constraints.positive_ordered_vector: (3,),
    constraints.softplus_positive: (),
    constraints.cat([constraints.positive, constraints.unit_interval], -1, [1, 2]): (3,),
    constraints.stack([constraints.positive, constraints.real], -1): (2,),
}

NOISE = {
    "diagonal normal": lambda: dist.Normal(TWO, TWO.abs()).to_event(1),
    "normal of no event": lambda: dist.Normal(TWO[:, 0], 0.3),
    "masked": lambda: dist.Normal(TWO, 1.0).to_event(1).mask(torch.tensor([True, False])),
    "full covariance": lambda: dist.MultivariateNormal(TWO, scale_tril=TRIL),
    "low rank": lambda: LowRankMultivariateNormal(TWO, TRIL[..., :1], TWO.abs()),
    "torch's low rank": lambda: dist.LowRankMultivariateNormal(TWO, TRIL[..., :1], TWO.abs()),
    "log-normal": lambda: dist.LogNormal(TWO, 0.3).to_event(1),
    "stick-breaking": lambda: dist.TransformedDistribution(
        dist.Normal(TWO, 1.0).to_event(1), [torch.distributions.StickBreakingTransform()]
    ),
}
VALUES = {
    "gamma": lambda: dist.Gamma(TWO.abs() + 1, 2.0).to_event(1),
    "beta of no event": lambda: dist.Beta(TWO[:, 0].abs() + 1, 2.0),
    "dirichlet": lambda: dist.Dirichlet(torch.cat((TWO.abs() + 1, torch.ones(2, 1)), 1)),
    "mixture": lambda: NormalMixture(
        torch.zeros(2, 2).double(), torch.stack((TWO, -TWO), 1), torch.ones(2, 2, 2).double()
    ),
    "cauchy": lambda: dist.Cauchy(TWO, 0.5).to_event(1),
    "uniform": lambda: dist.Uniform(TWO - 1, TWO + 2).to_event(1),
    "directions": lambda: VonMisesFisher(nn.functional.normalize(TWO, dim=-1), torch.tensor([3.0, 0.5]).double()),
    "folded": lambda: dist.HalfNormal(TWO.abs()).to_event(1),
    "gamma far below one": lambda: dist.Gamma(torch.tensor([0.01, 0.2]).double(), 2.0),
    "beta far below one": lambda: dist.Beta(torch.tensor([0.01, 0.2]).double(), torch.tensor([0.02, 1.0]).double()),
    "dirichlet far below one": lambda: dist.Dirichlet(torch.tensor([[0.01, 0.2, 0.02], [0.1, 0.1, 0.1]]).double()),
    "shifted": lambda: moved(dist.Gamma(TWO.abs() + 1, 2.0), 0.5),
    "from above": lambda: moved(dist.Gamma(TWO.abs() + 1, 2.0), -0.5),
    "stretched": lambda: dist.AffineBeta(TWO.abs(), TWO.abs(), TWO, TWO.abs()).to_event(1),
    "kumaraswamy": lambda: dist.Kumaraswamy(TWO.abs(), TWO.abs()).to_event(1),
    "weibull": lambda: dist.Weibull(TWO.abs(), TWO.abs()).to_event(1),
    "inverse gamma": lambda: dist.InverseGamma(TWO.abs(), TWO.abs()).to_event(1),
    "mixture of gammas": lambda: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2, 2).double()), dist.Gamma(TWO.abs() + 1, 2.0)
    ),
    "ordered": lambda: dist.TransformedDistribution(dist.Laplace(TWO, 1.0).to_event(1), [OrderedTransform()]),
    "correlations": lambda: dist.LKJCholesky(2, torch.tensor(2.0).double()).expand((2,)),
    "all directions": lambda: UniformSphere(3, torch.float64).expand((2,)),
    **{f"support {type(c).__name__} {i}": partial(Pushed, c, size) for i, (c, size) in enumerate(SUPPORTS.items())},
}


def test_every_support_that_has_a_transform_is_tested():
    assert set(biject_to._registry) <= {type(constraint) for constraint in SUPPORTS}


@pytest.mark.parametrize("name", ["positive_definite", "lower_cholesky", "positive_semidefinite", "symmetric"])
def test_supports_of_matrices_without_a_transform_are_refused(name):
    fn = type("OnMatrices", (_Odd,), {"support": getattr(constraints, name)})()
    with pytest.raises(InputError, match="must have a support with a transform to all reals to be annealed, but"):
        site_transform("z", fn, torch.eye(2).expand(64, 1, 2, 2))


def moved(fn, scale):
    return dist.TransformedDistribution(fn, [AffineTransform(3.0, scale)]).to_event(1)


def charted(make):
    fn = make()
    return fn, site_transform("z", fn, fn.expand((64, 2)).sample())


@pytest.mark.parametrize("name", [*NOISE, *VALUES])
def test_there_and_back(name):
    fn, transform = charted({**NOISE, **VALUES}[name])
    assert transform.is_noise == (name in NOISE)
    for lead in ((2,), (5, 2)):
        z, u = transform.draw(fn, lead)
        assert u.shape == (*lead, transform.size)
        assert z.shape == (*lead, *fn.event_shape)
        torch.testing.assert_close(transform.forward(fn, u), z, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(transform.forward(fn, transform.inverse(fn, z)), z, rtol=1e-9, atol=1e-9)
        log_prob = fn.expand(lead).log_prob(z)
        assert transform.log_density(fn, u, log_prob).shape == lead


@pytest.mark.parametrize("name", [*NOISE, *VALUES])
def test_the_density_of_coordinates_is_one(name):
    """The integral of it, by samples of a wide density: E[r(u) / wide(u)] = 1."""
    fn, transform = charted({**NOISE, **VALUES}[name])
    wide = dist.Laplace(torch.zeros(transform.size, dtype=torch.float64), 2.0).to_event(1)
    u = wide.sample((40_000, 2))
    z = transform.forward(fn, u)
    if name == "masked":
        fn = fn.base_dist
    ratio = (transform.log_density(fn, u, log_density(fn.expand((40_000, 2)), z)) - wide.log_prob(u)).exp()  # (S, B)
    error = ratio.std(0) / 200
    tails = 0.12 if name == "cauchy" else 0.0  # its mass lies further out than the wide normal reaches
    assert ((ratio.mean(0) - 1).abs() < 4 * error + tails).all()


def test_noise_has_the_density_that_the_value_has():
    """log N(u) - log |dz/du| is the site's own log-density."""
    for make in NOISE.values():
        fn, transform = charted(make)
        if isinstance(fn, dist.MaskedDistribution):
            continue
        u = torch.randn(2, transform.size, dtype=torch.float64)
        jacobian = torch.stack([_jacobian(fn, transform, u, i) for i in range(2)])
        if jacobian.shape[-1] != jacobian.shape[-2]:
            continue  # on the simplex, the volume is that of its first coordinates
        expected = transform.log_density(fn, u, torch.zeros(2)) - jacobian.slogdet()[1]
        torch.testing.assert_close(fn.log_prob(transform.forward(fn, u)), expected)


def _jacobian(fn, transform, u, i):
    def value(v):
        return transform.forward(fn, torch.stack([v if j == i else u[j] for j in range(2)])).reshape(2, -1)[i]

    return torch.autograd.functional.jacobian(value, u[i])


def test_a_flow_is_made_of_noise_and_is_inverted_only_on_demand():
    x = torch.zeros(2, 4)
    fn, transform = charted(lambda: FlowPosterior((4,), 2, flow=AffineAutoregressive)(x))
    assert transform.is_noise
    z, u = transform.draw(fn, (3, 2))
    torch.testing.assert_close(transform.inverse(fn, z), u, rtol=1e-4, atol=1e-4)
    fn, transform = charted(lambda: FlowPosterior((4,), 2, flow=Planar)(x))
    z, u = transform.draw(fn, (3, 2))
    torch.testing.assert_close(transform.forward(fn, u), z)
    with pytest.raises(InputError, match="start must be prior where the guide's flow has no inverse, as that of Pl"):
        transform.inverse(fn, z.clone())


def test_what_cannot_be_annealed_is_named():
    with pytest.raises(InputError, match="but 'y' is discrete"):
        site_transform("y", dist.Bernoulli(torch.tensor([0.5])), torch.zeros(64, 1))
    with pytest.raises(InputError, match="'r' must have a support with a transform"):
        site_transform("r", _Odd(), torch.zeros(64, 1))


class _Odd(dist.TorchDistribution):
    arg_constraints = {}  # noqa: RUF012 - as torch's are
    support = torch.distributions.constraints.dependent

    def __init__(self):
        super().__init__((1,), validate_args=False)


def test_whitened_values_are_of_order_one():
    fn = dist.Gamma(torch.tensor([[1e4]]), torch.tensor([[1e-3]])).to_event(1)
    transform = site_transform("z", fn, fn.expand((64, 1)).sample())
    _, u = transform.draw(fn, (500, 1))
    assert 0.5 < u.std().item() < 2
    assert abs(u.mean().item()) < 1
    assert math.isfinite(transform.log_density(fn, u, fn.log_prob(transform.forward(fn, u))).sum().item())
