"""Directions: normalisers against SciPy's Bessel functions, moments, and gradients against their exact values."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pyro.distributions import constraints
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from scipy.integrate import quad
from scipy.special import gammaln, ive
from torch.distributions import kl_divergence

from pyrovae import (
    VAE,
    Bernoulli,
    InputError,
    SphericalUniform,
    StandardNormal,
    distributions,
)
from pyrovae import VonMisesFisher as Posterior
from pyrovae.distributions import UniformSphere, VonMisesFisher
from pyrovae.distributions.von_mises_fisher import _angle_slope, _bessel
from pyrovae.programs import private_modules

DIMS = [2, 3, 5, 10, 50, 200]
KAPPA = np.logspace(-3, 5, 60)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def pole(dim):
    return torch.eye(dim, dtype=torch.float64)[-1]


def moments(kappa, dim):
    """Return the mean cosine and its derivative with respect to kappa, by SciPy."""
    mean = ive(dim / 2, kappa) / ive(dim / 2 - 1, kappa)
    return mean, 1 - mean**2 - (dim - 1) / kappa * mean


@pytest.mark.parametrize("dim", DIMS)
def test_normaliser_and_mean_are_those_of_scipy(dim):
    order = dim / 2 - 1
    scaled, above = ive(order, KAPPA), ive(order + 1, KAPPA)
    known = (scaled > 1e-280) & (above > 1e-280)  # SciPy underflows where the order is high and kappa small
    assert known.sum() > 20
    growth, mean, slope = (value[known].numpy() for value in _bessel(torch.from_numpy(KAPPA), dim))
    kappa, scaled, above = KAPPA[known], scaled[known], above[known]
    expected = np.log(scaled) + kappa - order * np.log(kappa / 2) + gammaln(order + 1)
    np.testing.assert_allclose(growth, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(mean, above / scaled, rtol=1e-10)
    flat = kappa < 100  # beyond, the derivative is a small difference, in SciPy's numbers above all
    np.testing.assert_allclose(slope[flat], moments(kappa, dim)[1][flat], rtol=1e-6)


def test_no_concentration_is_uniform():
    for dim in DIMS:
        z = UniformSphere(dim, torch.float64).sample((3,))
        found = VonMisesFisher(pole(dim), tensor(0.0)).log_prob(z)
        torch.testing.assert_close(found, UniformSphere(dim).log_prob(z))


@pytest.mark.parametrize("kappa", [0.1, 3.0, 200.0])
def test_the_density_integrates_to_one(kappa):
    angle = torch.arange(4096, dtype=torch.float64) * 2 * math.pi / 4096
    circle = torch.stack((angle.cos(), angle.sin()), -1)
    density = VonMisesFisher(F.normalize(tensor(1.0, 2.0), dim=0), tensor(kappa).squeeze()).log_prob(circle).exp()
    assert density.mean().item() * 2 * math.pi == pytest.approx(1, rel=1e-8)
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(200))
    angle = torch.arange(200, dtype=torch.float64) * 2 * math.pi / 200
    radius = (1 - nodes**2).sqrt()[:, None]
    sphere = torch.stack((radius * angle.cos(), radius * angle.sin(), nodes[:, None].expand(200, 200)), -1)
    mean = F.normalize(tensor(1.0, -2.0, 0.5), dim=0)
    density = VonMisesFisher(mean, tensor(kappa).squeeze()).log_prob(sphere).exp()
    assert (density.mean(1) * weights).sum().item() * 2 * math.pi == pytest.approx(1, rel=1e-8)
    assert UniformSphere(3).log_prob(sphere[0, 0]).exp().item() * 4 * math.pi == pytest.approx(1)


@pytest.mark.parametrize("kappa", [0.5, 10.0, 2000.0])
@pytest.mark.parametrize("dim", [2, 3, 40])
def test_samples_and_their_gradients_have_the_exact_means(dim, kappa):
    count = 10_000
    mean, slope = moments(kappa, dim)
    concentration = torch.full((count,), kappa, dtype=torch.float64, requires_grad=True)
    cosine = VonMisesFisher(pole(dim), concentration).rsample() @ pole(dim)
    (gradient,) = torch.autograd.grad(cosine.sum(), concentration)

    def near(samples, expected):
        error = samples.std().item() / count**0.5
        assert samples.mean().item() == pytest.approx(expected, abs=4.5 * error + 1e-12)

    near(cosine, mean)
    near(cosine**2, 1 - (dim - 1) / kappa * mean)
    near(gradient, slope)


@pytest.mark.parametrize("start", ["axis", "opposite", "between", "far"])
def test_the_gradient_with_respect_to_the_mean_direction_is_exact(start):
    dim, kappa, count = 4, 5.0, 20_000
    raw = {
        "axis": tensor(1.0, 0.0, 0.0, 0.0),
        "opposite": tensor(-1.0, 1e-3, 0.0, 0.0),
        "between": tensor(0.0, 1.0, 1.0, 0.0),
        "far": tensor(0.3, -0.5, 0.1, 2.0),
    }[start]
    at = raw.expand(count, -1).clone().requires_grad_()
    towards = tensor(1.0, 2.0, -1.0, 0.5)
    z = VonMisesFisher(F.normalize(at, dim=-1), tensor(kappa).squeeze()).rsample()
    (gradient,) = torch.autograd.grad((z @ towards).sum(), at)
    unit = F.normalize(raw, dim=0)
    expected = moments(kappa, dim)[0] * (towards - unit * (unit @ towards)) / raw.norm()
    error = gradient.std(0) / count**0.5
    assert ((gradient.mean(0) - expected).abs() < 4.5 * error + 1e-9).all()


@pytest.mark.parametrize(("dim", "kappa"), [(2, 3.0), (2, 1e4), (5, 0.1), (5, 40.0), (60, 3e3), (2000, 1.0)])
def test_the_angle_follows_the_concentration_as_its_distribution_does(dim, kappa):
    mean = _bessel(tensor(kappa), dim)[1].item()
    spread = (dim - 1 + kappa) ** -0.5
    middle = math.acos(mean)
    for angle in (middle - 2 * spread, middle - 0.3 * spread, middle + 0.3 * spread, middle + 4 * spread):
        if not 0 < angle < math.pi:
            continue

        def integrand(t, angle=angle):
            ratio = math.exp(kappa * (math.cos(t) - math.cos(angle))) * (math.sin(t) / math.sin(angle)) ** (dim - 2)
            return (math.cos(t) - mean) * ratio

        if angle < middle:
            expected = -quad(integrand, max(0, angle - 12 * spread), angle, epsabs=0, epsrel=1e-9)[0]
        else:  # the rest of an integral that is zero in all
            expected = quad(integrand, angle, min(math.pi, angle + 12 * spread), epsabs=0, epsrel=1e-9)[0]
        found = _angle_slope(tensor(angle), tensor(kappa), tensor(mean), dim).item()
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dim", [2, 3, 50, 300])
def test_samples_lie_on_the_sphere_in_single_precision(dim):
    for kappa in (0.0, 1.0, 1e5):
        p = VonMisesFisher(F.normalize(torch.randn(50, dim), dim=-1), torch.tensor(kappa))
        z = p.rsample((20,))
        assert z.dtype == torch.float32
        assert constraints.sphere.check(z).all()
        exact = VonMisesFisher(p.loc.double(), torch.tensor(kappa), validate_args=False).log_prob(z.double())
        torch.testing.assert_close(p.log_prob(z).double(), exact, rtol=1e-4, atol=1e-3)
    assert constraints.sphere.check(UniformSphere(dim).sample((1000,))).all()


def test_uniform_directions_have_no_preferred_one():
    z = UniformSphere(4, torch.float64).sample((50_000,))
    assert z.mean(0).abs().max() < 0.012
    torch.testing.assert_close(z.T @ z / len(z), torch.eye(4, dtype=torch.float64) / 4, rtol=0, atol=0.01)
    assert torch.equal(UniformSphere(4).mean, torch.zeros(4))


@pytest.mark.slow
@pytest.mark.parametrize("dim", [2, 10])
def test_kl_to_the_uniform_has_a_closed_form(dim):
    kappa = tensor(0.01, 2.0, 50.0).requires_grad_()
    p, q = VonMisesFisher(pole(dim), kappa), UniformSphere(dim, torch.float64)
    kl = kl_divergence(p, q.expand((3,)))
    z = p.sample((20_000,))
    sampled = p.log_prob(z) - q.log_prob(z)
    assert ((sampled.mean(0) - kl).abs() < 4.5 * sampled.std(0) / 20_000**0.5 + 1e-9).all()
    (gradient,) = torch.autograd.grad(kl.sum(), kappa)
    slope = moments(kappa.detach().numpy(), dim)[1]
    torch.testing.assert_close(gradient, kappa.detach() * torch.from_numpy(slope))


def test_log_prob_has_the_right_gradients():
    p_of = lambda kappa: VonMisesFisher(pole(6), kappa).log_prob(F.normalize(torch.ones(6).double(), dim=0))  # noqa: E731
    kappa = tensor(0.3, 4.0, 90.0).requires_grad_()
    assert torch.autograd.gradcheck(p_of, kappa)


def test_more_batch_dimensions():
    p = VonMisesFisher(F.normalize(torch.randn(4, 3), dim=-1), torch.rand(4))
    more = p.expand((5, 4))
    z = more.sample()
    assert z.shape == (5, 4, 3)
    torch.testing.assert_close(more.log_prob(z), p.log_prob(z))
    torch.testing.assert_close(more.mean[2], p.mean)
    assert UniformSphere(3).expand((5, 4)).sample().shape == (5, 4, 3)
    assert UniformSphere(3).expand((5, 4)).log_prob(z).shape == (5, 4)


@pytest.mark.slow
def test_the_closed_kl_is_what_training_uses():
    vae = VAE(SphericalUniform(3), Bernoulli((4,), 3), Posterior((4,), 3))
    x = torch.rand(64, 4).round()
    with private_modules():
        exact, sampled = (
            torch.tensor([elbo().loss(vae.model, vae.guide, x) for _ in range(60)])
            for elbo in (TraceMeanField_ELBO, Trace_ELBO)
        )
    assert exact.mean().item() == pytest.approx(sampled.mean().item(), abs=4 * sampled.std().item() / 60**0.5)
    assert exact.std() < sampled.std()


@pytest.mark.parametrize(
    "make", [lambda: SphericalUniform(1), lambda: Posterior((4,), 1), lambda: UniformSphere(1)], ids=["prior", "q", "p"]
)
def test_a_sphere_needs_two_components(make):
    with pytest.raises(InputError, match="must be an integer of at least 2, but 1 was given"):
        make()


def test_a_mean_direction_needs_two_components():
    with pytest.raises(InputError, match=r"^loc must have at least 2 components"):
        distributions.VonMisesFisher(torch.ones(1), torch.tensor(1.0))


def test_spheres_and_vectors_do_not_mix():
    with pytest.raises(InputError, match="one support, but that of StandardNormal is Real vectors and that of Von"):
        VAE(StandardNormal(3), Bernoulli((4,), 3), Posterior((4,), 3))
