"""One contract for every prior, likelihood and posterior there is, found as subclasses."""

import io
from functools import partial

import pytest
import torch
from contracts import D, cases, distribution, small, subclasses
from torch import nn

from pyrovae import (
    MLP,
    ConvolutionalDecoder,
    DiagonalNormal,
    Gaussian,
    Likelihood,
    LogNormal,
    PointPosterior,
    Posterior,
    Prior,
    TableLikelihood,
)
from pyrovae.distributions import UnitBernoulli
from pyrovae.networks import Positive


@pytest.mark.parametrize(("make", "shape"), list(cases()))
class TestContract:
    @pytest.mark.parametrize("batch", [(4,), (2, 4), (2, 1, 4)])
    def test_shapes_for_batch_and_particle_dimensions(self, make, shape, batch):
        fn, batch_shape, event_shape = distribution(make(), shape, batch)
        assert fn.batch_shape == batch_shape
        assert fn.event_shape == event_shape
        x = fn.sample()
        assert x.shape == (*batch_shape, *event_shape)
        log_prob = fn.log_prob(x)
        assert log_prob.shape == batch_shape
        assert log_prob.isfinite().all()

    def test_leading_dimensions_do_not_change_the_result(self, make, shape):
        conditional = make().eval()
        if isinstance(conditional, Prior):
            pytest.skip("a prior has no input")
        x = torch.rand(2, 4, *(shape if isinstance(conditional, Posterior) else (D,)))
        one = conditional(x[1, 2:3])
        value = one.sample()
        if isinstance(conditional, PointPosterior):  # which has no density beside the point, be it by the last digit
            torch.testing.assert_close(conditional(x).mean[1, 2:3], value, rtol=1e-4, atol=1e-4)
            return
        every = value.expand(2, 4, *value.shape[1:])
        torch.testing.assert_close(conditional(x).log_prob(every)[1, 2:3], one.log_prob(value), rtol=1e-4, atol=1e-4)

    def test_gradients_reach_every_parameter(self, make, shape):
        conditional = make()
        if not list(conditional.parameters()):
            pytest.skip("it has no parameters")
        fn, _, _ = distribution(conditional, shape, (4,))
        sampled = fn.rsample() if fn.has_rsample else fn.sample()
        torch.autograd.backward(fn.log_prob(sampled.detach()).sum() + (sampled.sum() if sampled.requires_grad else 0))
        for name, parameter in conditional.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name

    def test_state_saves_and_loads(self, make, shape):
        first, second = make(), make()
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        second.load_state_dict(torch.load(file, weights_only=True))
        if isinstance(first, Prior):
            posterior = DiagonalNormal((5,), D, small)
            first.connect(posterior)
            second.connect(posterior)
        torch.manual_seed(1)
        x = distribution(first, shape, (4,))[0].sample()
        torch.manual_seed(1)
        assert torch.equal(x, distribution(second, shape, (4,))[0].sample())

    def test_dtype_follows(self, make, shape):
        conditional = make().double()
        if isinstance(conditional, Prior):
            conditional.connect(DiagonalNormal((5,), D, small).double())  # as the program's posterior is, then
        fn, _, _ = distribution(conditional, shape, (4,), torch.float64)
        assert fn.sample().dtype == torch.float64
        assert fn.log_prob(fn.sample()).dtype == torch.float64

    def test_device_follows(self, make, shape):
        conditional = make().to("meta")
        tensors = [*conditional.parameters(), *conditional.buffers()]
        assert tensors
        assert all(tensor.device.type == "meta" for tensor in tensors)

    def test_repr_is_readable(self, make, shape):
        text = repr(make())
        assert type(make()).__name__ in text
        assert f"latent_dim={D}" in text
        assert "object at" not in text


@pytest.mark.parametrize("link", ["softplus", "exp"])
def test_positive_has_an_inverse_and_a_bound(link):
    positive = Positive(link, minimum=0.1)
    s = torch.tensor([0.2, 1.0, 30.0])
    torch.testing.assert_close(positive(positive.inverse(s)), s)
    assert positive(torch.tensor(-1e4)) == pytest.approx(0.1)


@pytest.mark.parametrize("scale", ["fixed", "shared", "pixel", "network"])
def test_gaussian_scale_comes_from_where_it_says(scale):
    likelihood = Gaussian((2, 3), 1, partial(MLP, hidden_features=()), scale=scale, initial_scale=0.25)
    for parameter in likelihood.network.parameters():
        nn.init.zeros_(parameter)
    deviation = likelihood(torch.zeros(1, 1)).stddev
    torch.testing.assert_close(deviation, torch.full((1, 2, 3), 0.25))
    learned = {"fixed": None, "shared": torch.Size([]), "pixel": torch.Size([2, 3]), "network": None}[scale]
    parameter = dict(likelihood.named_parameters()).get("raw_scale")
    assert (None if parameter is None else parameter.shape) == learned


def test_gradient_of_the_bernoulli_is_right_at_zero_logits():
    logits = torch.zeros(1, requires_grad=True)
    UnitBernoulli(logits=logits).log_prob(torch.ones(1)).backward()
    assert logits.grad.item() == pytest.approx(0.5)


def test_bernoulli_is_the_cross_entropy_far_out_too():
    logits = torch.tensor([-1e4, -100.0, -20.0, -1.0, 0.0, 1.0, 20.0, 100.0, 1e4])
    for x in (0.0, 0.3, 1.0):
        expected = -nn.functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, x), reduction="none")
        torch.testing.assert_close(
            UnitBernoulli(logits=logits).log_prob(torch.tensor(x)), expected, rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("network", [partial(MLP, hidden_features=(16,)), ConvolutionalDecoder])
def test_likelihoods_start_at_the_mean_of_the_data(network):
    x = (torch.rand(500, 1, 8, 8) < 0.2).float()
    x[..., 0, 0] = 0
    for cls in (cls for cls in subclasses(Likelihood) if cls not in (TableLikelihood, LogNormal)):  # rows; x above 0
        likelihood = cls((1, 8, 8), D, network)
        likelihood.initialize(x)
        mean = likelihood(torch.randn(100, D)).mean.mean(0)
        assert mean.isfinite().all()
        assert mean.mean().item() == pytest.approx(x.mean().item(), abs=0.08)
