"""On a GPU: the recorded step is captured and learns what Pyro learns, and evaluation agrees with the CPU's."""

from functools import partial

import pytest
import torch

from pyrovae import MLP, VAE, Bernoulli, DiagonalNormal, Digits, NonFiniteLoss, StandardNormal, fit, log_marginal

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

small = partial(MLP, hidden_features=(32,))


def make_vae():
    torch.manual_seed(0)
    shape = (1, 8, 8)
    return VAE(StandardNormal(4), Bernoulli(shape, 4, small), DiagonalNormal(shape, 4, small)).cuda()


@pytest.fixture
def digits():
    return Digits().to("cuda")


def weights(vae):
    return torch.cat([p.detach().flatten() for p in vae.parameters()])


@pytest.mark.parametrize("compile", ["graph", "inductor"])
def test_captured_training_is_plain_training(digits, compile):
    ends = []
    for mode in ("off", compile):
        vae = make_vae()
        torch.manual_seed(1)
        fit(vae.model, vae.guide, digits, epochs=3, kl_warmup=2, max_norm=50.0, compile=mode, progress=False)
        ends.append(weights(vae))
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-3, atol=1e-4)


def test_a_loss_that_is_not_finite_updates_nothing_and_is_named(digits):
    vae = make_vae()
    with pytest.raises(NonFiniteLoss, match="site"):
        fit(
            vae.model,
            vae.guide,
            digits,
            epochs=60,
            optimizer=partial(torch.optim.SGD, lr=10.0),
            compile="graph",
            progress=False,
        )
    assert weights(vae).isfinite().all()


def test_evaluation_agrees_with_the_cpu(digits):
    vae = make_vae()
    x = digits.test[:50]
    on_gpu = log_marginal(vae.model, vae.guide, x, num_samples=2000)
    vae.cpu()
    on_cpu = log_marginal(vae.model, vae.guide, x.cpu(), num_samples=2000)
    error = (on_gpu.standard_error.cpu() ** 2 + on_cpu.standard_error**2).sqrt()
    assert ((on_gpu.log_prob.cpu() - on_cpu.log_prob).abs() < 6 * error + 1e-3).all()


def test_bfloat16_and_tf32_stay_close(digits):
    vae = make_vae()
    bounds = {}
    for precision in ("float32", "tf32", "bfloat16"):
        vae = make_vae()
        torch.manual_seed(1)
        history = fit(vae.model, vae.guide, digits, epochs=3, precision=precision, progress=False)
        bounds[precision] = history.epochs[-1].validation_elbo
    assert bounds["tf32"] == pytest.approx(bounds["float32"], abs=0.3)
    assert bounds["bfloat16"] == pytest.approx(bounds["float32"], abs=0.3)
