"""KL warm-up: its default, where it does not apply, early stopping, resuming."""

import copy
from functools import partial

import pytest
import torch

from pyrovae import (
    MLP,
    MMD,
    RWS,
    VAE,
    Autoencoder,
    Bernoulli,
    DiagonalNormal,
    Digits,
    InputError,
    StandardNormal,
    fit,
)
from pyrovae.cli import main
from pyrovae.runs import Run

SHAPE = (1, 8, 8)
small = partial(MLP, hidden_features=(8,))


def vae_of(seed=0, network=small):
    torch.manual_seed(seed)
    return VAE(StandardNormal(2), Bernoulli(SHAPE, 2, network), DiagonalNormal(SHAPE, 2, network))


def autoencoder_of():
    torch.manual_seed(0)
    return Autoencoder(SHAPE, 2, z_penalty=0.5)


def trained(program, **options):
    """Train with the same noise as every other call, and return weights and history."""
    torch.manual_seed(1)
    options = {"epochs": 10, "batch_size": 512, "compile": "off", **options}
    history = fit(program.model, program.guide, Digits(), progress=False, **options)
    return {name: tensor.clone() for name, tensor in program.state_dict().items()}, history


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_by_default_the_weight_grows_over_three_tenths_of_the_run():
    by_default, _ = trained(vae_of())
    assert same(by_default, trained(vae_of(), kl_warmup=3)[0])
    assert not same(by_default, trained(vae_of(), kl_warmup=0)[0])


@pytest.mark.parametrize(
    ("make", "objective"), [(vae_of, MMD), (vae_of, RWS), (autoencoder_of, None)], ids=["MMD", "RWS", "Autoencoder"]
)
def test_where_nothing_can_collapse_there_is_none_by_default(make, objective):
    options = {"epochs": 3} if objective is None else {"epochs": 3, "objective": objective}
    by_default, _ = trained(make(), **options)
    assert same(by_default, trained(make(), kl_warmup=0, **options)[0])
    assert not same(by_default, trained(make(), kl_warmup=2, **options)[0])


@pytest.mark.parametrize(("kl_warmup", "epochs"), [(0, 3), (None, 5), (6, 8)])
def test_patience_does_not_count_the_warm_up(kl_warmup, epochs):
    """Without learning, the first epoch stays the best."""
    still = partial(torch.optim.SGD, lr=0.0)
    _, history = trained(vae_of(), kl_warmup=kl_warmup, patience=2, optimizer=still)
    assert len(history.epochs) == epochs


def test_the_best_epoch_is_that_of_the_bound_with_the_full_kl():
    _, history = trained(vae_of(), kl_warmup=10, epochs=4)
    for row in history.epochs:
        assert row.validation_elbo == row.validation_reconstruction - row.validation_kl
    assert history.best_value == max(row.validation_elbo for row in history.epochs)


@pytest.mark.parametrize("epochs", [10, 14])
def test_a_resumed_training_keeps_the_warm_up_that_it_was_begun_with(epochs):
    states = []

    def keep(history, state):
        states.append(copy.deepcopy(state()))

    trained(vae_of(), callback=keep)
    assert states[0]["warmup_steps"] == 9  # of three batches an epoch
    resumed, history = trained(vae_of(seed=3), state=states[1], epochs=epochs)
    assert len(history.epochs) == epochs
    assert same(resumed, trained(vae_of(), kl_warmup=3, epochs=epochs)[0])


@pytest.mark.parametrize("kl_warmup", [None, 2])
def test_a_resumed_training_keeps_its_cycles(kl_warmup):
    options, states = {"kl_warmup": kl_warmup, "kl_cycles": 2}, []
    whole, _ = trained(vae_of(), **options, callback=lambda history, state: states.append(copy.deepcopy(state())))
    assert (states[0]["warmup_steps"], states[0]["cycle_steps"]) == (8 if kl_warmup is None else 6, 15)
    assert same(whole, trained(vae_of(seed=3), **options, state=states[6])[0])
    assert not same(whole, trained(vae_of(), kl_warmup=kl_warmup)[0])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kl_cycles": 11}, "kl_cycles must be at most the 10 epochs, but 11 was given"),
        ({"kl_cycles": 2, "kl_warmup": 0}, "kl_cycles must be 1 if kl_warmup is 0, but 2 was given"),
        ({"kl_cycles": 4, "kl_warmup": 3}, "kl_warmup must be at most the 2.66667 epochs of a cycle, but 3 was given"),
        ({"kl_cycles": 0}, "kl_cycles must be an integer of at least 1, but 0 was given"),
    ],
)
def test_cycles_that_make_no_sense_are_refused(options, sentence):
    with pytest.raises(InputError, match=sentence):
        trained(vae_of(), **options)


def test_a_training_from_before_there_was_a_default_goes_on_without():
    states = []
    trained(vae_of(), kl_warmup=0, epochs=1, callback=lambda history, state: states.append(copy.deepcopy(state())))
    del states[0]["warmup_steps"]
    assert same(trained(vae_of(), state=states[0])[0], trained(vae_of(), kl_warmup=0)[0])


@pytest.mark.slow
def test_a_run_from_before_there_was_a_default_resumes_as_it_was_begun(tmp_path):
    options = ["--latent_dim=2", "--batch_size=512", "--compile=off"]
    for name, epochs, kl_warmup in (("run", 2, ["--kl_warmup=0"]), ("whole", 10, ["--kl_warmup=0"])):
        assert main(["train", *options, *kl_warmup, f"--epochs={epochs}", f"--run={tmp_path / name}"]) == 0
    assert main(["train", *options, "--epochs=10", f"--run={tmp_path / 'run'}", "--resume=true"]) == 0
    assert Run(tmp_path / "run").config()["kl_warmup"] == 0
    name = "checkpoint/weights.safetensors"
    assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_the_default_keeps_an_initialized_posterior_from_collapsing():
    kls = {}
    for kl_warmup in (None, 0):
        vae, options = vae_of(network=partial(MLP, hidden_features=(64, 64))), {"epochs": 20, "batch_size": 128}
        vae.initialize(Digits().train[torch.arange(1437)])
        optimizer = partial(torch.optim.Adam, lr=2e-3)
        kls[kl_warmup] = trained(vae, kl_warmup=kl_warmup, optimizer=optimizer, **options)[1].epochs[-1].validation_kl
    assert kls[None] > 1.0 > 0.7 > kls[0]
