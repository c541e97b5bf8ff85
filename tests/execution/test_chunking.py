"""Chunks fit the machine: chosen by a program's size, halved where memory does not suffice."""

from functools import partial

import pyro
import pytest
import torch

from pyrovae import (
    MLP,
    VAE,
    Adaptive,
    Annealed,
    Bernoulli,
    ConvolutionalDecoder,
    ConvolutionalEncoder,
    DiagonalNormal,
    InputError,
    StandardNormal,
    VampPrior,
    log_marginal,
    log_weights,
    sandwich,
)
from pyrovae.evaluation.elbo.inference_gap import refine
from pyrovae.evaluation.elbo.rate_distortion import rate_distortion
from pyrovae.execution.chunking import Chunks

SMALL = partial(MLP, hidden_features=(8,))


class Narrow(VAE):
    """A VAE on a machine whose memory holds so many latents."""

    def __init__(self, most, error):
        super().__init__(StandardNormal(2), Bernoulli((6,), 2, SMALL), DiagonalNormal((6,), 2, SMALL))
        self.most = most
        self.error = error
        self.largest = 0

    def model(self, x):
        pyro.module("vae", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            rows = z[..., 0].numel()
            if rows > self.most:
                raise self.error
            self.largest = max(self.largest, rows)
            return pyro.sample("x", self.likelihood(z), obs=x)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 400 bytes."),
]
X = torch.ones(20, 6)
USES = {
    "log_weights": lambda vae, n: log_weights(vae.model, vae.guide, X, 50, chunk_size=n),
    "importance": lambda vae, n: log_marginal(vae.model, vae.guide, X, num_samples=50, chunk_size=n).log_prob,
    "annealed": lambda vae, n: log_marginal(vae.model, vae.guide, X, Annealed(3, num_chains=4), chunk_size=n).log_prob,
    "sandwich": lambda vae, n: (
        sandwich(vae.model, vae.guide, X, Annealed(3, num_chains=4), num_simulated=20, chunk_size=n).upper
    ),
    "adaptive": lambda vae, n: (
        log_marginal(vae.model, vae.guide, X, Adaptive(0.1, max_evaluations=20_000), chunk_size=n).log_prob
    ),
    "refinement": lambda vae, n: refine(vae.model, vae.guide, X, 3, 10, chunk_size=n).refined_elbo,
    "rate": lambda vae, n: rate_distortion(vae.model, vae.guide, X, 10, num_codes=40, chunk_size=n).rate,
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:chunk_size")
@pytest.mark.parametrize("use", USES)
def test_what_does_not_fit_is_done_in_smaller_chunks(use):
    vae = Narrow(500, ERRORS[0])
    expected = USES[use](vae, 400)
    vae.most, vae.largest = 90, 0
    found = USES[use](vae, 800)
    assert 40 <= vae.largest <= 90
    assert found.shape == expected.shape
    if use in ("importance", "annealed", "adaptive"):
        assert found.mean().item() == pytest.approx(expected.mean().item(), abs=0.2)
    assert found.isfinite().all()


@pytest.mark.filterwarnings("ignore:chunk_size")
@pytest.mark.parametrize("error", ERRORS, ids=["CUDA", "allocator", "CPU"])
def test_errors_of_memory_are_known_by_what_they_say(error):
    vae = Narrow(90, error)
    assert log_weights(vae.model, vae.guide, X, 50, chunk_size=400).isfinite().all()
    assert vae.largest <= 90


def test_one_sentence_says_that_chunks_are_halved():
    vae = Narrow(210, ERRORS[0])
    with pytest.warns(UserWarning, match="chunk_size 400 takes more memory than there is: it is halved to 200") as said:
        lw = log_weights(vae.model, vae.guide, X, 50, chunk_size=400)
    assert len(said) == 1
    assert lw.shape == (50, 20)


@pytest.mark.filterwarnings("ignore:chunk_size")
def test_what_fits_in_no_chunk_is_an_error():
    vae = Narrow(0, ERRORS[0])
    with pytest.raises(InputError, match="out of memory"):
        log_weights(vae.model, vae.guide, X, 50, chunk_size=40)


def test_other_errors_are_not_tried_again():
    vae = Narrow(210, RuntimeError("something else"))
    with pytest.raises(InputError, match="something else"):
        log_weights(vae.model, vae.guide, X, 50, chunk_size=400)


def chosen(program, shape, count=3):
    chunks = Chunks(None)
    chunks.choose(program.model, (torch.zeros(count, *shape),))
    return chunks.size


def test_the_largest_tensor_of_a_chunk_fits_the_cache():
    shape = (1, 28, 28)
    plain = VAE(StandardNormal(20), Bernoulli(shape, 20), DiagonalNormal(shape, 20))
    assert chosen(plain, shape) == chosen(plain, shape, count=1) == 2**22 // 784
    images = VAE(
        StandardNormal(20), Bernoulli(shape, 20, ConvolutionalDecoder), DiagonalNormal(shape, 20, ConvolutionalEncoder)
    )
    assert chosen(images, shape) == 2**22 // (16 * 14 * 14)
    # What every chunk makes once, such as the pseudo-data's codes, does not count, however often it is expanded.
    vamp = VAE(VampPrior(20, num_components=50), Bernoulli(shape, 20), DiagonalNormal(shape, 20))
    assert chosen(vamp, shape) == 2**22 // 784


def test_choosing_leaves_the_noise_as_it_was():
    vae = Narrow(10**9, ERRORS[0])
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    chosen(vae, (6,))
    assert torch.equal(torch.rand(3), expected)


def test_a_program_that_does_not_tell_gets_a_number_all_the_same():
    assert chosen(Narrow(0, ValueError("no run")), (6,)) == 2000


@pytest.mark.parametrize("wrong", [0, -1, 2.0])
@pytest.mark.parametrize("use", USES)
def test_sizes_that_are_none_are_refused(use, wrong):
    with pytest.raises(InputError, match="chunk_size must be an integer of at least 1"):
        USES[use](Narrow(500, ERRORS[0]), wrong)
