"""Faster matrix products, and those of another precision: the same numbers to rounding, and nothing left behind."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyrovae import VAE, Bernoulli, DiagonalNormal, InputError, StandardNormal, log_weights
from pyrovae.execution import evaluating
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.matmul import _MIN_MULTIPLICATIONS, fast_matmul, is_fast_matmul, precision, without_onednn

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _onednn_everywhere(monkeypatch):
    """Compute all large products by oneDNN, whether or not it is faster on the machine that the tests run on."""
    monkeypatch.setattr("pyrovae.linear_kernels._choice", lambda product: True)


def network(activation=nn.Tanh):
    return nn.Sequential(nn.Linear(100, 200), activation(), nn.Linear(200, 300))


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
@pytest.mark.parametrize("lead", [(128,), (3, 64), (2, 3, 50), ()])
def test_values_and_gradients_are_those_of_torch(activation, lead):
    net, x = network(activation), torch.randn(*lead, 100, requires_grad=True)
    if not lead:
        x = torch.randn(100, requires_grad=True)
    weights = torch.randn(300)

    def values_and_gradients():
        y = net(x)
        return [y, *torch.autograd.grad((y * weights).sum(), [x, *net.parameters()])]

    expected = values_and_gradients()
    with fast_matmul():
        found = values_and_gradients()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("channels", "options", "pixels"),
    [((20, 8), {}, 1), ((8, 1), {"stride": 2, "padding": 1, "output_padding": 1}, 9), ((8, 6), {"stride": 2}, 9)],
)
def test_transposed_convolutions_are_those_of_torch(channels, options, pixels, bias):
    layer = nn.ConvTranspose2d(*channels, (3, 5), bias=bias, **options)
    x = torch.randn(500, channels[0], pixels, pixels, requires_grad=True)

    def values_and_gradients():
        y = layer(x)
        return [y, *torch.autograd.grad(y.sin().sum(), [x, *layer.parameters()])]

    expected = values_and_gradients()
    with fast_matmul():
        found = values_and_gradients()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-3)


def test_gradients_agree_with_finite_differences_and_can_be_differentiated_again():
    x, weight = torch.randn(1100, 32, requires_grad=True), torch.randn(32, 32, requires_grad=True)
    with fast_matmul():
        penalty = sum(
            part.square().sum()
            for part in torch.autograd.grad(F.linear(x, weight).tanh().sum(), (x, weight), create_graph=True)
        )
        found = torch.autograd.grad(penalty, (x, weight))
    penalty = sum(
        part.square().sum()
        for part in torch.autograd.grad(F.linear(x, weight).tanh().sum(), (x, weight), create_graph=True)
    )
    for one, other in zip(found, torch.autograd.grad(penalty, (x, weight)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")
def test_large_products_of_float32_go_to_another_library_and_others_do_not():
    layer, x = nn.Linear(128, 128), torch.randn(2 * _MIN_MULTIPLICATIONS // 128**2, 128)

    def went(layer, x):
        with fast_matmul():
            return type(layer(x).grad_fn).__name__ == "_LinearBackward"

    assert went(layer, x)
    assert went(layer, torch.randn(128, len(x)).t())
    assert not went(layer, x[: len(x) // 4])
    assert not went(nn.Linear(128, 128).double(), x.double())
    assert not went(layer, x[:0])
    with torch.autocast("cpu", torch.bfloat16):
        assert not went(layer, x)
    with without_onednn():
        assert not went(layer, x)
    with precision("bfloat16", CPU):
        assert not went(layer, x)


def test_errors_are_those_of_torch():
    with fast_matmul(), pytest.raises(RuntimeError, match="cannot be multiplied"):
        nn.Linear(1000, 1000)(torch.zeros(1000, 999))


def test_transforms_of_functions_see_what_they_know():
    net, x = network(), torch.randn(20, 100, 100)
    with fast_matmul():
        mapped = torch.func.vmap(net)(x)
        jacobian = torch.func.jacrev(lambda x: net(x).sum(0))(x[0])
    torch.testing.assert_close(mapped, net(x), rtol=1e-4, atol=1e-4)
    assert jacobian.shape == (300, 100, 100)


def test_a_recording_of_it_is_one_of_torchs_own_operations():
    layer, x = nn.Linear(256, 256), torch.randn(256, 256)
    with fast_matmul():
        graph = torch.fx.experimental.proxy_tensor.make_fx(lambda x: layer(x).tanh())(x)
    assert not any("mkldnn" in str(node.target) for node in graph.graph.nodes)
    torch.testing.assert_close(graph(x), layer(x).tanh())


def test_the_effect_ends_with_its_block_and_may_be_nested():
    assert not is_fast_matmul(torch.ones(1))
    with fast_matmul():
        with fast_matmul():
            assert is_fast_matmul(torch.ones(1))
        assert is_fast_matmul(torch.ones(1))
    with pytest.raises(ZeroDivisionError), fast_matmul():
        raise ZeroDivisionError
    assert not is_fast_matmul(torch.ones(1))
    assert torch.overrides._len_torch_function_stack() == 0


@pytest.mark.parametrize("name", ["float32", "tf32", "bfloat16"])
def test_torchs_settings_stay_as_they_were(name):
    before = torch.get_float32_matmul_precision()
    with pytest.raises(ZeroDivisionError), precision(name, CPU):
        raise ZeroDivisionError
    assert torch.get_float32_matmul_precision() == before
    assert not torch.is_autocast_enabled("cpu")
    assert torch.overrides._len_torch_function_stack() == 0


@pytest.mark.parametrize("layer", [nn.Linear(50, 3), nn.Conv1d(7, 3, 5), nn.ConvTranspose1d(7, 3, 5)])
def test_bfloat16_rounds_what_layers_are_given_and_what_they_return(layer):
    x = torch.randn(7, 50)
    expected = copy.deepcopy(layer).bfloat16()(x.bfloat16()).float()
    with precision("bfloat16", CPU):
        y = layer(x)
        y.sum().backward()
        assert copy.deepcopy(layer).double()(x.double()).dtype == torch.float64
    assert torch.equal(y, expected)
    assert not torch.equal(y, layer(x))
    assert layer.weight.grad.dtype == torch.float32


def test_densities_are_computed_in_float32_whatever_the_layers_are():
    scale_tril = torch.linalg.cholesky(torch.eye(3) + 0.3)
    z = torch.randn(5, 3)
    fn = torch.distributions.MultivariateNormal(torch.zeros(3), scale_tril=scale_tril)
    expected = fn.log_prob(z)
    with precision("bfloat16", CPU):
        assert torch.equal(fn.log_prob(z), expected)


def test_programs_are_checked_in_float32_and_run_in_the_other_precision():
    vae = VAE(StandardNormal(2), Bernoulli((40,), 2), DiagonalNormal((40,), 2))
    x, found = torch.rand(5, 40).round(), {}
    for name in ("float32", "bfloat16"):
        torch.manual_seed(0)
        with precision(name, CPU):
            with evaluating(vae.model, vae.guide):
                assert BatchedPrograms(vae.model, vae.guide, (x,)).broadcasts
            found[name] = log_weights(vae.model, vae.guide, x, 30)
    assert not torch.equal(found["float32"], found["bfloat16"])
    torch.testing.assert_close(found["float32"], found["bfloat16"], rtol=0, atol=0.5)


def test_float32_is_what_torch_computes():
    layer, x = nn.Linear(5, 3), torch.randn(7, 5)
    with precision("float32", CPU):
        assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


def test_other_precisions_are_refused():
    with pytest.raises(InputError, match="precision must be one of float32, tf32, bfloat16"), precision("half", CPU):
        pass


def test_a_part_of_a_wider_matrix_is_copied_first(monkeypatch):
    """Of one with gaps between its rows, oneDNN takes products a thousand times more slowly."""
    seen = []
    op = torch.ops.mkldnn._linear_pointwise

    def watched(x, weight, *others):
        seen.append(all(part.is_contiguous() or part.mT.is_contiguous() for part in (x, weight)))
        return op(x, weight, *others)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", watched)
    x = torch.randn(256, 600)[:, :300].requires_grad_()
    layer = torch.nn.Linear(300, 200)
    with fast_matmul():
        y = layer(x)
        y[:, :100].square().sum().backward()
    assert len(seen) == 3
    assert all(seen)
    expected = torch.autograd.grad(layer(x)[:, :100].square().sum(), [layer.weight])[0]
    torch.testing.assert_close(layer.weight.grad, expected, rtol=1e-4, atol=1e-3)
