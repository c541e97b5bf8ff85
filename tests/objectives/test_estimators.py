"""Gradient estimators: unbiased against the plain ones on a linear-Gaussian model, and quieter at the optimum."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrovae import IWAE, MIWAE, MLP, PIWAE, RWS, STL, DiagonalNormal, DReG, HierarchicalVAE, Trace_ELBO
from pyrovae.handlers import Temper
from pyrovae.programs import private_modules

D, N, B = 2, 3, 5


@pytest.fixture(autouse=True)
def _surroundings():
    with private_modules():
        yield


class Learned(nn.Module):
    """p(z) = N(0, I), p(x|z) = N(W z + b, 1), q(z|x) = N(A x + c, diag(s)^2), all of it learned, float64.

    With one latent dimension the guide can be exact.
    """

    def __init__(self, latent_dim=D, exact=False, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def draw(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.W, self.b = nn.Parameter(0.7 * draw(N, latent_dim)), nn.Parameter(draw(N))
        self.A, self.c = nn.Parameter(0.4 * draw(latent_dim, N)), nn.Parameter(0.3 * draw(latent_dim))
        self.log_s = nn.Parameter(-0.5 * torch.ones(latent_dim, dtype=torch.float64))
        if exact:
            assert latent_dim == 1
            variance = 1 / (1 + self.W.detach().square().sum())
            with torch.no_grad():
                self.A.copy_(variance * self.W.T)
                self.c.copy_(-variance * self.W.T @ self.b)
                self.log_s.fill_(0.5 * variance.log())

    def model(self, x):
        pyro.module("learned", self)
        zero = torch.zeros(len(self.c), dtype=torch.float64)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(zero, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.W.T + self.b, 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("learned", self)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ self.A.T + self.c, self.log_s.exp()).to_event(1))


class TwoLayers(nn.Module):
    """z2 ~ N(0, 1), z1 ~ N(v z2, 1), x ~ N(W z1, 1); q(z1|x), q(z2|z1): the second site's law hangs on the first's."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)

        def draw(*shape):
            return nn.Parameter(0.6 * torch.randn(*shape, generator=generator, dtype=torch.float64))

        self.W, self.v, self.A, self.a, self.log_s = draw(N, D), draw(D), draw(D, N), draw(D), draw(2)

    def model(self, x):
        pyro.module("two", self)
        zero = torch.zeros(D, dtype=torch.float64)
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(zero, 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(self.v * z2, 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z1 @ self.W.T, 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("two", self)
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z1", dist.Normal(x @ self.A.T, self.log_s[0].exp()).to_event(1))
            pyro.sample("z2", dist.Normal(self.a * z1, self.log_s[1].exp()).to_event(1))


def gradients(objective, program, x, repeats, beta=1.0, seed=0, copies=1):
    """Return the gradients of many independent draws, (R, P), by parameter name; each is the mean over the copies."""
    torch.manual_seed(seed)
    x = x.repeat(copies, 1)
    temper = Temper(torch.tensor(beta, dtype=torch.float64))
    model, guide = temper(program.model), temper(program.guide)
    found = {name: [] for name, _ in program.named_parameters()}
    for _ in range(repeats):
        program.zero_grad(set_to_none=True)
        objective.loss_and_grads(model, guide, x)
        for name, parameter in program.named_parameters():
            found[name].append(torch.zeros(parameter.numel()) if parameter.grad is None else parameter.grad.flatten())
    return {name: torch.stack(rows).double() / copies for name, rows in found.items()}


def assert_same_mean(a, b, sigmas=5.0):
    for name in a:
        difference = a[name].mean(0) - b[name].mean(0)
        error = (a[name].var(0) / len(a[name]) + b[name].var(0) / len(b[name])).sqrt()
        assert (difference.abs() <= sigmas * error + 1e-10).all(), (name, difference, error)


def data():
    return torch.randn(B, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 1.5


@pytest.mark.slow
@pytest.mark.parametrize("make", [Learned, TwoLayers])
@pytest.mark.parametrize("beta", [1.0, 0.4])
@pytest.mark.parametrize(
    ("estimator", "plain"),
    [(STL(1), Trace_ELBO()), (STL(4), Trace_ELBO()), (DReG(4), IWAE(4)), (DReG(1), Trace_ELBO())],
    ids=["STL", "STL of four", "DReG", "DReG of one"],
)
def test_the_gradients_have_the_mean_of_the_plain_ones(make, estimator, plain, beta):
    program = make()
    assert_same_mean(
        gradients(estimator, program, data(), 40, beta, copies=25),
        gradients(plain, program, data(), 40, beta, seed=1, copies=25),
    )


@pytest.mark.parametrize("make", [Learned, TwoLayers])
def test_piwae_trains_the_model_as_iwae_and_the_guide_as_miwae(make):
    program = make()
    found = gradients(PIWAE(3, 2), program, data(), 1)
    iwae, miwae = gradients(IWAE(6), program, data(), 1), gradients(MIWAE(3, 2), program, data(), 1)
    for name in found:  # from the same noise, they agree to rounding
        torch.testing.assert_close(found[name], (iwae if name in ("W", "b", "v") else miwae)[name])


@pytest.mark.slow
def test_weighted_landing_leaves_out_the_score_of_iwae_and_so_biases_the_guide_alone():
    program = Learned()
    with torch.no_grad():
        program.c += 0.5
    found, iwae = (gradients(kind, program, data(), 40, copies=25) for kind in (STL(4, weighted=True), IWAE(4)))
    for name in ("W", "b"):  # from the same noise, they agree to rounding
        torch.testing.assert_close(found[name], iwae[name])
    bias = found["c"].mean(0) - iwae["c"].mean(0)
    error = ((found["c"].var(0) + iwae["c"].var(0)) / 40).sqrt()
    assert (bias.abs() > 5 * error).any()


@pytest.mark.slow
def test_path_gradients_vanish_at_the_exact_posterior_where_the_plain_ones_do_not():
    program = Learned(latent_dim=1, exact=True)
    plain, path = gradients(IWAE(3), program, data(), 30), gradients(DReG(3), program, data(), 30)
    landing, elbo = gradients(STL(1), program, data(), 30), gradients(Trace_ELBO(), program, data(), 30)
    for name in ("A", "c", "log_s"):
        assert path[name].abs().max() < 1e-9
        assert landing[name].abs().max() < 1e-9
        assert plain[name].std(0).min() > 1e-3
        assert elbo[name].std(0).min() > 1e-3


@pytest.mark.slow
def test_path_gradients_are_quieter_near_the_optimum():
    program = Learned(latent_dim=1, exact=True)
    with torch.no_grad():
        program.c += 0.05
    for quiet, plain in ((DReG(5), IWAE(5)), (STL(1), Trace_ELBO())):
        a, b = gradients(quiet, program, data(), 60), gradients(plain, program, data(), 60)
        for name in ("A", "c", "log_s"):
            assert a[name].var(0).sum() < 0.2 * b[name].var(0).sum()


def test_wake_sleep_trains_the_model_as_iwae_does():
    program = Learned()
    found, iwae = gradients(RWS(6), program, data(), 1), gradients(IWAE(6), program, data(), 1)
    for name in ("W", "b"):
        torch.testing.assert_close(found[name], iwae[name])


def exact_wake_gradient(program, x):
    """Differentiate -E log q(z|x) under the exact posterior in closed form."""
    W, b = program.W.detach(), program.b.detach()
    covariance = torch.linalg.inv(torch.eye(D, dtype=torch.float64) + W.T @ W)
    mean = (x - b) @ W @ covariance
    loc, s = x @ program.A.T + program.c, program.log_s.exp()
    cross = (((mean - loc) ** 2 + covariance.diagonal()) / (2 * s**2) + program.log_s).sum()
    return dict(
        zip(("A", "c", "log_s"), torch.autograd.grad(cross, (program.A, program.c, program.log_s)), strict=True)
    )


@pytest.mark.slow
def test_the_wake_phase_follows_the_exact_posterior():
    program = Learned()
    found = gradients(RWS(3000), program, data(), 60)
    for name, expected in exact_wake_gradient(program, data()).items():
        error = found[name].std(0) / math.sqrt(60)
        assert ((found[name].mean(0) - expected.flatten()).abs() <= 5 * error + 0.02 * expected.abs().max()).all(), name


@pytest.mark.slow
def test_the_sleep_phase_has_no_drift_at_the_exact_posterior_of_dreams():
    program = Learned(latent_dim=1, exact=True)
    found = gradients(RWS(2, sleep=1.0), program, data(), 40, copies=25)
    for name in ("A", "c", "log_s"):
        error = found[name].std(0) / math.sqrt(40)
        assert (found[name].mean(0).abs() <= 5 * error).all(), name
        assert (found[name].std(0) > 1e-3).all()


@pytest.mark.slow
def test_wake_sleep_takes_discrete_latents_and_finds_their_posterior():
    logits = nn.Parameter(torch.zeros(2))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Categorical(torch.tensor([0.3, 0.7])))
            pyro.sample("x", dist.Normal(2.0 * z, 1.0), obs=x)

    def guide(x):
        pyro.param("logits", logits)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Categorical(logits=logits))

    x = torch.full((50,), 0.7)
    objective, optimizer = RWS(20), torch.optim.Adam([logits], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        objective.loss_and_grads(model, guide, x)
        optimizer.step()
    joint = torch.tensor([0.3, 0.7]).log() + dist.Normal(torch.tensor([0.0, 2.0]), 1.0).log_prob(x[0])
    assert torch.allclose(logits.softmax(0), joint.softmax(0), atol=0.04)
    pyro.get_param_store().clear()


@pytest.mark.slow
@pytest.mark.parametrize("inference", ["bottom_up", "ladder"])
@pytest.mark.parametrize(
    ("estimator", "plain"),
    [(STL(2), Trace_ELBO(num_particles=2)), (DReG(2), IWAE(2)), (PIWAE(1, 2), IWAE(2)), (RWS(2), IWAE(2))],
)
def test_samples_are_scored_by_what_drew_them_under_dropout(inference, estimator, plain):
    """Two sites, and a guide that is another function at each run: it must be run once."""
    torch.manual_seed(0)
    dropping = partial(DiagonalNormal, network=partial(MLP, hidden_features=(16,), dropout=0.5))
    program = HierarchicalVAE((6,), 2, dims=(3,), posterior=dropping, layer_posterior=dropping, inference=inference)
    with torch.no_grad():
        for parameter in program.posteriors.parameters():
            parameter.mul_(3)
    x = torch.rand(64, 6).round()

    def losses(objective):
        torch.manual_seed(1)
        return torch.tensor([objective.loss(program.model, program.guide, x) for _ in range(60)])

    found, expected = losses(estimator), losses(plain)
    error = math.hypot(found.std().item(), expected.std().item()) / math.sqrt(60)
    assert found.mean().item() == pytest.approx(expected.mean().item(), abs=5 * error)
    assert found.std() < 2 * expected.std()
