"""Refitting the prior: the codes become likelier, everything else stays, and a run of its own comes out."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml

from pyrovae import (
    MLP,
    VAE,
    Autoencoder,
    Bernoulli,
    ConditionalVAE,
    DiagonalNormal,
    Digits,
    FlowPrior,
    GaussianMixture,
    HierarchicalVAE,
    InputError,
    LearnedNormal,
    SphericalUniform,
    StandardNormal,
    VampPrior,
    fit,
    generate,
    log_marginal,
    refit_prior,
)
from pyrovae.cli import main
from pyrovae.runs import Run

small = partial(MLP, hidden_features=(32,))
PARTS = {"likelihood": partial(Bernoulli, network=small), "posterior": partial(DiagonalNormal, network=small)}


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    data, shape = Digits(), (1, 8, 8)
    vae = VAE(StandardNormal(3), Bernoulli(shape, 3, small), DiagonalNormal(shape, 3, small))
    fast = partial(torch.optim.Adam, lr=5e-3)
    fit(vae.model, vae.guide, data, epochs=15, batch_size=50, optimizer=fast, beta=0.2, progress=False)
    return data, vae


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prior", "least"),
    [
        (LearnedNormal, 0.03),
        (GaussianMixture, 0.1),
        (FlowPrior, 0.1),
        (partial(VampPrior, num_components=400), -0.2),  # even weights and narrow components: it only keeps up
    ],
)
def test_the_bound_rises_by_what_the_codes_gain(trained, prior, least):
    data, vae = trained
    vae.prior = StandardNormal(3)
    kept = {name: p.clone() for name, p in vae.named_parameters()}
    torch.manual_seed(0)
    before = log_marginal(vae.model, vae.guide, data.validation[:], num_samples=200)
    history, gain = refit_prior(vae, data, prior, epochs=15, optimizer=partial(torch.optim.Adam, lr=5e-3))
    torch.manual_seed(0)
    after = log_marginal(vae.model, vae.guide, data.validation[:], num_samples=200)
    assert gain > least
    assert after.elbo.mean().item() - before.elbo.mean().item() == pytest.approx(gain, abs=0.25)
    assert history.best_value > history.epochs[0].validation_elbo - 1e-9
    for name, p in vae.named_parameters():
        if not name.startswith("prior"):
            assert torch.equal(p, kept[name]), name


@pytest.mark.slow
def test_an_autoencoder_gets_a_prior_that_it_can_be_sampled_from():
    torch.manual_seed(0)
    data = Digits()
    program = Autoencoder((1, 8, 8), 3, likelihood=partial(Bernoulli, network=small), encoder=small)
    options = {"epochs": 10, "batch_size": 50, "optimizer": partial(torch.optim.Adam, lr=5e-3), "progress": False}
    fit(program.model, program.guide, data, **options)

    def distance():
        """Say how far samples are from the nearest test image, in pixels squared."""
        torch.manual_seed(1)
        x = generate(program.model, 200, data.test[:1]).flatten(1)
        return torch.cdist(x, data.test[:].flatten(1)).min(1).values.square().mean().item()

    junk = distance()
    _, gain = refit_prior(program, data, partial(GaussianMixture, num_components=20))
    assert gain > 1
    assert distance() < junk


@pytest.mark.parametrize(
    "make",
    [partial(HierarchicalVAE, dims=(5,), inference="ladder"), partial(HierarchicalVAE, dims=(5,)), ConditionalVAE],
)
def test_programs_with_a_prior_are_refitted_at_its_site(make):
    torch.manual_seed(0)
    data, program = Digits(), make((1, 8, 8), 3, **PARTS)
    refit_prior(program, data, GaussianMixture, epochs=2)
    assert isinstance(program.prior, GaussianMixture)
    assert program.prior().event_shape == (3,)


@pytest.mark.slow
def test_what_cannot_be_refitted_is_said(trained):
    data, vae = trained
    with pytest.raises(InputError, match=r"prior must have the support of the codes, .* SphericalUniform is"):
        refit_prior(vae, data, SphericalUniform)
    with pytest.raises(InputError, match="program must have a prior to refit, but Linear has none"):
        refit_prior(torch.nn.Linear(2, 2), data, LearnedNormal)


@pytest.mark.slow
def test_the_command_makes_a_run_that_can_be_used_like_any(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small_options = ["--posterior.network.hidden_features=[16]", "--likelihood.network.hidden_features=[16]"]
    assert main(["train", "--latent_dim=2", "--epochs=3", *small_options, "--run=first"]) == 0
    before = {path: path.read_bytes() for path in Path("first").rglob("*") if path.is_file()}
    command = ["refit_prior", "first", "--prior=GaussianMixture", "--prior.num_components=7", "--out=second"]
    assert main([*command, "--epochs=3"]) == 0
    assert "mean log p(z) of validation codes" in capsys.readouterr().out
    config = yaml.safe_load(Path("second/config.yaml").read_text())
    assert config["prior"]["class_path"] == "pyrovae.GaussianMixture"
    assert config["prior"]["init_args"]["num_components"] == 7
    _, program = Run("second").load()
    assert program.prior.logits.shape == (7,)
    for arguments in (
        ["evaluate", "second", "--num_samples=20", "--num_checked=0"],
        ["sample", "second"],
        ["report", "second"],
    ):
        assert main(arguments) == 0
    assert main([*command, "--epochs=3"]) == 2
    assert "out must be a new folder, but second holds a run already" in capsys.readouterr().err
    assert main(["train", "--run=second", "--resume=true", "--epochs=5"]) == 2
    assert "run must be a training to be resumed, but the prior of second was refitted" in capsys.readouterr().err
    assert json.loads(Path("second/refitted.json").read_text())["run"] == "first"
    assert {path: path.read_bytes() for path in Path("first").rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_the_prior_of_a_program_is_replaced_in_its_own_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--program=Autoencoder", "--program.encoder.hidden_features=[16]", "--latent_dim=2", "--epochs=2"]
    assert main(["train", *options, "--run=first"]) == 0
    assert main(["refit_prior", "first", "--prior=LearnedNormal", "--out=second", "--epochs=2"]) == 0
    config = yaml.safe_load(Path("second/config.yaml").read_text())
    assert config["program"]["init_args"]["prior"]["class_path"] == "pyrovae.LearnedNormal"
    assert isinstance(Run("second").load()[1].prior, LearnedNormal)
    assert main(["sample", "second", "--out=new.npy"]) == 0


@pytest.mark.slow
def test_the_encoder_stays_as_it_is_under_a_prior_that_is_made_of_it():
    torch.manual_seed(0)
    data, shape = Digits(), (1, 8, 8)
    moving = partial(MLP, hidden_features=(16,), normalization=torch.nn.BatchNorm1d, dropout=0.2)
    vae = VAE(StandardNormal(2), Bernoulli(shape, 2, small), DiagonalNormal(shape, 2, moving))
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items() if not name.startswith("prior")}
    refit_prior(vae, data, partial(VampPrior, num_components=20), epochs=2)
    for name, tensor in before.items():
        assert torch.equal(vae.state_dict()[name], tensor), name
    assert all(
        p.grad is None and p.requires_grad for part in (vae.posterior, vae.likelihood) for p in part.parameters()
    )
    assert vae.training
