"""The average of the weights: its formula, that training does not see it, where it is used, resuming."""

import copy
from functools import partial

import pytest
import torch

from pyrovae import MLP, VAE, Bernoulli, DiagonalNormal, Digits, InputError, StandardNormal, fit
from pyrovae.cli import main
from pyrovae.runs import Run

small = partial(MLP, hidden_features=(8,))


def trained(**options):
    """Train with the same noise as every other call; return weights, history, and state and weights of each epoch."""
    torch.manual_seed(0)
    vae = VAE(StandardNormal(2), Bernoulli((1, 8, 8), 2, small), DiagonalNormal((1, 8, 8), 2, small))
    states, seen = [], []

    def keep(history, state):
        states.append(copy.deepcopy(state()))
        seen.append({name: tensor.clone() for name, tensor in vae.state_dict().items()})

    options = {"epochs": 4, "batch_size": 512, "compile": "off", **options}
    history = fit(vae.model, vae.guide, Digits(), progress=False, callback=keep, **options)
    return vae.state_dict(), history, states, seen


def named(weights):
    """Name the parameters of a state as the program does."""
    return {name.rpartition("$$$")[2]: tensor for name, tensor in weights.items() if "buffer" not in name}


def assert_same(a, b, rtol=0.0):
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=rtol, atol=rtol)


def test_the_formula_and_where_the_averages_are():
    weights, history, states, seen = trained(ema_decay=0.3, batch_size=2000, epochs=5)  # one step an epoch
    expected = None
    for n, state in enumerate(states, start=1):
        decay = min(0.3, (1 + n) / (10 + n))
        now = named(state["weights"])
        expected = now if n == 1 else {name: decay * expected[name] + (1 - decay) * now[name] for name in now}
        assert_same(expected, seen[n - 1], rtol=1e-6)
        assert_same(named(state["average"]["weights"]), seen[n - 1])
    assert_same(weights, seen[-1])
    assert history.epochs[-1].validation_elbo != trained(batch_size=2000, epochs=5)[1].epochs[-1].validation_elbo


@pytest.mark.parametrize("compile", ["off", "graph"])
def test_training_does_not_see_the_average(compile):
    _, history, states, _ = trained(ema_decay=0.9, compile=compile)
    _, without, others, _ = trained(compile=compile)
    assert [row.train_elbo for row in history.epochs] == [row.train_elbo for row in without.epochs]
    for state, other in zip(states, others, strict=True):
        assert_same(state["weights"], other["weights"])


def test_a_resumed_training_goes_on_exactly():
    weights, history, states, _ = trained(ema_decay=0.9, restore_best=True, kl_warmup=1)
    again, resumed, _, _ = trained(ema_decay=0.9, restore_best=True, kl_warmup=1, state=copy.deepcopy(states[1]))
    assert_same(weights, again)
    assert [row.validation_elbo for row in resumed.epochs] == [row.validation_elbo for row in history.epochs]
    finished, _, _, _ = trained(ema_decay=0.9, kl_warmup=1, state=copy.deepcopy(states[-1]))  # no step is left
    assert_same(finished, named(states[-1]["average"]["weights"]))
    with pytest.raises(InputError, match=r"ema_decay must be given as in the training that .* had one"):
        trained(state=states[1])


def test_a_decay_of_one_is_refused():
    with pytest.raises(InputError, match="ema_decay must be below 1, but 1 was given"):
        trained(ema_decay=1)


@pytest.mark.slow
def test_a_run_keeps_the_averages_and_resumes_exactly(tmp_path):
    options = ["--latent_dim=2", "--batch_size=512", "--compile=off", "--kl_warmup=0", "--ema_decay=0.9"]
    assert main(["train", *options, "--epochs=1", f"--run={tmp_path / 'run'}"]) == 0
    assert main(["train", *options, "--epochs=3", f"--run={tmp_path / 'run'}", "--resume=true"]) == 0
    assert main(["train", *options, "--epochs=3", f"--run={tmp_path / 'whole'}"]) == 0
    for name in ("weights.safetensors", "checkpoint/weights.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    run = Run(tmp_path / "run")
    own = dict(run.load_program("last").named_parameters())
    assert_same(named(run.state()["average"]["weights"]), own)
    assert any(not torch.equal(own[name], raw) for name, raw in named(run.state()["weights"]).items())
