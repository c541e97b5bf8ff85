"""The fused log_prob of a decoder's last layer gives what the plain one gives, wherever it is taken."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyrovae import (
    MLP,
    VAE,
    Annealed,
    Bernoulli,
    ConvolutionalDecoder,
    DiagonalNormal,
    GatedMLP,
    Importance,
    StandardNormal,
    log_marginal,
    log_weights,
)
from pyrovae.distributions import LinearBernoulli, UnitBernoulli
from pyrovae.distributions.linear_bernoulli import _LOGITS_AT_A_TIME
from pyrovae.matmul import fast_matmul, precision
from pyrovae.networks import split_last_linear

SHAPE = (1, 7, 5)  # 35 pixels, which are not a multiple of four


def pair(lead=(20, 6), features=8, event_shape=SHAPE, scale=1.0, dtype=torch.float32, bias=True):
    """Return coins by features, and the same coins by their logits."""
    h = torch.randn(*lead, features, dtype=dtype)
    W = scale * torch.randn(math.prod(event_shape), features, dtype=dtype)
    b = torch.randn(len(W), dtype=dtype) - 2 if bias else None
    plain = UnitBernoulli(logits=F.linear(h, W, b).reshape(*lead, *event_shape), validate_args=False)
    return LinearBernoulli(h, W, b, event_shape), plain.to_event(len(event_shape))


def is_fused(fn):
    return "base_dist" not in vars(fn)  # no logits were kept


@pytest.mark.parametrize("lead", [(20,), (20, 6), (20, 1, 6), (20, 3, 2)])
@pytest.mark.parametrize("event_shape", [(784,), SHAPE, (4,), (3,), (1,)])
@pytest.mark.parametrize("bias", [True, False])
def test_log_prob_is_that_of_the_logits(lead, event_shape, bias):
    fused, plain = pair(lead, event_shape=event_shape, bias=bias)
    assert (fused.batch_shape, fused.event_shape) == (lead, event_shape)
    for x in (torch.rand(lead[1:] + event_shape).round(), torch.rand(lead[1:] + event_shape)):  # binary and grey
        torch.testing.assert_close(fused.log_prob(x), plain.log_prob(x), rtol=1e-5, atol=1e-4)
    assert is_fused(fused)


def test_many_rows_are_gone_through_in_parts():
    fused, plain = pair((2 * _LOGITS_AT_A_TIME // 784 + 5, 2), event_shape=(784,))
    x = torch.rand(2, 784).round()
    torch.testing.assert_close(fused.log_prob(x), plain.log_prob(x), rtol=1e-5, atol=1e-3)
    assert is_fused(fused)


def test_double_precision_keeps_its_digits():
    fused, plain = pair(dtype=torch.float64)
    x = torch.rand(6, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(fused.log_prob(x), plain.log_prob(x), rtol=1e-13, atol=1e-12)
    assert is_fused(fused)
    x = x.float()  # of another type than the features
    torch.testing.assert_close(fused.log_prob(x), plain.log_prob(x))


@pytest.mark.parametrize("scale", [2.0, 30.0, 1e3, 1e30])
def test_extreme_logits_are_weighed_as_the_plain_path_weighs_them(scale):
    fused, plain = pair(scale=scale)
    x = torch.rand(6, *SHAPE).round()
    torch.testing.assert_close(fused.log_prob(x), plain.log_prob(x), rtol=1e-5, atol=1e-3)
    assert is_fused(fused)


@pytest.mark.parametrize("wrong", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_comes_out_as_on_the_plain_path(wrong):
    for part in ("features", "weight", "bias", "x"):
        fused, _ = pair()
        x = torch.rand(6, *SHAPE).round()
        tensors = {"features": fused.features, "weight": fused.weight, "bias": fused.bias, "x": x}
        tensors[part].view(-1)[3] = wrong
        logits = F.linear(fused.features, fused.weight, fused.bias).reshape(20, 6, *SHAPE)
        expected = UnitBernoulli(logits=logits, validate_args=False).to_event(3).log_prob(x)
        torch.testing.assert_close(fused.log_prob(x), expected, rtol=1e-5, atol=1e-4, equal_nan=True)


def test_as_many_data_as_rows_take_the_plain_path():
    fused, plain = pair()
    for shape in ((20, 6), (20, 1), (15, 1, 6)):
        x = torch.rand(*shape, *SHAPE)
        torch.testing.assert_close(fused.log_prob(x), plain.log_prob(x))


def test_gradients_in_the_features_are_those_of_the_logits():
    fused, _ = pair()
    h = fused.features.requires_grad_()
    x, weights = torch.rand(6, *SHAPE), torch.randn(20, 6)
    logits = F.linear(h, fused.weight, fused.bias).reshape(20, 6, *SHAPE)
    expected = torch.autograd.grad((UnitBernoulli(logits=logits).to_event(3).log_prob(x) * weights).sum(), h)[0]
    found = torch.autograd.grad((fused.log_prob(x) * weights).sum(), h)[0]
    assert is_fused(fused)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_gradients_in_the_parameters_are_not_lost():
    fused, _ = pair()
    fused.weight.requires_grad_()
    x = torch.rand(6, *SHAPE)
    logits = F.linear(fused.features, fused.weight, fused.bias).reshape(20, 6, *SHAPE)
    expected = torch.autograd.grad(UnitBernoulli(logits=logits).to_event(3).log_prob(x).sum(), fused.weight)[0]
    found = torch.autograd.grad(fused.log_prob(x).sum(), fused.weight)[0]
    torch.testing.assert_close(found, expected)


def test_it_is_a_distribution_like_the_plain_one():
    fused, plain = pair((6,))
    assert fused.support.event_dim == plain.support.event_dim == 3
    assert fused.support.is_discrete == plain.support.is_discrete
    assert (fused.has_rsample, fused.has_enumerate_support) == (False, False)
    torch.testing.assert_close(fused.mean, plain.mean)
    torch.testing.assert_close(fused.variance, plain.variance)
    torch.manual_seed(0)
    drawn = fused.sample((3,))
    torch.manual_seed(0)
    assert torch.equal(drawn, plain.sample((3,)))
    x = torch.rand(6, *SHAPE)
    torch.testing.assert_close(fused.expand((4, 6)).log_prob(x), plain.expand((4, 6)).log_prob(x))
    torch.testing.assert_close(fused.expand((4, 6)).mean, plain.expand((4, 6)).mean)
    torch.testing.assert_close(fused.to_event(1).log_prob(x), plain.to_event(1).log_prob(x))
    mask = torch.arange(6) % 2 == 0
    torch.testing.assert_close(fused.mask(mask).log_prob(x), plain.mask(mask).log_prob(x))
    assert isinstance(fused, dist.Independent)


@pytest.mark.parametrize("network", [MLP, GatedMLP, partial(MLP, hidden_features=()), partial(MLP, dropout=0.5)])
def test_the_likelihood_offers_it_where_digits_may_differ(network):
    likelihood = Bernoulli(SHAPE, 3, network).eval()
    z, x = torch.randn(50, 4, 3), torch.rand(4, *SHAPE).round()
    plain = likelihood(z)
    with fast_matmul(), pyro.validation_enabled(False), torch.no_grad():
        fused = likelihood(z)
        assert isinstance(fused, LinearBernoulli)
        torch.testing.assert_close(fused.log_prob(x), plain.log_prob(x), rtol=1e-5, atol=1e-4)
        assert is_fused(fused)
    with fast_matmul(), pyro.validation_enabled(True):
        assert not isinstance(likelihood(z), LinearBernoulli)  # the values are validated there
    assert not isinstance(plain, LinearBernoulli)


class Doubled(MLP):
    def forward(self, x):
        return 2 * super().forward(x)


def hooked(*shapes):
    network = MLP(*shapes)
    network.register_forward_hook(lambda module, given, made: 2 * made)
    return network


def normalized(*shapes):
    network = MLP(*shapes)
    nn.utils.parametrizations.weight_norm(network.layers[-1])
    return network


def appended(*shapes):
    network = MLP(*shapes)
    network.layers.append(nn.Softplus())
    return network


class Called(MLP):
    def __call__(self, *args):
        return 3 * super().__call__(*args)


class Tripled(nn.Sequential):
    def forward(self, x):
        return 3 * super().forward(x)


class Delegating(nn.Module):
    """It has all that its network has, and a forward of its own."""

    def __init__(self, *shapes):
        super().__init__()
        self.network = MLP(*shapes)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.network, name)

    def forward(self, x):
        return 3 * self.network(x)


def with_layers(change):
    def make(*shapes):
        network = MLP(*shapes)
        change(network)
        return network

    return make


hooked_layers = with_layers(lambda network: network.layers.register_forward_hook(lambda *parts: 3 * parts[-1]))
prehooked_layers = with_layers(
    lambda network: network.layers.register_forward_pre_hook(lambda _, given: (3 * given[0],))
)
replaced_layers = with_layers(lambda network: setattr(network, "layers", Tripled(*network.layers)))
patched_layers = with_layers(lambda network: setattr(network.layers, "forward", lambda x: x))


@pytest.mark.parametrize(
    "network",
    [
        *(Doubled, hooked, normalized, appended, nn.Linear, Called, Delegating),
        *(hooked_layers, prehooked_layers, replaced_layers, patched_layers),
    ],
)
def test_a_network_that_does_otherwise_is_not_cut_open(network):
    assert split_last_linear(network(3, 35), torch.zeros(3)) is None


def test_a_convolutional_decoder_takes_the_plain_path():
    likelihood = Bernoulli((1, 8, 8), 3, ConvolutionalDecoder)
    with fast_matmul(), pyro.validation_enabled(False):
        assert not isinstance(likelihood(torch.zeros(2, 3)), LinearBernoulli)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["importance", "annealed"])
def test_evaluations_are_those_of_the_plain_path(method, monkeypatch):
    vae = VAE(StandardNormal(3), Bernoulli((1, 28, 28), 3), DiagonalNormal((1, 28, 28), 3))
    vae.likelihood.initialize(torch.rand(100, 1, 28, 28).round())
    x = torch.rand(10, 1, 28, 28).round()

    def evaluated():
        torch.manual_seed(0)
        return log_marginal(
            vae.model, vae.guide, x, Importance(20) if method == "importance" else Annealed(10, num_chains=4)
        )

    fused = evaluated()
    monkeypatch.setattr("pyrovae.likelihoods.bernoulli.is_fast_matmul", lambda z: False)
    plain = evaluated()
    tolerance = 1e-3 if method == "importance" else 0.5  # chains part where a rounding decides
    torch.testing.assert_close(fused.log_prob, plain.log_prob, rtol=0, atol=tolerance)


def test_data_that_are_no_coins_are_still_weighed():
    vae = VAE(StandardNormal(3), Bernoulli((4,), 3), DiagonalNormal((4,), 3))
    assert log_weights(vae.model, vae.guide, torch.rand(5, 4), 30).isfinite().all()


def test_a_hook_on_all_modules_is_heeded():
    network = MLP(3, 35)
    assert split_last_linear(network, torch.zeros(3)) is not None
    handle = nn.modules.module.register_module_forward_hook(lambda *parts: None)
    try:
        assert split_last_linear(network, torch.zeros(3)) is None
    finally:
        handle.remove()


def test_second_derivatives_are_the_plain_ones():
    torch.manual_seed(0)
    likelihood = Bernoulli((1, 8, 8), 3).double().requires_grad_(False)
    x, z = torch.rand(1, 8, 8).round().double(), torch.randn(5, 3, dtype=torch.float64)
    with pyro.validation_enabled(False):
        expected = torch.autograd.functional.hessian(lambda z: likelihood(z).log_prob(x).sum(), z)
        with fast_matmul():
            assert isinstance(likelihood(z), LinearBernoulli)
            found = torch.autograd.functional.hessian(lambda z: likelihood(z).log_prob(x).sum(), z)
    torch.testing.assert_close(found, expected)
    assert expected.abs().max() > 1e-3


def test_where_operations_are_cast_or_transformed_the_plain_path_is_taken():
    likelihood = Bernoulli((1, 8, 8), 3)
    x, z = torch.rand(1, 8, 8).round(), torch.randn(5, 3)
    with fast_matmul(), pyro.validation_enabled(False):
        with torch.autocast("cpu", torch.bfloat16):
            assert not isinstance(likelihood(z), LinearBernoulli)
        with precision("bfloat16", z.device):
            assert not isinstance(likelihood(z), LinearBernoulli)
        found = torch.func.vmap(lambda z: likelihood(z).log_prob(x))(z)
        assert isinstance(likelihood(z), LinearBernoulli)
    torch.testing.assert_close(found, likelihood(z).log_prob(x), rtol=1e-4, atol=1e-4)
