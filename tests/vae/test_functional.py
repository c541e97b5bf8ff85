"""Programs made of plain PyTorch functions: exact answers, networks of one batch dimension, and what is refused."""

import copy
from functools import partial

import pyro.distributions as dist
import pytest
import torch
from linear_gaussian import LinearGaussian
from torch import nn
from torch.distributions import Bernoulli, Categorical, Independent, MultivariateNormal, Normal, StudentT

import pyrovae as pv
from pyrovae.programs import modules_of

PRIOR = Normal(torch.zeros(2), 1.0)


class PlainVAE(nn.Module):
    """A VAE as in PyTorch's own examples, of images (1, 4, 4)."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(16, 8)
        self.mean, self.log_variance = nn.Linear(8, 2), nn.Linear(8, 2)
        self.decoder = nn.Linear(2, 16)
        self.dropout = nn.Dropout(0.5)

    def encode(self, x):
        h = self.encoder(self.dropout(x.view(-1, 16))).relu()
        return self.mean(h), self.log_variance(h)

    def decode(self, z):
        return self.decoder(z.view(-1, 2)).sigmoid().view(-1, 1, 4, 4)


def program_of(vae, **changed):
    def posterior(x):
        mean, log_variance = vae.encode(x)
        return Normal(mean, (0.5 * log_variance).exp())

    parts = {"prior": PRIOR, "likelihood": lambda z: Bernoulli(vae.decode(z)), "posterior": posterior}
    return pv.FunctionalVAE(**{**parts, **changed})


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator", [pv.Importance(50), pv.Annealed(20, 4), pv.Adaptive(target_error=0.05)], ids=lambda e: type(e).__name__
)
def test_the_linear_gaussian_vae_is_exact(estimator):
    oracle = LinearGaussian(2, 5)
    x = oracle.simulate(20)
    program = pv.FunctionalVAE(
        prior=Normal(torch.zeros(2, dtype=torch.float64), 1.0),
        likelihood=lambda z: Normal(z @ oracle.W.T + oracle.b, oracle.scale),
        posterior=lambda x: MultivariateNormal((x - oracle.b) @ oracle.W @ oracle.covariance, oracle.covariance),
    )
    ml = pv.log_marginal(program.model, program.guide, x, estimator)
    torch.testing.assert_close(ml.log_prob, oracle.log_prob(x), rtol=0, atol=1e-6)


def test_our_conditionals_make_the_same_program():
    shape = (1, 8, 8)
    prior = pv.GaussianMixture(3, num_components=4)
    likelihood = pv.Bernoulli(shape, 3, network=pv.ConvolutionalDecoder)
    posterior = pv.DiagonalNormal(shape, 3, network=pv.ConvolutionalEncoder)
    ours, same = pv.VAE(prior, likelihood, posterior), pv.FunctionalVAE(prior, likelihood, posterior)
    x = torch.rand(5, *shape).round()
    found = []
    for program in (ours, same):
        torch.manual_seed(3)
        found.append(pv.log_weights(program.model, program.guide, x, num_samples=7))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_a_plain_vae_is_trained_and_evaluated_by_everything():
    torch.manual_seed(0)
    vae = PlainVAE()
    program = program_of(vae)
    assert {id(p) for p in program.parameters()} == {id(p) for p in vae.parameters()}
    ones = torch.arange(16) < torch.randint(0, 17, (400, 1))
    data = pv.DataSet(ones.view(-1, 1, 4, 4).float())
    for objective in (pv.Trace_ELBO, partial(pv.IWAE, num_particles=3)):
        history = pv.fit(program.model, program.guide, data, epochs=8, objective=objective, progress=False)
        assert history.epochs[-1].validation_elbo > history.epochs[0].validation_elbo
    x = data.test[:30]
    ml = pv.log_marginal(program.model, program.guide, x, num_samples=500)
    chains = pv.log_marginal(program.model, program.guide, x, pv.Annealed(30, 4))
    assert chains.nll == pytest.approx(ml.nll, abs=0.1)
    bounds = pv.sandwich(program.model, program.guide, x, pv.Annealed(30, 4), num_simulated=5)
    assert (bounds.upper > bounds.lower - 0.5).all()
    assert pv.generate(program.model, 4, x[:1]).shape == (4, 1, 4, 4)
    assert pv.reconstruct(program.model, program.guide, x).shape == x.shape
    assert pv.diagnose(program.model, program.guide, x[:10], refinement_steps=5).figures["rate"].value > 0
    assert vae.training  # and the dropout of evaluation was off:
    with torch.no_grad():
        torch.testing.assert_close(*(pv.encode(program.guide, x)["z"] for _ in range(2)), rtol=0, atol=0)


@pytest.mark.parametrize("decode", [lambda h: h.softmax(1), lambda h: h.view(-1, 6) - h.mean(1, keepdim=True)])
def test_networks_are_called_with_one_batch_dimension(decode):
    decoder, encoder = nn.Linear(2, 6), nn.Linear(6, 2)
    program = pv.FunctionalVAE(PRIOR, lambda z: Normal(decode(decoder(z)), 0.3), lambda x: Normal(encoder(x), 0.5))
    x, z = torch.randn(4, 6), torch.randn(3, 4, 2)
    batched = pv.log_weights(program.model, program.guide, x, num_samples=3)
    assert batched.shape == (3, 4)
    site = torch.stack([program._likelihood(z[k]).log_prob(x) for k in range(3)])
    torch.testing.assert_close(program._likelihood(z).log_prob(x), site)


def test_latents_need_not_be_vectors():
    decoder = nn.ConvTranspose2d(2, 1, 4, 4)
    program = pv.FunctionalVAE(
        prior=Normal(torch.zeros(2, 2, 2), 1.0),
        likelihood=lambda z: Bernoulli(logits=decoder(z)),
        posterior=lambda x: Normal(nn.functional.avg_pool2d(x, 4).expand(-1, 2, -1, -1), 1.0),
    )
    assert (program.latent_shape, program.data_shape) == ((2, 2, 2), (1, 8, 8))
    ml = pv.log_marginal(program.model, program.guide, torch.ones(3, 1, 8, 8), num_samples=5)
    assert ml.draws["z"].shape[2:] == (2, 2, 2)


def helper(z):
    return NETWORK(z)


NETWORK = nn.Linear(2, 6)


def test_modules_of_helper_functions_are_found():
    def likelihood(z):
        return Normal(helper(z), 1.0)

    assert modules_of(likelihood) == [NETWORK]


def test_a_copy_has_weights_of_its_own_or_is_refused():
    program = pv.FunctionalVAE(pv.StandardNormal(2), pv.Gaussian((6,), 2), pv.DiagonalNormal((6,), 2))
    twin = copy.deepcopy(program)
    for parameter in twin.parameters():
        nn.init.zeros_(parameter)
    x = torch.ones(3, 6)
    assert pv.encode(twin.guide, x)["z"].eq(0).all()
    assert pv.encode(program.guide, x)["z"].ne(0).any()
    with pytest.raises(pv.InputError, match="functions refer to the modules of the original"):
        copy.deepcopy(program_of(PlainVAE()))
    hidden = nn.Linear(2, 16)
    parts = {"likelihood": partial(lambda net, z: Bernoulli(logits=net(z).view(-1, 1, 4, 4)), hidden)}
    with pytest.raises(pv.InputError, match="functions refer to the modules of the original"):
        copy.deepcopy(program_of(PlainVAE(), **parts))


def test_a_copy_of_a_subclass_is_of_its_class():
    class Mine(pv.FunctionalVAE):
        pass

    parts = pv.StandardNormal(2), pv.Gaussian((6,), 2), pv.DiagonalNormal((6,), 2)
    assert type(copy.deepcopy(Mine(*parts))) is Mine


REFUSED = {
    "no function": ({"likelihood": 3}, "likelihood must be a function or a module, but 3 was given"),
    "no prior": ({"prior": "normal"}, "prior must be a distribution or a function, but 'normal' was given"),
    "probabilities": (
        {"likelihood": lambda z: z.new_full((len(z), 1, 4, 4), 0.5)},
        r"likelihood must return a distribution of torch or Pyro, such as Bernoulli\(probs\) if these are "
        r"probabilities, or Normal\(mean, sigma\) of means, but returned a tensor of shape \(3, 1, 4, 4\)",
    ),
    "logits": (
        {"likelihood": lambda z: z.new_full((len(z), 1, 4, 4), -5.0)},
        r"Bernoulli\(logits=logits\), or Normal\(mean, sigma\) of means with a sigma of your choice",
    ),
    "mean and log-variance": (
        {"posterior": lambda x: (x.flatten(1)[:, :2], x.flatten(1)[:, :2])},
        r"posterior must return a distribution of torch or Pyro, such as Normal\(mean, \(0.5 \* log_variance\)"
        r".exp\(\)\) of mean and log-variance, but returned a tuple",
    ),
    "whole batch an event": (
        {"likelihood": lambda z: Independent(Bernoulli(torch.ones(len(z), 1, 4, 4)), 4)},
        r"likelihood must return a distribution of batch shape \(3, ...\) given 3 data, but returns Independent of "
        r"batch shape \(\) and event shape \(3, 1, 4, 4\): leave the first dimension out of to_event or Independent",
    ),
    "batch of constant size": (
        {"posterior": lambda x: Normal(torch.zeros(3, 2), 1.0)},
        r"posterior must return a distribution of batch shape \(2, ...\) given 2 data, but returns Normal of batch "
        r"shape \(3, 2\)",
    ),
    "other latents": (
        {"prior": Normal(torch.zeros(5), 1.0), "likelihood": lambda z: Bernoulli(z[:, :1, None, None].sigmoid())},
        "posterior cannot be called given a tensor of shape|posterior and prior must be distributions over latents of",
    ),
    "posterior of another shape": (
        {"posterior": lambda x: Normal(x.flatten(1)[:, :3], 1.0)},
        r"posterior and prior must be distributions over latents of one shape, but given x of shape \(3, 1, 4, 4\) the "
        r"posterior has \(3,\) and the prior \(2,\)",
    ),
    "decoder of another size": (
        {"likelihood": nn.Linear(3, 4)},
        r"likelihood cannot be called given a tensor of shape \(3, 2\): ",
    ),
    "data of another shape": (
        {"x": torch.zeros(5, 1, 28, 28)},
        r"likelihood must return a distribution over data of shape \(1, 28, 28\), but given z of shape \(3, 2\) it "
        r"returns one over \(1, 4, 4\)",
    ),
}


@pytest.mark.parametrize(("changed", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(changed, sentence):
    with pytest.raises(pv.InputError, match=sentence):
        program_of(PlainVAE(), **changed)


def test_a_guide_that_does_not_cover_the_prior_is_refused():
    narrow = lambda x: dist.Uniform(torch.zeros(len(x), 2), 1.0)  # noqa: E731
    program = program_of(PlainVAE(), posterior=narrow)
    with pytest.raises(pv.InputError, match="support"):
        pv.log_marginal(program.model, program.guide, torch.ones(2, 1, 4, 4), num_samples=3)


def test_discrete_latents_are_weighed():
    logits = torch.randn(3, 4)
    program = pv.FunctionalVAE(
        prior=Categorical(logits=torch.zeros(3)),
        likelihood=lambda z: StudentT(5.0, logits[z.long()]),
        posterior=lambda x: Categorical(logits=x.new_zeros(len(x), 3)),
    )
    x = torch.randn(6, 4)
    each = torch.stack([StudentT(5.0, logits[k]).log_prob(x).sum(-1) for k in range(3)])
    ml = pv.log_marginal(program.model, program.guide, x, num_samples=20_000)
    torch.testing.assert_close(ml.log_prob.float(), each.logsumexp(0) - torch.tensor(3.0).log(), rtol=0, atol=0.1)
