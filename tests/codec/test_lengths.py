"""The stack grows by -log2 p(x) where the posterior is exact, by the bound of K particles elsewhere."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from exact_programs import GammaPoisson
from torch import nn

from pyrovae import distributions
from pyrovae.codec import Codec, Stack
from pyrovae.codec.decisions import Recorder
from pyrovae.codec.distribution_functions import integers_of

LEVELS = torch.linspace(0, 1, 17)


def growth(codec, x, num_particles):
    """Bits per datum, once the data are found again and the stack is as it was."""
    before = np.random.default_rng(0).integers(1, 2**32, 4000, dtype=np.uint32)
    stack = Stack(before)
    codec.push(stack, x, num_particles)
    found = stack.num_bits - 32 * len(before)
    np.testing.assert_array_equal(codec.pop(stack, len(x), num_particles), x)
    np.testing.assert_array_equal(stack.words, before)
    return found / len(x)


@pytest.mark.parametrize("num_particles", [1, 3])
def test_with_the_exact_posterior_the_length_is_that_of_log_p(num_particles):
    program = GammaPoisson(lambda x: dist.Gamma(3 + x, torch.full_like(x, 3.0)))
    x = torch.arange(12.0).repeat(20).unsqueeze(1)
    codec = Codec(program.model, program.guide, (1,), count_bits=8)
    expected = -program.log_prob(x).mean().item() / math.log(2)
    assert growth(codec, x.long().numpy(), num_particles) == pytest.approx(expected, abs=0.02)


class Chain(nn.Module):
    """Binary z2, z1 given z2, and 3 binary x given z1; the guide is the posterior, or ignores x."""

    def __init__(self, order, exact=True):
        super().__init__()
        self.order, self.exact = order, exact
        self.register_buffer("top", torch.tensor([0.3, 0.7]).double())
        self.register_buffer("middle", torch.tensor([[0.9, 0.1], [0.2, 0.8]]).double())  # p(z1|z2)
        self.register_buffer("on", torch.tensor([[0.1, 0.3, 0.6], [0.8, 0.7, 0.2]]).double())  # p(x|z1)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Categorical(self.top.expand(len(x), 2))).long()
            z1 = pyro.sample("z1", dist.Categorical(self.middle[z2])).long()
            pyro.sample("x", dist.Bernoulli(self.on[z1]).to_event(1), obs=x)

    def joint(self, x):
        """p(z2, z1, x), (B, 2, 2)."""
        likelihood = dist.Bernoulli(self.on).to_event(1).log_prob(x.double().unsqueeze(1)).exp()  # (B, 2)
        return self.top[:, None] * self.middle * likelihood[:, None, :]

    def guide(self, x):
        joint = self.joint(x) if self.exact else torch.full((len(x), 2, 2), 0.25).double()
        with pyro.plate("data", len(x)):
            if self.order == "up":
                z1 = pyro.sample("z1", dist.Categorical(joint.sum(1))).long()
                pyro.sample(
                    "z2", dist.Categorical((self.top[:, None] * self.middle).T[z1] if self.exact else joint[:, 0])
                )
            else:
                z2 = pyro.sample("z2", dist.Categorical(joint.sum(2))).long()
                pyro.sample("z1", dist.Categorical(joint[torch.arange(len(x)), z2]))


ALL = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])


@pytest.mark.parametrize("num_particles", [1, 3])
@pytest.mark.parametrize("order", ["up", "down"])
def test_several_layers_are_coded_in_the_order_that_the_guide_allows(order, num_particles):
    program = Chain(order)
    codec = Codec(program.model, program.guide, (3,))
    x = ALL.repeat(40, 0)
    expected = -program.joint(torch.from_numpy(x)).sum((1, 2)).log2().mean().item()
    assert growth(codec, x, num_particles) == pytest.approx(expected, abs=0.02)
    assert codec.particle_bits == 2
    assert codec.first_bits == (1 if order == "up" else 2)  # Bit-Swap pushes x before it pops z2


@pytest.mark.parametrize("num_particles", [1, 2, 3])
def test_particles_shorten_the_code_to_their_bound(num_particles):
    program = Chain("up", exact=False)
    codec = Codec(program.model, program.guide, (3,))
    x = ALL[[3]].repeat(4000, 0)
    weights = program.joint(torch.from_numpy(x[:1]))[0].reshape(-1) / 0.25
    means = torch.cartesian_prod(*[weights] * num_particles).reshape(-1, num_particles).mean(1).log2()
    error = (means.var() / len(x)).sqrt().item()
    assert growth(codec, x, num_particles) == pytest.approx(-means.mean().item(), abs=4 * error + 0.01)


@pytest.mark.parametrize(
    ("fn", "x"),
    [
        (distributions.UnitBernoulli(logits=torch.tensor([-3.0, 0.2, 5.0])), torch.tensor([0.0, 1.0, 1.0])),
        (distributions.QuantizedLogistic(torch.linspace(-0.2, 1.1, 17), torch.full((17,), 0.03), 17), LEVELS),
        (distributions.QuantizedCategorical(torch.randn(17, 17, generator=torch.Generator().manual_seed(0))), LEVELS),
        (dist.Categorical(torch.rand(17, 5, generator=torch.Generator().manual_seed(0))), torch.arange(17) % 5),
        (distributions.PoissonCounts(torch.linspace(-2, 4, 20)), torch.linspace(-2, 4, 20).exp().round()),
        (distributions.NegativeBinomialCounts(torch.linspace(-2, 4, 20), torch.tensor(0.7)), torch.arange(20.0)),
        (
            distributions.InflatedCounts(distributions.PoissonCounts(torch.zeros(4)), torch.tensor(0.5)),
            torch.arange(4.0),
        ),
        (dist.Binomial(9, logits=torch.linspace(-1, 1, 10)), torch.arange(10.0)),
    ],
    ids=lambda part: type(part).__name__,
)
def test_decisions_have_the_probability_of_the_distribution(fn, x):
    integers = integers_of(fn.expand((1, *fn.batch_shape)).to_event(1))
    levels = integers.levels or 256
    index = (x * (levels - 1)).round() if integers.scaled else x
    visit = integers.visit((1, len(x)), (levels - 1).bit_length())
    found = Recorder(visit, index.long().numpy()[None]).log_prob()
    expected = fn.log_prob(x).double()
    assert expected.min() > -10  # probabilities that a multiple of 2^-16 can be close to
    assert found[0] == pytest.approx(expected.sum().item(), abs=2e-3 * len(x))


def test_a_mixture_of_normals_has_one_channel_or_is_refused():
    def mixture(channels):
        loc = torch.rand(1, 3, channels, 4, generator=torch.Generator().manual_seed(0))
        slopes = torch.zeros(1, 3, channels * (channels - 1) // 2, 4)
        return distributions.QuantizedLogisticMixture(
            torch.zeros(1, 3, 4), loc, torch.full_like(loc, 0.2), slopes, (channels, 2, 2), 5
        )

    x = torch.tensor([0.0, 0.25, 0.5, 1.0]).reshape(1, 1, 2, 2)
    fn = mixture(1)
    found = Recorder(integers_of(fn).visit((1, 1, 2, 2), 3), (x * 4).long().reshape(1, 4).numpy()).log_prob()
    assert found[0] == pytest.approx(fn.log_prob(x).item(), abs=1e-3)
    assert integers_of(mixture(2)) is None
