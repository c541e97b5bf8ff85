"""``fit``: it learns, repeats itself, resumes exactly, stops where it should and leaves the world as it was."""

import math
from functools import partial

import pyro
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO

from pyrovae import MLP, VAE, Bernoulli, DataSet, DiagonalNormal, Digits, InputError, NonFiniteLoss, StandardNormal, fit
from pyrovae.training import tensorboard_writer

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


def test_recorded_and_plain_training_end_in_the_same_weights(digits):
    ends = []
    for compile in ("off", "graph"):
        vae = make_vae()
        torch.manual_seed(1)
        fit(vae.model, vae.guide, digits, epochs=3, kl_warmup=2, max_norm=50.0, compile=compile, progress=False)
        ends.append(weights(vae))
    assert torch.equal(*ends)


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
        calls += 1
        with pyro.poutine.scale(scale=math.inf if calls == 3 else 1.0):
            return vae.model(x)

    with pytest.raises(NonFiniteLoss, match=r"no single site|log-probability is not finite"):
        fit(model, guide, data, epochs=3, compile="off", progress=False)
    assert torch.equal(before, weights(vae))


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


def test_a_module_left_in_evaluation_mode_is_trained_and_left_there(digits):
    vae = make_vae(network=small).eval()
    fit(vae.model, vae.guide, digits, epochs=1, progress=False)
    assert not any(module.training for module in vae.modules())


def test_progress_shows_elbo_reconstruction_and_kl(digits, capsys):
    vae = make_vae()
    fit(vae.model, vae.guide, digits, epochs=2)
    shown = capsys.readouterr().err
    assert "24/24" in shown
    assert all(word in shown for word in ("ELBO", "reconstruction", "KL", "nats"))


def test_tensorboard_gets_every_epoch(digits, tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    vae = make_vae()
    history = fit(vae.model, vae.guide, digits, epochs=2, progress=False, callback=tensorboard_writer(tmp_path))
    log = event_accumulator.EventAccumulator(str(tmp_path))
    log.Reload()
    assert [event.step for event in log.Scalars("elbo/validation")] == [1, 2]
    assert log.Scalars("elbo/train")[-1].value == pytest.approx(history.epochs[-1].train_elbo)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer of at least 1, but 0"),
        ({"batch_size": -1}, "batch_size must be"),
        ({"kl_warmup": -1}, "kl_warmup must be"),
        ({"patience": 0}, "patience must be"),
        ({"compile": "fast"}, "compile must be one of off, graph, but 'fast'"),
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
