"""``fit``: it learns, repeats itself, resumes exactly, stops where it should and leaves the world as it was."""

import copy
import math
from functools import partial

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from torch.utils._python_dispatch import TorchDispatchMode

from pyrovae import MLP, VAE, Bernoulli, DataSet, DiagonalNormal, Digits, InputError, NonFiniteLoss, StandardNormal, fit
from pyrovae.compilation import TrainingStep
from pyrovae.compilation.graph_capture import _record
from pyrovae.optimizers import JointOptimizer

small = partial(MLP, hidden_features=(32,))


@pytest.fixture(scope="module")
def digits():
    return Digits()


def make_vae(seed=0, network=small, D=4):
    torch.manual_seed(seed)
    shape = (1, 8, 8)
    return VAE(StandardNormal(D), Bernoulli(shape, D, network), DiagonalNormal(shape, D, network))


fast = partial(torch.optim.Adam, lr=5e-3)


def weights(vae):
    return torch.cat([p.detach().flatten() for p in vae.parameters()])


@pytest.mark.slow
@pytest.mark.parametrize("objective", [pyro.infer.Trace_ELBO, TraceMeanField_ELBO])
def test_the_bound_improves_on_digits(digits, objective):
    vae = make_vae()
    history = fit(
        vae.model, vae.guide, digits, epochs=15, objective=objective, optimizer=fast, progress=False, batch_size=64
    )
    assert history.epochs[-1].validation_elbo > history.epochs[0].validation_elbo + 5
    assert history.epochs[-1].validation_elbo > -27
    assert [row.epoch for row in history.epochs] == list(range(1, 16))
    for row in history.epochs:
        assert row.train_elbo == pytest.approx(row.train_reconstruction - row.train_kl)
        assert row.validation_kl > 0
        assert row.seconds > 0
        assert row.learning_rate == 5e-3


@pytest.mark.slow
def test_recorded_and_plain_training_end_in_the_same_weights(digits):
    ends = []
    for compile in ("off", "graph"):
        vae = make_vae()
        torch.manual_seed(1)
        fit(vae.model, vae.guide, digits, epochs=3, kl_warmup=2, max_norm=50.0, compile=compile, progress=False)
        ends.append(weights(vae))
    assert torch.equal(*ends)


@pytest.mark.slow
def test_a_batch_in_parts_has_the_gradient_of_the_whole(digits):
    def model(x):
        pyro.module("vae", vae)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", vae.prior())
            pyro.sample("x", vae.likelihood(z), obs=x)

    def guide(x):  # no noise: parts of a batch draw other noise than the whole
        pyro.module("vae", vae)
        with pyro.plate("data", len(x)):
            pyro.sample("z", pyro.distributions.Delta(vae.posterior(x).base_dist.loc).to_event(1))

    ends = []
    for accumulate in (1, 3, 1000):
        vae = make_vae()
        torch.manual_seed(1)
        options = {"batch_size": 300, "max_norm": 20.0, "optimizer": partial(torch.optim.SGD, lr=1e-4)}
        fit(model, guide, digits, epochs=2, accumulate=accumulate, progress=False, **options)
        ends.append(weights(vae))
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ends[2], ends[0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(weights(make_vae()), ends[0], atol=1e-3)


@pytest.mark.slow
def test_a_loss_that_is_not_waited_for_stops_the_training_all_the_same(digits, monkeypatch):
    class Tiring(VAE):
        """It has no finite loss from its 18th step on."""

        def model(self, x):
            if self.training:
                self.steps.add_(1)
            bad = torch.where(self.steps >= 18, torch.nan, 0.0)
            pyro.module("vae", self)
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", self.prior())
                return pyro.sample("x", self.likelihood(z + bad), obs=x)

    found = []
    for every in (None, 7):
        monkeypatch.setattr("pyrovae.compilation.finite_check.LossMonitor.__init__.__defaults__", (every,))
        vae = make_vae()
        vae.__class__ = Tiring
        vae.register_buffer("steps", torch.zeros(()))
        torch.manual_seed(1)
        with pytest.raises(NonFiniteLoss) as stop:
            fit(vae.model, vae.guide, digits, epochs=3, batch_size=150, compile="graph", progress=False)
        found.append((str(stop.value), weights(vae)))
    assert "epoch 2, batch 8 of 10: the loss is nan at site 'x' of the model" in found[0][0]
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.slow
def test_no_step_waits_for_a_value(digits, monkeypatch):
    """On a GPU each such question would stop the training until everything before is computed."""

    class Questions(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
                self.count += 1
            return func(*args, **(kwargs or {}))

    questions = Questions()

    def between(history, _):
        if len(history.epochs) == 2:
            questions.__enter__()
        elif len(history.epochs) == 3:
            questions.__exit__(None, None, None)

    monkeypatch.setattr("pyrovae.compilation.finite_check.LossMonitor.__init__.__defaults__", (1000,))
    vae = make_vae()
    options = {"max_norm": 5.0, "kl_warmup": 2, "compile": "graph", "progress": False}
    fit(
        vae.model, vae.guide, digits, epochs=3, batch_size=10, callback=between, **options
    )  # 144 batches, 18 to validate
    assert 0 < questions.count < 120


@pytest.fixture
def compiled(monkeypatch):
    """Let a stand-in compile, which rounds otherwise; return the sizes of its batches, and what it was to compile."""
    found = []

    def compile(self, *arguments, instead=None):
        found.append((len(arguments[0]), None if instead is None else instead.__name__))
        graph, self._compiled_constants = (
            (self._graph, self._constants) if instead is None else _record(instead, arguments)
        )
        self._compiled = lambda *inputs: tuple(result * (1 + 1e-5) for result in graph(*inputs))

    monkeypatch.setattr("pyrovae.compilation.graph_capture.Recording.compile", compile)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [fast, partial(torch.optim.SGD, lr=1e-4)])
def test_a_compiled_training_resumes_exactly(digits, compiled, optimizer):
    ends, states = [], []
    for mode, state in (("inductor", None), ("inductor", 0), ("graph", None)):
        vae = make_vae()
        torch.manual_seed(1)
        fit(
            vae.model,
            vae.guide,
            digits,
            epochs=3,
            batch_size=100,
            compile=mode,
            optimizer=optimizer,
            progress=False,
            callback=lambda _, state: states.append(state()),
            state=None if state is None else states[state],
        )
        ends.append(weights(vae))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])
    # The smaller last batches are not worth it.
    assert compiled == [(100, "_updating_step" if optimizer is fast else None)] * 2


@pytest.mark.slow
def test_what_the_compiled_step_updates_is_what_the_optimizer_would(digits, monkeypatch):
    counted = []
    monkeypatch.setattr(
        JointOptimizer,
        "count_update",
        lambda self, params, count=JointOptimizer.count_update: (counted.append(len(params)), count(self, params)),
    )
    ends = []
    for compile in ("graph", "inductor"):
        vae = make_vae(network=partial(MLP, hidden_features=(16,), weight_decay=1e-3))
        torch.manual_seed(1)
        history = fit(
            vae.model,
            vae.guide,
            digits,
            epochs=3,
            batch_size=128,
            optimizer=partial(torch.optim.AdamW, lr=5e-3, weight_decay=0.1),
            scheduler=partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5),
            compile=compile,
            progress=False,
        )
        ends.append((weights(vae), history.epochs[-1].train_elbo))
    assert counted == [8] * (3 * 11 - 1)  # eleven whole batches an epoch; the very first is not compiled
    torch.testing.assert_close(ends[1][0], ends[0][0], rtol=1e-3, atol=1e-4)
    assert ends[1][1] == pytest.approx(ends[0][1], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"max_norm": 5.0}, {"accumulate": 2}])
def test_gradients_that_are_changed_are_left_to_the_optimizer(digits, compiled, options):
    vae = make_vae()
    fit(vae.model, vae.guide, digits, epochs=1, batch_size=200, compile="inductor", progress=False, **options)
    assert {instead for _, instead in compiled} == {None}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Encountered NaN")  # Pyro says so of the batch that is run again
def test_nothing_is_updated_in_a_compiled_step_whose_loss_is_not_finite(digits, compiled):
    class Broken(VAE):
        def model(self, x):
            pyro.module("vae", self)
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", self.prior())
                return pyro.sample("x", self.likelihood(z + self.bad), obs=x)

    vae = make_vae()
    vae.__class__ = Broken
    vae.register_buffer("bad", torch.zeros(()))
    optim = JointOptimizer(fast)
    recorded = TrainingStep(Trace_ELBO(), "inductor", [vae], optim)
    svi = SVI(vae.model, vae.guide, optim, loss=recorded.loss, loss_and_grads=recorded.loss_and_grads)
    with pyro.get_param_store().scope(), pyro.validation_enabled(False):
        for _ in range(6):
            svi.step(digits.train[:50])
        assert compiled == [(50, "_updating_step")]
        before = weights(vae), copy.deepcopy(optim.get_state())
        vae.bad.fill_(torch.nan)
        with pytest.raises(NonFiniteLoss, match="site 'x'"):
            svi.step(digits.train[:50])
        assert torch.equal(weights(vae), before[0])
        after = optim.get_state()["optimizer"]["state"]
        for row, state in before[1]["optimizer"]["state"].items():
            assert all(torch.equal(after[row][name], value) for name, value in state.items())
            assert state["step"] == 6
        vae.bad.fill_(0.0)
        svi.step(digits.train[:50])
        assert not torch.equal(weights(vae), before[0])


@pytest.mark.parametrize(("epochs", "chosen"), [(1, "graph"), (10**6, "inductor")])
def test_a_long_run_is_compiled_by_itself(digits, monkeypatch, epochs, chosen):
    class Stop(Exception):
        pass

    def step(elbo, compile, modules, optimizer):
        found.append(compile)
        raise Stop

    found = []
    monkeypatch.setattr("pyrovae.training.loop.TrainingStep", step)
    vae = make_vae()
    with pytest.raises(Stop):
        fit(vae.model, vae.guide, digits, epochs=epochs, progress=False)
    with pytest.raises(Stop):  # what it was begun with stands
        fit(vae.model, vae.guide, digits, epochs=epochs, progress=False, state={"compile": "off"})
    assert found == [chosen, "off"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_lower_precision_trains_and_leaves_no_trace(digits, precision):
    bounds = []
    for name in ("float32", precision):
        vae = make_vae()
        torch.manual_seed(1)
        before = torch.get_float32_matmul_precision()
        history = fit(vae.model, vae.guide, digits, epochs=4, optimizer=fast, precision=name, progress=False)
        assert torch.get_float32_matmul_precision() == before
        assert not torch.is_autocast_enabled("cpu")
        assert all(p.dtype == torch.float32 for p in vae.parameters())
        bounds.append(history.epochs[-1].validation_elbo)
    assert bounds[1] == pytest.approx(bounds[0], abs=0.3)


@pytest.mark.slow
def test_resuming_from_any_epoch_ends_in_the_same_weights(digits):
    options = {
        "batch_size": 100,
        "kl_warmup": 3,
        "scheduler": partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5),
        "progress": False,
        "patience": 50,
    }
    vae = make_vae()
    torch.manual_seed(1)
    states = []
    whole = fit(
        vae.model,
        vae.guide,
        digits,
        epochs=5,
        callback=lambda _, state: states.append(state()),
        **options,
    )
    for epoch, state in enumerate(states, 1):
        again = make_vae(seed=99)
        torch.manual_seed(77)
        history = fit(again.model, again.guide, digits, epochs=5, state=state, **options)
        assert torch.equal(weights(vae), weights(again)), epoch
        strip = [row[:7] for row in history.rows()]
        assert strip == [row[:7] for row in whole.rows()]


@pytest.mark.slow
def test_early_stopping_and_the_best_weights(digits):
    vae = make_vae()
    best = []

    def remember(history, state):
        if history.best_epoch == len(history.epochs):
            best[:] = [weights(vae).clone()]

    wild = partial(torch.optim.SGD, lr=3e-4)
    history = fit(
        vae.model,
        vae.guide,
        digits,
        epochs=60,
        optimizer=wild,
        patience=2,
        restore_best=True,
        callback=remember,
        progress=False,
    )
    assert len(history.epochs) < 60
    assert len(history.epochs) == history.best_epoch + 2
    assert torch.equal(weights(vae), best[0])
    assert history.best_value == max(row.validation_elbo for row in history.epochs)


@pytest.mark.slow
def test_an_early_stopped_training_stays_stopped(digits):
    states = []
    options = {"epochs": 60, "optimizer": partial(torch.optim.SGD, lr=3e-4), "patience": 2, "progress": False}
    vae = make_vae()
    history = fit(vae.model, vae.guide, digits, callback=lambda _, state: states.append(state()), **options)
    ended = weights(vae)
    again = make_vae(seed=5)
    resumed = fit(again.model, again.guide, digits, state=states[-1], **options)
    assert len(resumed.epochs) == len(history.epochs) < 60
    assert torch.equal(weights(again), ended)


def test_gradients_that_are_not_finite_stop_it_before_the_update():
    scale = torch.nn.Parameter(torch.zeros(()))
    vae = make_vae()
    vae.register_parameter("unused", scale)

    def model(x):
        pyro.module("vae", vae)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", vae.prior())
            # Finite at 0, with a gradient that is not.
            return pyro.sample("x", vae.likelihood(z + scale.square().sqrt()), obs=x)

    before = weights(vae)
    with pytest.raises(NonFiniteLoss, match=r"norm of its gradients is (nan|inf)"):
        fit(model, vae.guide, Digits(), epochs=1, max_norm=10.0, progress=False)
    assert torch.equal(weights(vae), before)


def test_a_second_pyro_module_of_the_same_names_trains(digits):
    from pyro.nn import PyroModule

    class Program(PyroModule):
        def __init__(self):
            super().__init__()
            self.encoder = PyroModule[torch.nn.Linear](64, 4)
            self.decoder = PyroModule[torch.nn.Linear](2, 64)

        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", pyro.distributions.Normal(torch.zeros(2), 1.0).to_event(1))
                logits = self.decoder(z)
                pyro.sample("x", pyro.distributions.Bernoulli(logits=logits).to_event(1), obs=x.flatten(1))

        def guide(self, x):
            with pyro.plate("data", len(x)):
                loc, raw = self.encoder(x.flatten(1)).chunk(2, -1)
                return pyro.sample("z", pyro.distributions.Normal(loc, raw.exp()).to_event(1))

    for _ in range(2):
        program = Program()
        before = weights(program)
        fit(program.model, program.guide, digits, epochs=1, compile="off", progress=False)
        assert (weights(program) != before).float().mean() > 0.9


@pytest.mark.slow
def test_kl_warmup_begins_without_the_kl(digits):
    kls = []
    for kl_warmup in (0, 10):
        vae = make_vae()
        kls.append(fit(vae.model, vae.guide, digits, epochs=3, kl_warmup=kl_warmup, progress=False).epochs[-1].train_kl)
    assert kls[1] > 2 * kls[0]


def test_a_diverging_loss_stops_with_epoch_batch_and_site(digits):
    vae = make_vae()
    states = []
    with pytest.raises(NonFiniteLoss, match=r"in epoch 1, batch \d+ of 12: the loss is (nan|-?inf) at site '[xz]'"):
        fit(
            vae.model,
            vae.guide,
            digits,
            epochs=50,
            optimizer=partial(torch.optim.SGD, lr=1e6),
            progress=False,
            callback=lambda _, state: states.append(state()),
        )


def test_nothing_is_updated_from_a_loss_that_is_not_finite():
    vae = make_vae()
    x = torch.rand(300, 1, 8, 8).round()
    data = DataSet(x, binarization="none")
    before = None

    def guide(x):
        nonlocal before
        before = weights(vae).clone()
        return vae.guide(x)

    calls = 0

    def model(x):
        nonlocal calls
        calls += torch.is_grad_enabled()  # training steps
        with pyro.poutine.scale(scale=math.inf if calls == 2 else 1.0):
            return vae.model(x)

    with pytest.raises(NonFiniteLoss, match=r"no single site|log-probability is not finite"):
        fit(model, guide, data, epochs=3, compile="off", progress=False)
    assert torch.equal(before, weights(vae))


@pytest.mark.slow
def test_global_state_is_left_alone(digits):
    other = torch.nn.Linear(2, 2)
    pyro.module("vae", other)  # the very name that our program registers
    vae = make_vae()
    before = weights(vae).clone()
    pyro.enable_validation(False)
    try:
        fit(vae.model, vae.guide, digits, epochs=1, progress=False)
        from pyro.infer.util import is_validation_enabled

        assert not is_validation_enabled()
    finally:
        pyro.enable_validation(True)
    store = pyro.get_param_store()
    assert sorted(store.keys()) == ["vae$$$bias", "vae$$$weight"]
    assert store["vae$$$weight"].unconstrained() is other.weight
    assert not torch.equal(before, weights(vae))
    pyro.clear_param_store()


@pytest.mark.slow
def test_a_module_left_in_evaluation_mode_is_trained_and_left_there(digits):
    vae = make_vae(network=small).eval()
    fit(vae.model, vae.guide, digits, epochs=1, progress=False)
    assert not any(module.training for module in vae.modules())


class NamedTwice(VAE):
    def model(self, x):
        pyro.module("likelihood", self.likelihood)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.likelihood(z), obs=x)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [fast, partial(torch.optim.SGD, lr=1e-4)])
def test_parameters_with_two_names_learn_as_with_one(digits, compiled, optimizer):
    ends = []
    for compile in ("off", "graph", "inductor"):
        vae = make_vae()
        vae.__class__ = NamedTwice
        torch.manual_seed(1)
        options = {"batch_size": 100, "compile": compile, "optimizer": optimizer, "progress": False}
        fit(vae.model, vae.guide, digits, epochs=3, **options)
        ends.append(weights(vae))
    assert torch.equal(ends[0], ends[1])
    torch.testing.assert_close(ends[2], ends[0], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*was not registered in the param store because requires_grad=False")
def test_what_learns_may_change_between_epochs(digits, compiled):
    ends = []
    for compile in ("off", "graph", "inductor"):
        vae = make_vae()
        held = list(vae.posterior.network.parameters())[:2]

        def freeze(history, _, held=held):
            for param in held:
                param.requires_grad_(len(history.epochs) != 1)

        torch.manual_seed(1)
        fit(vae.model, vae.guide, digits, epochs=3, batch_size=100, compile=compile, callback=freeze, progress=False)
        ends.append(weights(vae))
    assert torch.equal(ends[0], ends[1])
    torch.testing.assert_close(ends[2], ends[0], rtol=1e-3, atol=1e-4)
    assert len(compiled) == 3


@pytest.mark.slow
@pytest.mark.parametrize("interrupted", [False, True])
def test_batches_of_two_sizes_and_a_restarted_optimizer(digits, compiled, interrupted):
    ends = []
    for compile in ("graph", "inductor"):
        vae, optim = make_vae(), JointOptimizer(fast)
        step = TrainingStep(Trace_ELBO(), compile, [vae], optim)
        svi = SVI(vae.model, vae.guide, optim, loss=step.loss, loss_and_grads=step.loss_and_grads)
        torch.manual_seed(1)
        with pyro.get_param_store().scope(), pyro.validation_enabled(False):
            for _ in range(3):
                step.begin_epoch()
                for i in range(8):
                    svi.step(digits.train[: (50, 30)[i % 2]])
                if interrupted:  # between the update and the optimizer
                    optim.is_updated = True
                optim.optimizer.state.clear()  # a warm restart
        ends.append((weights(vae), {int(state["step"]) for state in optim.optimizer.state.values()}))
    torch.testing.assert_close(ends[1][0], ends[0][0], rtol=1e-3, atol=1e-4)
    assert compiled == [(50, "_updating_step"), (30, "_updating_step")] * 3


@pytest.mark.slow
def test_progress_shows_elbo_reconstruction_and_kl(digits, capsys, monkeypatch):
    monkeypatch.setattr("pyrovae.progress._DELAY", 0)
    vae = make_vae()
    fit(vae.model, vae.guide, digits, epochs=2)
    shown = capsys.readouterr().err
    assert "24/24" in shown
    assert all(word in shown for word in ("ELBO", "reconstruction", "KL", "nats"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer of at least 1, but 0"),
        ({"batch_size": -1}, "batch_size must be"),
        ({"kl_warmup": -1}, "kl_warmup must be"),
        ({"patience": 0}, "patience must be"),
        ({"accumulate": 0}, "accumulate must be an integer of at least 1, but 0"),
        ({"precision": "float16"}, "precision must be one of float32, tf32, bfloat16, but 'float16'"),
        ({"compile": "fast"}, "compile must be one of auto, off, graph, inductor, but 'fast'"),
        ({"state": {"weights": {}}}, "state must"),
    ],
)
def test_bad_options_are_refused(digits, options, message):
    vae = make_vae()
    with pytest.raises(InputError, match=message):
        fit(vae.model, vae.guide, digits, progress=False, **options)


def test_data_of_another_shape_are_refused():
    vae = make_vae()
    with pytest.raises(InputError, match=r"^x must have the shape \(B, 1, 8, 8\), but has \(\d+, 5\)"):
        fit(vae.model, vae.guide, DataSet(torch.rand(50, 5)), progress=False)


def test_batch_normalisation_of_one_datum_names_the_batch_size():
    data = DataSet(torch.randint(0, 2, (161, 1, 8, 8), dtype=torch.uint8), validation_size=16, test_size=16)
    network = partial(MLP, hidden_features=(8,), normalization=torch.nn.BatchNorm1d)
    vae = VAE(StandardNormal(2), Bernoulli((1, 8, 8), 2, network), DiagonalNormal((1, 8, 8), 2, network))
    train = partial(fit, vae.model, vae.guide, data, epochs=1, progress=False, compile="off")
    with pytest.raises(InputError, match=r"with 129 training data and batch_size 128 it gets one .*, such as 127$"):
        train(batch_size=128)
    with pytest.raises(InputError, match=r"batch_size 127, in 127 parts it gets one alone: .* and fewer parts$"):
        train(batch_size=127, accumulate=127)
    assert len(train(batch_size=127).epochs) == 1


def test_an_absurd_but_finite_bound_is_said():
    torch.manual_seed(0)
    vae = VAE(StandardNormal(2), Bernoulli((1, 8, 8), 2), DiagonalNormal((1, 8, 8), 2))
    absurd = partial(torch.optim.Adam, lr=100.0)
    with pytest.warns(UserWarning, match="is far below the -4.* from before training: training has diverged"):
        history = fit(vae.model, vae.guide, Digits(), epochs=1, optimizer=absurd, progress=False, compile="off")
    assert -math.inf < history.best_value < -1e6
