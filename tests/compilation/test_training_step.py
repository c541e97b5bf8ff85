"""The step: what it computes, that a recording repeats it bit for bit, and when it is not believed."""

import itertools
import math
import random
from collections import deque
from contextlib import nullcontext
from functools import partial
from types import ModuleType, SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import nn
from torch._inductor import config as inductor

from pyrovae import (
    MLP,
    VAE,
    Bernoulli,
    DiagonalNormal,
    Gaussian,
    NonFiniteLoss,
    SemiSupervisedVAE,
    StandardNormal,
    TraceEnum_ELBO,
)
from pyrovae.compilation import TrainingStep
from pyrovae.handlers import Temper
from pyrovae.objectives import estimate_elbo_terms
from pyrovae.programs import private_modules

SHAPE, D, B = (1, 4, 4), 3, 8
small = partial(MLP, hidden_features=(16,))


def make_vae(likelihood=Bernoulli, **options):
    return VAE(StandardNormal(D), likelihood(SHAPE, D, small, **options), DiagonalNormal(SHAPE, D, small))


@pytest.fixture
def x():
    return (torch.rand(B, *SHAPE) < 0.5).float()


@pytest.fixture(autouse=True)
def _surroundings():
    with private_modules(), pyro.validation_enabled(False):  # as in fit
        yield


def loss_with_noise(program, x, elbo=Trace_ELBO):
    torch.manual_seed(5)
    loss = elbo().loss(program.model, program.guide, x)
    torch.manual_seed(5)
    q = program.posterior(x)
    z = q.rsample()
    return loss, q.base_dist.loc, q.base_dist.scale, z


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
def test_bernoulli_loss_is_cross_entropy_plus_kl(x, elbo):
    vae = make_vae()
    loss, loc, scale, z = loss_with_noise(vae, x, elbo)
    cross_entropy = F.binary_cross_entropy_with_logits(vae.likelihood.network(z), x, reduction="sum")
    if elbo is TraceMeanField_ELBO:
        kl = 0.5 * (loc**2 + scale**2 - 1 - 2 * scale.log()).sum()
    else:  # log q(z|x) - log p(z) at the same noise, whose mean is the closed form
        kl = (0.5 * z**2 - 0.5 * ((z - loc) / scale) ** 2 - scale.log()).sum()
    assert loss == pytest.approx((cross_entropy + kl).item(), rel=1e-4)


@pytest.mark.slow
def test_the_sampled_kl_has_the_closed_form_as_its_mean(x):
    vae = make_vae()
    q = vae.posterior(x).base_dist
    closed = 0.5 * (q.loc**2 + q.scale**2 - 1 - 2 * q.scale.log()).sum().item()
    kls = torch.stack([estimate_elbo_terms(vae.model, vae.guide, x)[1] for _ in range(400)])
    assert kls.mean().item() == pytest.approx(closed, abs=4 * kls.std().item() / 20)


@pytest.mark.parametrize("scale", ["fixed", "shared", "pixel", "network"])
def test_gaussian_loss_is_squared_error_with_all_constants(x, scale):
    vae = make_vae(Gaussian, scale=scale, initial_scale=0.3)
    loss, loc, deviation, z = loss_with_noise(vae, x, TraceMeanField_ELBO)
    p = vae.likelihood(z).base_dist
    squared = ((x - p.loc) ** 2 / (2 * p.scale**2) + p.scale.log() + 0.5 * math.log(2 * math.pi)).sum()
    kl = 0.5 * (loc**2 + deviation**2 - 1 - 2 * deviation.log()).sum()
    assert loss == pytest.approx((squared + kl).item(), rel=1e-4)


def gradients(step, program, x, steps, batches=None):
    """Run steps without updates and return every gradient and loss."""
    found = []
    for i in range(steps):
        torch.manual_seed(100 + i)
        loss = step.loss_and_grads(program.model, program.guide, x if batches is None else batches[i])
        found.append((loss, [p.grad.clone() for p in program.parameters() if p.grad is not None]))
        for p in program.parameters():
            p.grad = None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO, partial(Trace_ELBO, num_particles=3)])
@pytest.mark.parametrize("kind", [Bernoulli, Gaussian])
def test_a_recorded_step_is_bit_identical(x, elbo, kind):
    vae = make_vae(kind)
    vae.posterior.network.layers.insert(0, nn.Dropout(0.3))
    batches = [x, x, x[:5], x, x[:5], x[:5], x, x]  # a last, smaller batch gets a recording of its own
    plain, graph = TrainingStep(elbo(), "off"), TrainingStep(elbo(), "graph")
    expected = gradients(plain, vae, x, len(batches), batches)
    found = gradients(graph, vae, x, len(batches), batches)
    assert graph.compile == "graph"
    assert len(graph._graphs) == 2
    for (loss, grads), (recorded_loss, recorded_grads) in zip(expected, found, strict=True):
        assert recorded_loss == pytest.approx(loss, rel=1e-5)
        assert len(grads) == len(recorded_grads) == len(list(vae.parameters()))
        assert all(torch.equal(a, b) for a, b in zip(grads, recorded_grads, strict=True))
    torch.testing.assert_close(plain.totals, graph.totals)


@pytest.mark.slow
def test_a_compiled_step_is_the_recorded_one_to_rounding(x):
    vae = normalized(x)
    vae.posterior.network.layers.insert(2, nn.Dropout(0.3))
    vae.likelihood.network.layers.insert(1, nn.Tanh())
    before = [buffer.clone() for buffer in vae.buffers()]
    found = []
    for compile in ("graph", "inductor"):
        for buffer, value in zip(vae.buffers(), before, strict=True):
            buffer.copy_(value)
        step = TrainingStep(Trace_ELBO(), compile, [vae])
        grads = gradients(step, vae, x, 5, [x, x, 1 - x, x, 1 - x])
        step.begin_epoch()
        grads += gradients(step, vae, x, 3)
        assert step.compile == compile
        (recorded,) = step._graphs.values()
        assert recorded.is_compiled == (compile == "inductor")
        found.append((grads, [buffer.clone() for buffer in vae.buffers()]))
    for (loss, grads), (compiled_loss, compiled) in zip(found[0][0], found[1][0], strict=True):
        assert compiled_loss == pytest.approx(loss, rel=1e-5)
        torch.testing.assert_close(compiled, grads, rtol=1e-3, atol=1e-4)
    names = [node.name for node in recorded._recording._graph.graph.nodes]
    assert any("tanh" in name for name in names)  # what is replaced for the compiler
    assert any("cross_entropy" in name for name in names)
    torch.testing.assert_close(found[1][1], found[0][1])


@pytest.mark.slow
def test_without_a_compiler_the_recorded_step_goes_on(x):
    vae = make_vae()
    expected = gradients(TrainingStep(Trace_ELBO(), "off"), vae, x, 4)
    step = TrainingStep(Trace_ELBO(), "inductor")
    without = inductor.patch({"cpp.cxx": ("no-such-compiler",), "fx_graph_cache": False})
    with without, pytest.warns(UserWarning, match=r"Inductor cannot compile the step \(.*compiler.*recorded graph"):
        found = gradients(step, vae, x, 4)
    assert step.compile == "graph"
    for (_, grads), (_, recorded) in zip(expected, found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(grads, recorded, strict=True))


@pytest.mark.slow
def test_beta_changes_between_replays(x):
    vae = make_vae()
    beta = torch.ones(())
    step = TrainingStep(Trace_ELBO(), "graph")
    model, guide = Temper(beta)(vae.model), Temper(beta)(vae.guide)
    losses = {}
    for value in (1.0, 1.0, 1.0, 0.25, 0.0, 1.0):
        beta.fill_(value)
        torch.manual_seed(3)
        losses.setdefault(value, []).append(step.loss_and_grads(model, guide, x))
    torch.manual_seed(3)
    reconstruction, kl = estimate_elbo_terms(vae.model, vae.guide, x).tolist()
    assert step.compile == "graph"
    for value, found in losses.items():
        assert found == pytest.approx([value * kl - reconstruction] * len(found), rel=1e-4)


def test_reconstruction_and_kl_are_untempered(x):
    vae = make_vae()
    beta = torch.tensor(0.1)
    step = TrainingStep(Trace_ELBO(), "off")
    torch.manual_seed(3)
    step.loss_and_grads(Temper(beta)(vae.model), Temper(beta)(vae.guide), x)
    torch.manual_seed(3)
    torch.testing.assert_close(step.totals, estimate_elbo_terms(vae.model, vae.guide, x))


def test_a_program_with_state_in_python_is_not_recorded(x):
    vae = make_vae()
    weights = itertools.cycle([1.0, 1.5, 2.0, 2.5])  # whose state nobody sees

    def model(x):
        with pyro.poutine.scale(scale=float(next(weights))):
            return vae.model(x)

    step = TrainingStep(Trace_ELBO(), "graph")
    step.loss_and_grads(model, vae.guide, x)
    step.loss_and_grads(model, vae.guide, x)
    with pytest.warns(UserWarning, match="does not repeat what Pyro computes"):
        step.loss_and_grads(model, vae.guide, x)
    step.loss_and_grads(model, vae.guide, x)  # and says so once


def test_a_program_that_holds_values_of_its_batch_is_found_out(x):
    vae = make_vae()

    def guide(x):
        mean = torch.tensor(x.mean(0).tolist())
        return vae.guide(x - mean)

    step = TrainingStep(Trace_ELBO(), "graph")
    step.loss_and_grads(vae.model, guide, x)
    step.loss_and_grads(vae.model, guide, x)
    with pytest.warns(UserWarning, match="does not repeat what Pyro computes"):
        step.loss_and_grads(vae.model, guide, 1 - x)


def test_a_recording_is_compared_ever_more_rarely_but_at_once_if_a_value_has_changed(x, monkeypatch):
    compared = []
    compare = TrainingStep._compare
    monkeypatch.setattr(TrainingStep, "_compare", lambda *given: (compared.append(epoch), compare(*given)))
    vae, options = make_vae(), {"scale": 1.0}

    def model(x):
        with pyro.poutine.scale(scale=options["scale"]):
            return vae.model(x)

    step = TrainingStep(Trace_ELBO(), "graph", [vae])
    for epoch in range(1, 10):  # noqa: B007 - the stand-in reads it
        step.begin_epoch()
        gradients(step, SimpleNamespace(model=model, guide=vae.guide, parameters=vae.parameters), x, 3)
    assert compared == [1, 2, 4, 8]
    options["scale"] = 2.0
    step.begin_epoch()
    with pytest.warns(UserWarning, match="does not repeat what Pyro computes"):
        step.loss_and_grads(model, vae.guide, x)


def test_a_parameter_that_is_replaced_between_epochs_is_noticed(x):
    vae = make_vae()
    step = TrainingStep(Trace_ELBO(), "graph", [vae])
    for _ in range(4):
        step.begin_epoch()
        gradients(step, vae, x, 3)
    layer = vae.likelihood.network.layers[0]
    layer.weight = nn.Parameter(2 * layer.weight.detach())
    step.begin_epoch()  # the fifth, in which nothing is compared by itself
    torch.manual_seed(3)
    with pytest.warns(UserWarning, match="does not repeat what Pyro computes"):
        loss = step.loss_and_grads(vae.model, vae.guide, x)
    torch.manual_seed(3)
    assert loss == pytest.approx(Trace_ELBO().loss(vae.model, vae.guide, x), rel=1e-5)


def test_a_batch_that_comes_once_an_epoch_is_recorded_when_it_has_come_often(x):
    vae = make_vae()
    found = {}
    for compile in ("off", "graph"):
        step = TrainingStep(Trace_ELBO(), compile, [vae])
        found[compile] = []
        for _ in range(20):
            step.begin_epoch()
            found[compile] += gradients(step, vae, x, 1)
        assert len(step._graphs) == (compile == "graph")
        assert step.compile == compile
    for (_, grads), (_, recorded) in zip(found["off"], found["graph"], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(grads, recorded, strict=True))


def normalized(x, kind=Bernoulli, **options):
    """A program whose guide normalises its batches."""
    vae = make_vae(kind, **options)
    vae.posterior.network.layers.insert(1, nn.BatchNorm1d(16))
    return vae


@pytest.mark.slow
@pytest.mark.parametrize("make", [normalized, lambda x: make_vae(Gaussian, scale="optimal")])
def test_a_recorded_step_changes_buffers_as_pyro_does(x, make):
    vae = make(x)
    before = [buffer.clone() for buffer in vae.buffers()]
    found = []
    for compile in ("off", "graph"):
        for buffer, value in zip(vae.buffers(), before, strict=True):
            buffer.copy_(value)
        step = TrainingStep(Trace_ELBO(), compile, [vae])
        grads = gradients(step, vae, x, 6, [x, x, x, 1 - x, x, 1 - x])
        assert step.compile == compile
        found.append((grads, [buffer.clone() for buffer in vae.buffers()]))
    for (loss, grads), (recorded_loss, recorded) in zip(found[0][0], found[1][0], strict=True):
        assert recorded_loss == pytest.approx(loss, rel=1e-5)
        assert all(torch.equal(a, b) for a, b in zip(grads, recorded, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(before, found[1][1], strict=True))


def test_a_buffer_whose_change_depends_on_python_is_found_out(x):
    vae = make_vae()
    vae.posterior.network.layers.insert(1, nn.BatchNorm1d(16, momentum=None))  # a share of 1 / number of batches
    step = TrainingStep(Trace_ELBO(), "graph", [vae])
    step.loss_and_grads(vae.model, vae.guide, x)
    with pytest.warns(UserWarning, match="cannot be recorded"):
        step.loss_and_grads(vae.model, vae.guide, x)


def test_a_program_whose_buffers_are_replaced_is_not_recorded(x):
    vae = make_vae()
    vae.register_buffer("count", torch.zeros(()))

    def guide(x):
        vae.count = vae.count + 1
        return vae.guide(x)

    step = TrainingStep(Trace_ELBO(), "graph", [vae])
    with pytest.warns(UserWarning, match="replaces buffers"):
        step.loss_and_grads(vae.model, guide, x)
    assert step.compile == "off"


def test_a_mask_counts_in_the_figures_too(x):
    vae = make_vae()
    mask = torch.arange(B) < 3
    model, guide = pyro.poutine.mask(vae.model, mask), pyro.poutine.mask(vae.guide, mask)
    torch.manual_seed(3)
    reconstruction, kl = estimate_elbo_terms(model, guide, x).tolist()
    torch.manual_seed(3)
    assert reconstruction - kl == pytest.approx(-Trace_ELBO().loss(model, guide, x), rel=1e-5)


def test_a_program_that_branches_on_values_is_not_recorded(x):
    vae = make_vae()

    def guide(x):
        if x.sum() > -1:
            return vae.guide(x)
        return None

    step = TrainingStep(Trace_ELBO(), "graph")
    step.loss_and_grads(vae.model, guide, x)
    with pytest.warns(UserWarning, match="cannot be recorded"):
        loss = step.loss_and_grads(vae.model, guide, x)
    assert math.isfinite(loss)


def test_a_guide_that_is_not_reparameterised_is_recorded_or_falls_back_but_is_right(x):
    logits = nn.Parameter(torch.zeros(()))

    def model(x):
        with pyro.plate("data", len(x)):
            b = pyro.sample("b", dist.Bernoulli(torch.tensor(0.5)))
            pyro.sample("x", dist.Normal(b, 1.0), obs=x.flatten(1)[:, 0])

    def guide(x):
        pyro.module("guide", module)
        with pyro.plate("data", len(x)):
            pyro.sample("b", dist.Bernoulli(logits=module.logits))

    module = nn.Module()
    module.logits = logits
    found = {}
    for compile in ("off", "graph"):
        step = TrainingStep(Trace_ELBO(), compile)
        found[compile] = []
        for i in range(4):
            torch.manual_seed(i)
            step.loss_and_grads(model, guide, x)
            found[compile].append(logits.grad.item())
            logits.grad = None
    assert found["graph"] == found["off"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Encountered")
def test_a_loss_that_is_not_finite_names_its_site(x):
    vae = make_vae()
    for compile, count in (("off", 0), ("off", 3), ("graph", 3)):  # count 0: the first step, with validation on
        step = TrainingStep(Trace_ELBO(), compile)
        for _ in range(count):
            step.loss_and_grads(vae.model, vae.guide, x)
        with torch.no_grad():
            bias = vae.likelihood.network.layers[-1].bias
            kept = bias.clone()
            bias[0] = math.inf
        with pytest.raises(NonFiniteLoss, match=r"site 'x' of the model \(its log-probability"):
            step.loss_and_grads(vae.model, vae.guide, x)
        with torch.no_grad():
            bias.copy_(kept)
            weight = vae.posterior.network.layers[-1].bias
            kept = weight.clone()
            weight[0] = math.nan
        with pytest.raises(NonFiniteLoss, match=r"site 'z' of the guide \(its value"):
            step.loss_and_grads(vae.model, vae.guide, x)
        with torch.no_grad():
            weight.copy_(kept)


@pytest.mark.slow
@pytest.mark.parametrize("compile", ["off", "graph"])
def test_weight_decay_is_the_gradient_of_a_penalty_on_each_datum(x, compile):
    decaying = partial(MLP, hidden_features=(16,), weight_decay=0.25)
    vae = VAE(StandardNormal(D), Bernoulli(SHAPE, D, decaying), DiagonalNormal(SHAPE, D, small))
    plain = gradients(TrainingStep(Trace_ELBO(), compile, [vae]), vae, x, 4)
    for module in vae.modules():
        if getattr(module, "weight_decay", 0.0):
            module.weight_decay = 0.0
    without = gradients(TrainingStep(Trace_ELBO(), compile, [vae]), vae, x, 4)
    for (loss, grads), (same_loss, bare) in zip(plain, without, strict=True):
        assert loss == same_loss  # it is part of the gradients only
        for (name, p), grad, other in zip(vae.named_parameters(), grads, bare, strict=True):
            decayed = "likelihood" in name and p.dim() > 1
            expected = B * 0.25 * p.detach() if decayed else torch.zeros_like(p)
            torch.testing.assert_close(grad - other, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_an_enumerated_step_is_recorded_and_repeats_pyros(x):
    program = SemiSupervisedVAE(
        SHAPE,
        D,
        3,
        likelihood=partial(Bernoulli, network=small),
        posterior=partial(DiagonalNormal, network=small),
        classifier=small,
    )
    found = []
    for compile in ("off", "graph"):
        step = TrainingStep(TraceEnum_ELBO(max_plate_nesting=1), compile, [program])
        found.append(gradients(step, program, x, 5))
        assert step.compile == compile
        assert step.totals.isfinite().all()
    for (loss, grads), (recorded_loss, recorded) in zip(*found, strict=True):
        assert recorded_loss == pytest.approx(loss, rel=1e-5)
        assert all(torch.equal(a, b) for a, b in zip(grads, recorded, strict=True))


@pytest.mark.slow
def test_terms_of_an_enumerated_site_are_their_mean_over_its_values(x):
    """Enumerating y exactly gives the mean of what sampling it gives."""
    program = SemiSupervisedVAE(
        SHAPE,
        D,
        3,
        likelihood=partial(Bernoulli, network=small),
        posterior=partial(DiagonalNormal, network=small),
        classifier=small,
    )
    enumerated, x = TrainingStep(TraceEnum_ELBO(max_plate_nesting=1), "off"), x.repeat(8, 1, 1, 1)
    for _ in range(50):
        enumerated.loss_and_grads(program.model, program.guide, x)
    sampled = torch.stack([estimate_elbo_terms(program.model, program.guide, x) for _ in range(100)])
    error = sampled.std(0) / 100**0.5
    assert ((enumerated.totals / 50 - sampled.mean(0)).abs() < 6 * error + 1e-3).all()


def test_each_parameter_gets_a_gradient_of_its_own_in_its_own_layout(x):
    """Fused optimizers read raw memory, and clipping in place would meet a shared gradient twice."""
    module = nn.Module()
    module.weight = nn.Parameter(torch.randn(16, 3))
    module.a, module.b = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))

    def model(x):
        pyro.module("odd", module)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            loc = x.flatten(1) @ module.weight.t().reshape(3, 16).t() + (module.a + module.b)
            pyro.sample("x", dist.Normal(loc + z, 1.0).to_event(1), obs=torch.zeros(len(x), 3))
            pyro.factor("odd", -module.weight.sum().expand(len(x)))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    step = TrainingStep(Trace_ELBO(), "graph", [module])
    for _ in range(4):
        module.zero_grad()
        step.loss_and_grads(model, guide, x)
    assert step.compile == "graph"
    for parameter in module.parameters():
        assert parameter.grad.stride() == parameter.stride()
    assert module.a.grad.data_ptr() != module.b.grad.data_ptr()


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.0, 0.9, 1.03])
@pytest.mark.parametrize("prior", ["plain", "with an infinite buffer"])
def test_a_compiler_that_errs_is_found_out(x, monkeypatch, factor, prior):
    def compile(self, *arguments):
        self._compiled = lambda *inputs: (
            *self._run(*inputs)[:2],
            *(factor * gradient for gradient in self._run(*inputs)[2:]),
        )

    monkeypatch.setattr("pyrovae.compilation.graph_capture.Recording.compile", compile)
    vae = make_vae()
    if prior != "plain":
        vae.register_buffer("bound", torch.tensor(math.inf))
    step = TrainingStep(Trace_ELBO(), "inductor", [vae])
    with pytest.warns(UserWarning, match="does not repeat the recorded one"):
        gradients(step, vae, x, 4)
    assert step.compile == "graph"


def test_a_parameter_that_only_pyro_gives_a_gradient_is_found_out(x):
    vae = make_vae()
    late = nn.Module()
    late.shift = nn.Parameter(torch.zeros(()))
    is_late = itertools.chain([False] * 2, itertools.repeat(True))  # whose state nobody sees

    def model(x):
        if next(is_late):
            pyro.module("late", late)
            return vae.model(x * (1 + late.shift))
        return vae.model(x)

    step = TrainingStep(Trace_ELBO(), "graph", [vae])
    for _ in range(2):
        step.loss_and_grads(model, vae.guide, x)
    with pytest.warns(UserWarning, match="does not repeat what Pyro computes"):
        step.loss_and_grads(model, vae.guide, x)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["refused", "repeated", "given up"])
def test_shapes_that_depend_on_values(x, way):
    vae = make_vae()

    def guide(x):
        bright = x.flatten(1).mean(1) > 0.5
        if way == "refused":
            return vae.guide(x + 0 * bright.nonzero().sum())
        some = x[bright]
        if way == "given up":
            some = some + torch.zeros(some.shape)  # the number is one of the recorded batch
        return vae.guide(x * (1 + some.mean()))

    dark, light = torch.zeros(4, *SHAPE), torch.ones(4, *SHAPE)
    batches = [
        torch.cat((dark[:i], light[: 8 - i] if i > 3 else torch.cat((light, light))[: 8 - i])) for i in (4, 4, 4, 2, 4)
    ]
    expected = gradients(TrainingStep(Trace_ELBO(), "off"), Guided(vae, guide), x, 5, batches)
    step = TrainingStep(Trace_ELBO(), "graph")
    message = {"refused": "depend on values", "given up": "cannot be repeated"}.get(way)
    with nullcontext() if message is None else pytest.warns(UserWarning, match=message):
        found = gradients(step, Guided(vae, guide), x, 5, batches)
    assert step.compile == ("graph" if message is None else "off")
    for (_, grads), (_, others) in zip(expected, found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(grads, others, strict=True))


class Guided:
    def __init__(self, vae, guide):
        self.model, self.guide, self.parameters = vae.model, guide, vae.parameters


class Counter:
    steps = 0

    def next(self):
        self.steps += 1


class WithSlots:
    __slots__ = ("steps",)

    def __init__(self):
        self.steps = 0

    def next(self):
        self.steps += 1


class OfTheClass:
    steps = 0

    def next(self):
        OfTheClass.steps += 1


def counting(kind, vae):
    """Return a function that counts its calls in Python, each kind in another place."""
    if kind == "closure":
        steps = 0

        def count():
            nonlocal steps
            steps += 1

    elif kind == "global":

        def count():
            global STEPS
            STEPS += 1

    elif kind == "generator":
        numbers = (i for i in range(100))

        def count():
            next(numbers)

    elif kind == "random":

        def count():
            random.random()

    elif kind == "list":
        calls = []

        def count():
            calls.append(1)

    elif kind in ("numpy", "iterator", "deque"):
        source = {"numpy": np.random.default_rng(0), "iterator": iter(range(100)), "deque": deque()}[kind]

        def count():
            return source.random() if kind == "numpy" else next(source) if kind == "iterator" else source.append(1)

    elif kind == "function":

        def count():
            count.calls += 1

        count.calls = 0
    elif kind == "imported":
        schedules = ModuleType("schedules")
        schedules.steps = 0

        def count():
            schedules.steps += 1

    elif kind == "namespace":
        options = SimpleNamespace(steps=0)

        def count():
            options.steps += 1

    elif kind == "distribution":
        held = [dist.Normal(0.0, 1.0)]

        def count():
            held[0] = dist.Normal(0.0, 1.0)

    elif kind == "keyword":

        def count(*, kept={"steps": 0}):  # noqa: B006 - as programs do
            kept["steps"] += 1

    elif kind in ("module", "tensor"):
        vae.steps = 0 if kind == "module" else torch.zeros(())

        def count():
            vae.steps += 1

    else:
        count = {"object": Counter, "class": OfTheClass, "slots": WithSlots}[kind]().next
    return count


STEPS = 0


PLACES = (
    "module tensor object class slots closure global list deque generator iterator random numpy function imported "
    "namespace distribution keyword"
)


@pytest.mark.parametrize("kind", PLACES.split())
def test_a_program_that_counts_in_python_is_not_recorded(x, kind):
    vae = make_vae()
    count = counting(kind, vae)

    def guide(x):
        count()
        return vae.guide(x)

    step = TrainingStep(Trace_ELBO(), "graph", [vae])
    with pytest.warns(UserWarning, match="changes values of the program .* such as a counter"):
        step.loss_and_grads(vae.model, guide, x)


@pytest.mark.slow
def test_batches_of_other_strides_are_recorded_apart(x):
    vae = make_vae()
    step = TrainingStep(Trace_ELBO(), "graph")
    for _ in range(4):
        for batch in (x, x.transpose(2, 3)):
            assert math.isfinite(step.loss_and_grads(vae.model, vae.guide, batch))
    assert len(step._graphs) == 2
