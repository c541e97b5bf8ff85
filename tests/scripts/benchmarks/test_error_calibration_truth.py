"""The truth that told errors are measured against: quadrature over two latents."""

import math
import sys
from functools import partial

import pytest
import torch
from script_modules import ROOT
from torch.distributions import MultivariateNormal

import pyrovae as pv


@pytest.fixture
def truth(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "benchmarks"))
    import error_calibration_truth

    yield error_calibration_truth
    del sys.modules["error_calibration_truth"]


def linear_vae(spread, scale):
    linear = partial(pv.MLP, hidden_features=())
    vae = pv.VAE(
        pv.LearnedNormal(2),
        pv.Gaussian((5,), 2, network=linear, scale="fixed", initial_scale=scale),
        pv.DiagonalNormal((5,), 2, network=linear),
    )
    vae.prior.initialize_from_codes(spread * torch.tensor([[-1.0, 0.5], [1.0, 3.5]]))
    return vae


# Wide posteriors, and those of a hundredth; far apart, so that the square must be widened.
@pytest.mark.parametrize(("spread", "scale"), [(1.0, 1.0), (1.0, 0.01), (9.0, 0.5)])
def test_quadrature_is_exact_for_a_linear_gaussian(truth, spread, scale):
    torch.manual_seed(0)
    vae = linear_vae(spread, scale)
    x = vae.likelihood(vae.prior().sample((6,))).sample()
    prior, layer = vae.double().prior(), vae.likelihood.network.layers[-1]
    noise = vae.likelihood.positive(vae.likelihood.raw_scale).square()  # as it was rounded to float32
    covariance = layer.weight @ prior.variance.diag() @ layer.weight.T + noise * torch.eye(5)
    exact = MultivariateNormal(layer(prior.mean), covariance).log_prob(x.double())
    torch.testing.assert_close(truth.exact_log_marginal(vae, x), exact.detach(), atol=5e-6, rtol=0)


@pytest.mark.slow
def test_bends_of_rectifiers_do_not_matter(truth):
    torch.manual_seed(0)
    network = partial(pv.MLP, hidden_features=(8,), initialization="he")
    vae = pv.VAE(pv.StandardNormal(2), pv.Bernoulli((9,), 2, network=network), pv.DiagonalNormal((9,), 2))
    x = vae.likelihood(torch.randn(3, 2)).sample()
    axis = (torch.arange(1000).double() + 0.5) / 1000 * 14 - 7
    dense = truth.log_joint(vae.double(), torch.cartesian_prod(axis, axis), x.double()).logsumexp(0)
    dense = dense + 2 * math.log(14 / 1000)
    torch.testing.assert_close(truth.exact_log_marginal(vae, x), dense.detach(), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_what_was_trained_is_read_again(truth, tmp_path, monkeypatch):
    monkeypatch.setattr(truth, "CASES", {"digits, Bernoulli": truth.Case(epochs=1, hidden_features=(4,))})
    monkeypatch.setattr(truth, "NUM_IMAGES", 3)
    (first,) = truth.models(tmp_path)
    monkeypatch.setattr(pv, "fit", None)
    monkeypatch.setattr(truth, "exact_log_marginal", None)
    (again,) = truth.models(tmp_path)
    assert torch.equal(first.log_prob, again.log_prob)
    assert torch.equal(first.x, again.x)
    assert first.train_elbo == again.train_elbo
