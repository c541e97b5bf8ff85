"""Recorded validation: equal to Pyro's bit for bit, and not used when it is outdated."""

import types
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
    with private_modules(), pyro.validation_enabled(False), pyro.get_param_store().scope():  # as in fit
        yield


@pytest.fixture
def x():
    return (torch.rand(B, *SHAPE) < 0.5).float()


def vae():
    return VAE(StandardNormal(D), Bernoulli(SHAPE, D, small), DiagonalNormal(SHAPE, D, small))


class WithPrior(VAE):
    """A VAE whose model asks for its prior at each run."""

    def __init__(self, prior_of):
        super().__init__(StandardNormal(D), Bernoulli(SHAPE, D, small), DiagonalNormal(SHAPE, D, small))
        self.prior_of = prior_of

    def model(self, x):
        pyro.module("program", self)
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", self.prior_of(self).expand([D]).to_event(1))
            pyro.sample("x", self.likelihood(z), obs=x)


class Validation:
    """Validation of a program in epochs; it counts the batches that ran through Pyro."""

    def __init__(self, program, compile="graph"):
        self.program = program
        self.terms = ValidationTerms(
            program.model, program.guide, TrainingStep(Trace_ELBO(), compile, modules=[program.eval()])
        )
        self.seed = 0

    def epoch(self, *xs):
        """Validate on batches, check their terms, and return how many ran through Pyro."""
        self.terms.begin_epoch()
        through_pyro = 0
        for x in xs:
            arguments = x if isinstance(x, tuple) else (x,)
            self.seed += 1
            torch.manual_seed(self.seed)
            with patch.object(validation_terms, "estimate_elbo_terms", wraps=estimate_elbo_terms) as counted:
                found = self.terms(*arguments)
            through_pyro += counted.call_count
            rest = torch.rand(3)
            torch.manual_seed(self.seed)
            expected = estimate_elbo_terms(self.program.model, self.program.guide, *arguments)
            assert torch.equal(found, expected)
            assert torch.equal(rest, torch.rand(3))  # the generator is where Pyro leaves it
        return through_pyro

    def until_replayed(self, x):
        """Validate for four epochs, of which the last compares each batch; return the object."""
        assert self.epoch(x) == 1  # not recorded
        assert self.epoch(x) == 1  # recorded
        assert self.epoch(x) == 1  # confirmed
        assert self.epoch(x) == 1  # compared, as in epochs 1, 2, 4, 8, ...
        assert self.epoch(x) == 0
        return self


def test_recorded_terms_are_pyros_bit_for_bit_and_follow_the_weights(x):
    validation = Validation(vae()).until_replayed(x)
    with torch.no_grad():
        for weight in validation.program.parameters():
            weight.mul_(1.5)
    assert validation.epoch(1 - x, x) == 0
    assert validation.epoch(x, x[:5]) == 1  # another shape
    assert validation.epoch(x, 1 - x) == 2  # the eighth epoch
    assert validation.epoch(x, x[:5], x[:5], x[:5]) == 3  # recorded, compared with the same weights
    assert validation.epoch(x, x[:5], x[:5], x[:5]) == 1  # confirmed with others


@pytest.mark.slow
def test_the_validation_of_every_class_is_recorded(monkeypatch):
    monkeypatch.setattr(validation_terms, "_OFTEN", 0)
    classes = module_of("benchmarks/programs_classes", monkeypatch)
    cases = [(kind, name, case) for kind, name, case in classes.cases() if "(" not in name and kind != "objective"]
    assert len(cases) > 40
    for kind, name, case in cases:
        torch.manual_seed(0)
        program, data, _ = case()
        labels = labels_for(program.model, program.guide)
        arguments = next(batches_of("always" if labels == "always" else "no", data.validation, 8))
        with pyro.get_param_store().scope():
            validation = Validation(program)
            found = [validation.epoch(arguments) for _ in range(3)]
            assert found == [1, 1, 0], f"{kind} {name} is not replayed"  # recorded, confirmed, replayed


def test_fit_validates_to_the_same_numbers(monkeypatch):
    curves, replayed = [], []
    replay = ValidationTerms._replay
    monkeypatch.setattr(ValidationTerms, "_replay", lambda *given: (replayed.append(1), replay(*given))[1])
    for often in (1, 10**9):
        monkeypatch.setattr(validation_terms, "_OFTEN", often)
        torch.manual_seed(3)
        vae = VAE(StandardNormal(D), Bernoulli((1, 8, 8), D, small), DiagonalNormal((1, 8, 8), D, small))
        vae.posterior.network.layers.insert(1, nn.BatchNorm1d(16))
        history = fit(vae.model, vae.guide, Digits(), epochs=6, compile="graph", ema_decay=0.9, progress=False)
        curves.append([(epoch.validation_reconstruction, epoch.validation_kl) for epoch in history.epochs])
    assert curves[0] == curves[1]
    assert len(replayed) == 2 * 2  # two batches an epoch, in the fifth and the sixth


def test_with_compile_off_nothing_is_recorded(x):
    validation = Validation(vae(), "off")
    assert [validation.epoch(x) for _ in range(6)] == [1] * 6


def test_a_changed_python_value_is_noticed(x):
    config = types.SimpleNamespace(scale=1.0)
    validation = Validation(WithPrior(lambda _: dist.Normal(0.0, config.scale))).until_replayed(x)
    config.scale = 2.0
    assert [validation.epoch(x) for _ in range(3)] == [1, 1, 1]


def test_a_replaced_object_of_a_library_is_noticed(x):
    kept = {"prior": dist.Normal(0.0, 1.0)}
    validation = Validation(WithPrior(lambda _: kept["prior"])).until_replayed(x)
    kept["prior"] = dist.Normal(0.0, 2.0)
    assert validation.epoch(x) == 1


def test_a_distribution_that_is_kept_for_an_epoch_is_noticed(x):
    class Keeping(WithPrior):
        kept = None

        def train(self, mode=True):
            self.kept = None
            return super().train(mode)

    def prior_of(program):
        if program.kept is None:
            program.kept = dist.Normal(0.0, program.posterior.network.layers[0].weight.detach().std())
        return program.kept

    validation = Validation(Keeping(prior_of))
    for _ in range(6):
        with torch.no_grad():
            validation.program.posterior.network.layers[0].weight.mul_(1.5)
        validation.program.eval()
        assert validation.epoch(x, x, x) == 3


def test_a_replaced_parameter_is_noticed(x):
    def prior_of(_):
        return dist.Normal(0.0, pyro.param("scale", torch.ones(()), constraint=dist.constraints.positive))

    validation = Validation(WithPrior(prior_of)).until_replayed(x)
    with torch.no_grad():
        pyro.get_param_store()["scale"].unconstrained().fill_(1.0)
    assert validation.epoch(x) == 0
    del pyro.get_param_store()["scale"]
    pyro.param("scale", torch.tensor(3.0), constraint=dist.constraints.positive)
    assert validation.epoch(x) == 1


@pytest.mark.parametrize("cause", ["a condition on the batch", "a counter", "a buffer"])
def test_what_cannot_be_recorded_runs_through_pyro(cause, x):
    class Odd(VAE):
        counter = 0

        def model(self, x):
            if cause == "a condition on the batch" and x.sum() > 1000:
                return None
            if cause == "a counter":
                self.counter += 1
            if cause == "a buffer":
                self.runs += 1
            return super().model(x)

    program = Odd(StandardNormal(D), Bernoulli(SHAPE, D, small), DiagonalNormal(SHAPE, D, small))
    program.register_buffer("runs", torch.zeros(()))
    validation = Validation(program)
    assert [validation.epoch(x) for _ in range(6)] == [1] * 6
    assert validation.terms._is_off


class WithCentre(VAE):
    """A VAE whose guide subtracts numbers that it reads in Python, of the batch or of a weight."""

    of = "batch"

    def guide(self, x):
        read = x if self.of == "batch" else self.posterior.network.layers[0].weight
        return super().guide(x - torch.tensor(read.mean().tolist()))


@pytest.mark.parametrize("of", ["batch", "weight"])
def test_numbers_of_the_recorded_batch_and_weights_are_noticed(of, x):
    program = WithCentre(StandardNormal(D), Bernoulli(SHAPE, D, small), DiagonalNormal(SHAPE, D, small))
    program.of = of
    validation = Validation(program)
    for _ in range(6):
        with torch.no_grad():
            program.posterior.network.layers[0].weight.add_(0.1)
        validation.epoch(x, x, x, x, 1 - x)  # checks all numbers
    assert validation.terms._is_off


def test_shapes_that_depend_on_values_are_noticed_before_and_told_after(x):
    class Masking(VAE):
        def guide(self, x):
            some = x[x.flatten(1).mean(1) > 0.5]
            return super().guide(x * (1 + (some + torch.zeros(some.shape)).mean()))  # of the recorded batch's shape

    dark, light = torch.zeros(4, *SHAPE), torch.ones(4, *SHAPE)
    half, quarter = torch.cat((dark, light)), torch.cat((dark, dark[:2], light[:2]))
    validation = Validation(Masking(StandardNormal(D), Bernoulli(SHAPE, D, small), DiagonalNormal(SHAPE, D, small)))
    validation.until_replayed(half)
    with pytest.warns(UserWarning, match="validation bounds of earlier epochs may be wrong"):
        assert validation.epoch(half, quarter, half) == 2
    assert validation.epoch(half) == 1


def test_terms_that_are_not_finite_name_the_site(x):
    validation = Validation(vae()).until_replayed(x)
    with torch.no_grad():
        validation.program.likelihood.network.layers[0].weight.fill_(torch.inf)
    with pytest.raises(NonFiniteLoss, match="site 'x' of the model"):
        validation.epoch(x)
