"""Recorded terms of validation: equal to Pyro's bit for bit, and not used when they are outdated."""

from functools import partial
from unittest.mock import patch

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from script_modules import module_of
from torch import nn

from pyrovae import MLP, VAE, Bernoulli, DiagonalNormal, Digits, NonFiniteLoss, StandardNormal, fit
from pyrovae.compilation import TrainingStep, ValidationTerms, validation_terms
from pyrovae.objectives import estimate_elbo_terms
from pyrovae.programs import private_modules
from pyrovae.training.batching import batches as batches_of
from pyrovae.training.batching import labels_for

SHAPE, D, B = (1, 4, 4), 3, 8
small = partial(MLP, hidden_features=(16,))


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch):
    monkeypatch.setattr(validation_terms, "_OFTEN", 1)
    with private_modules(), pyro.validation_enabled(False):  # as in fit
        yield


@pytest.fixture
def x():
    return (torch.rand(B, *SHAPE) < 0.5).float()


def make(modules=None, compile="graph"):
    vae = VAE(StandardNormal(D), Bernoulli(SHAPE, D, small), DiagonalNormal(SHAPE, D, small))
    return vae, ValidationTerms(TrainingStep(Trace_ELBO(), compile, [vae] if modules is None else modules))


def of_pyro(program, arguments, seed):
    torch.manual_seed(seed)
    return estimate_elbo_terms(program.model, program.guide, *arguments)


def batches(terms, program, *arguments, count=5, start=0):
    """Check that batches have Pyro's terms; return how many of them ran through Pyro."""
    through_pyro = 0
    for seed in range(start, start + count):
        torch.manual_seed(seed)
        with patch.object(validation_terms, "estimate_elbo_terms", wraps=estimate_elbo_terms) as counted:
            found = terms(program.model, program.guide, *arguments)
        through_pyro += counted.call_count
        rest = torch.rand(3)
        torch.testing.assert_close(found, of_pyro(program, arguments, seed), rtol=0, atol=0)
        torch.testing.assert_close(rest, torch.rand(3), rtol=0, atol=0)  # the generator is where Pyro leaves it
    return through_pyro


def test_recorded_terms_are_pyros_bit_for_bit_and_follow_the_weights(x):
    vae, terms = make()
    assert batches(terms, vae, x) == 3  # not recorded, recorded, compared; two are replayed
    with torch.no_grad():
        for weight in vae.parameters():
            weight.mul_(1.5)
    assert batches(terms, vae, 1 - x) == 0
    assert batches(terms, vae, x[:5]) == 3  # another shape


def test_fit_validates_to_the_same_numbers(monkeypatch):
    curves = []
    for often in (1, 10**9):
        monkeypatch.setattr(validation_terms, "_OFTEN", often)
        torch.manual_seed(3)
        vae = VAE(StandardNormal(D), Bernoulli((1, 8, 8), D, small), DiagonalNormal((1, 8, 8), D, small))
        history = fit(vae.model, vae.guide, Digits(), epochs=6, compile="graph", ema_decay=0.9, progress=False)
        curves.append([(epoch.validation_reconstruction, epoch.validation_kl) for epoch in history.epochs])
    assert curves[0] == curves[1]


@pytest.mark.slow
def test_the_validation_of_every_class_is_recorded(monkeypatch):
    classes = module_of("benchmarks/programs_classes", monkeypatch)
    for kind, name, case in classes.cases():
        torch.manual_seed(0)
        program, data, _ = case()
        program.eval()
        labels = labels_for(program.model, program.guide)
        arguments = next(batches_of("always" if labels == "always" else "no", data.validation, 8))
        terms = ValidationTerms(TrainingStep(Trace_ELBO(), modules=[program]))
        with pyro.get_param_store().scope():
            assert batches(terms, program, *arguments, count=4) == 3, f"{kind} {name} is not replayed"


def test_a_changed_python_value_and_a_replaced_parameter_are_noticed(x):
    scale = {"of the prior": 1.0}
    vae, terms = make()

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(D), scale["of the prior"]).to_event(1))
            pyro.sample("x", vae.likelihood(z), obs=x)

    program = nn.Module()
    program.model, program.guide, program.posterior = model, vae.guide, vae.posterior
    with pyro.get_param_store().scope():
        terms._step.begin_epoch()
        terms.begin_epoch()
        batches(terms, program, x, count=4)
        assert batches(terms, program, x, count=1) == 0
        scale["of the prior"] = 2.0
        terms._step.begin_epoch()  # the training step notices it in the same way
        terms.begin_epoch()
        assert batches(terms, program, x, count=3) == 3
        replaced, terms = make()
        batches(terms, replaced, x, count=4)
        replaced.posterior.network.layers[0].weight = nn.Parameter(torch.randn(16, 16))
        pyro.clear_param_store()
        terms.begin_epoch()
        assert batches(terms, replaced, x, count=3) > 0


@pytest.mark.parametrize("cause", ["a value of the batch", "a counter", "a buffer"])
def test_what_cannot_be_recorded_runs_through_pyro(cause, x):
    vae, terms = make()
    counter = {"runs": 0}
    vae.register_buffer("runs", torch.zeros(()))

    def model(x):
        if cause == "a value of the batch" and x.sum() > 1000:
            return None
        if cause == "a counter":
            counter["runs"] += 1
        if cause == "a buffer":
            vae.runs += 1
        return vae.model(x)

    program = nn.Module()
    program.model, program.guide = model, vae.guide
    assert batches(terms, program, x, count=6) == 6


def test_terms_that_are_not_finite_name_the_site(x):
    vae, terms = make()
    batches(terms, vae, x, count=4)
    with torch.no_grad():
        vae.likelihood.network.layers[0].weight.fill_(torch.inf)
    with pytest.raises(NonFiniteLoss, match="site 'x' of the model"):
        terms(vae.model, vae.guide, x)
