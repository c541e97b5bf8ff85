import pytest
import torch
from linear_gaussian import LinearGaussian

from pyrovae import InputError, decode, encode, generate, prior_grid, reconstruct


@pytest.fixture
def oracle():
    return LinearGaussian(2, 5)


def test_encode_gives_the_posterior_mean(oracle):
    x = oracle.simulate(4)
    expected = (x - oracle.b) @ oracle.W @ oracle.covariance
    torch.testing.assert_close(encode(oracle.guide, x)["z"], expected)


def test_decode_and_reconstruct_give_the_means_of_the_likelihood(oracle):
    z = torch.randn(3, 2, dtype=torch.float64)
    torch.testing.assert_close(decode(oracle.model, {"z": z}, (5,)), z @ oracle.W.T + oracle.b)
    x = oracle.simulate(4)
    expected = encode(oracle.guide, x)["z"] @ oracle.W.T + oracle.b
    torch.testing.assert_close(reconstruct(oracle.model, oracle.guide, x), expected)


@pytest.mark.parametrize("noise", [True, False])
def test_generated_data_have_the_models_moments(oracle, noise):
    x = generate(oracle.model, 20_000, oracle.simulate(1), noise=noise)
    assert x.shape == (20_000, 5)
    covariance = oracle.W @ oracle.W.T + (oracle.scale**2 * torch.eye(5) if noise else 0)
    torch.testing.assert_close(x.mean(0), oracle.b, atol=0.05, rtol=0)
    torch.testing.assert_close(torch.cov(x.T), covariance.double(), atol=0.06, rtol=0)


def test_unknown_sites_and_other_latents_are_refused(oracle):
    with pytest.raises(InputError, match="'y' is not"):
        decode(oracle.model, {"y": torch.zeros(1, 2, dtype=torch.float64)}, (5,))
    three = LinearGaussian(3, 5)
    with pytest.raises(InputError, match=r"one latent site of shape \(2,\), but has z of shape \(3,\)"):
        prior_grid(three.model, three.simulate(1))
