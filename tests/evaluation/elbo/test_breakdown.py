"""The breakdown of log p(x): of a program whose parts are known exactly, and by the command."""

import json
import math

import pyro
import pytest
import torch
from linear_gaussian import LinearGaussian

from pyrovae import (
    VAE,
    Annealed,
    Bernoulli,
    ConditionalVAE,
    DiagonalNormal,
    FlowPosterior,
    HierarchicalVAE,
    InputError,
    Planar,
    SemiSupervisedVAE,
    SphericalVAE,
    StandardNormal,
    diagnose,
    log_marginal,
)
from pyrovae.cli import main
from pyrovae.runs import Run

SMALL = ["--latent_dim=2", "--epochs=3", "--posterior.network.hidden_features=[16]"]
SHORT = [
    "--num_data=40",
    "--num_samples=20",
    "--refinement_steps=20",
    "--method=Annealed",
    "--method.num_temperatures=5",
]
FIGURES = ("log_prob", "approximation_gap", "amortization_gap", "elbo", "distortion", "rate")


def train(folder, *options):
    assert main(["train", f"--run={folder}", *options]) == 0
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "run", *SMALL)


def saved(run, split="test"):
    return json.loads((run / "diagnosis" / f"{split}.json").read_text())


@pytest.mark.slow
def test_the_account_of_a_linear_gaussian_model():
    oracle = LinearGaussian(3, 3, guide="mean-field", shift=0.7, coupling=1.0)
    x = oracle.simulate(100)
    figures = diagnose(oracle.model, oracle.guide, x, num_samples=400).figures
    precision = torch.linalg.inv(oracle.covariance)
    approximation = 0.5 * (precision.diagonal().log().sum() - precision.logdet()).item()
    mean_field = oracle.mean_field.square()
    # From the shifted guide to the posterior, less what is left to the best mean-field one.
    shift = 0.7 * oracle.mean_field
    amortization = 0.5 * (shift @ precision @ shift).item()
    assert min(approximation, amortization) > 0.2
    rate = 0.5 * (mean_field.sum() - 3 - mean_field.log().sum())
    mean = (x - oracle.b) @ oracle.W @ oracle.covariance + shift
    rate = (rate + 0.5 * mean.square().sum(1).mean()).item()
    log_prob = oracle.log_prob(x).mean().item()
    expected = {
        "log_prob": log_prob,
        "approximation_gap": approximation,
        "amortization_gap": amortization,
        "inference_gap": approximation + amortization,
        "elbo": log_prob - approximation - amortization,
        "rate": rate,
        "distortion": approximation + amortization - log_prob - rate,
    }
    for name, value in expected.items():
        assert abs(figures[name].value - value) < 4 * figures[name].error + 0.01, name
        assert figures[name].error < 0.03, name


def test_the_rows_add_up():
    vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
    short = Annealed(num_temperatures=4)
    found = diagnose(vae.model, vae.guide, torch.eye(4), num_samples=5, refinement_steps=3, estimator=short)
    for total, *parts in (
        ("log_prob", "elbo", "inference_gap"),
        ("log_prob", "elbo", "amortization_gap", "approximation_gap"),
        ("rate", "mutual_information", "marginal_kl"),
    ):
        assert found.figures[total].value == pytest.approx(sum(found.figures[part].value for part in parts))
    each = {name: values for name, (values, _) in found.per_datum().items()}
    torch.testing.assert_close(-each["elbo"], each["distortion"] + each["rate"])
    torch.testing.assert_close(each["refined_elbo"], each["elbo"] + each["amortization_gap"])
    assert str(found) == found.table()


def test_evidence_of_other_data_is_refused():
    oracle = LinearGaussian(2, 4)
    x = oracle.simulate(5)
    evidence = log_marginal(oracle.model, oracle.guide, x, num_samples=2)
    with pytest.raises(InputError, match="evidence must be of the data x"):
        diagnose(oracle.model, oracle.guide, x.flip(0), evidence)


@pytest.mark.slow
def test_notes_say_what_the_figures_do_not():
    oracle = LinearGaussian(10, 20, guide="mean-field", coupling=1.0, widening=0.5)
    x = oracle.simulate(20)
    evidence = log_marginal(oracle.model, oracle.guide, x, num_samples=1)  # far too small
    notes = " ".join(diagnose(oracle.model, oracle.guide, x, evidence, num_samples=200).notes)
    assert evidence.verdict in notes
    assert "A gap is negative: log p(x) is estimated too small" in notes
    assert f"log N = {math.log(20):.2f}" in notes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "unknown"),
    [
        (lambda: HierarchicalVAE((4,), 2, dims=(3,)), set()),
        (lambda: ConditionalVAE((4,), 2, num_classes=3), set()),
        (lambda: SphericalVAE((4,), 3), set()),
        (lambda: SemiSupervisedVAE((4,), 2, num_classes=3), {"approximation_gap", "amortization_gap"}),
        (
            lambda: VAE(StandardNormal(2), Bernoulli((4,), 2), FlowPosterior((4,), 2, flow=Planar)),
            {"mutual_information", "marginal_kl"},
        ),
    ],
    ids=["hierarchical", "conditional", "spherical", "semi-supervised", "no inverse"],
)
def test_what_can_be_told_is_told_and_the_rest_is_unknown(program, unknown):
    program = program()
    x = torch.eye(4)
    x = (x, torch.tensor([0, 1, 2, 0])) if isinstance(program, ConditionalVAE) and not unknown else x
    evidence = log_marginal(program.model, program.guide, x, num_samples=50)
    found = diagnose(program.model, program.guide, x, evidence, num_samples=5, refinement_steps=3)
    known = set(found.figures)
    assert {*FIGURES, "mutual_information", "marginal_kl"} - known == unknown
    assert found.table().count("unknown") == len(unknown)
    assert "inference_gap" in known
    assert any("unknown" in note or "not told apart" in note for note in found.notes) == bool(unknown)
    assert [found.summary()[name] for name in unknown] == [None] * len(unknown)
    assert sum(active.numel() for active in found.rate_distortion.active.values()) == found.summary()["num_units"]


@pytest.mark.slow
def test_a_discrete_latent_is_named_as_the_reason():
    program = SemiSupervisedVAE((4,), 2, num_classes=3)
    found = diagnose(program.model, program.guide, torch.eye(4), num_samples=5, refinement_steps=3)
    assert found.evidence.method == "importance"
    assert found.unknown == "latents must be continuous to be refined, but 'y' is discrete"
    assert set(found.rate_distortion.active) == {"z"}
    chains = Annealed(2, num_chains=4)
    summed = diagnose(program.model, program.guide, torch.eye(4), refinement_steps=0, estimator=chains, num_simulated=0)
    assert summed.evidence.method == "annealed"
    assert abs(summed.evidence.nll - found.evidence.nll) < 0.5


@pytest.mark.slow
def test_the_command_prints_writes_and_draws(run, capsys):
    assert main(["diagnose", str(run), *SHORT]) == 0
    shown = capsys.readouterr().out
    entry = saved(run)
    for name in FIGURES:
        assert f" {entry[name]:.2f} " in shown.replace("-0.00", "0.00"), name
        assert entry[f"{name}_mc_error"] > 0
        assert entry[f"{name}_standard_error"] > 0
    assert f"{entry['active_units']} of 2" in shown
    assert {"seed", "seconds", "versions", "notes", "num_samples", "estimator"} <= entry.keys()
    assert (entry["split"], entry["num_data"], entry["num_units"]) == ("test", 40, 2)
    assert entry["log_prob"] > entry["elbo"]
    assert entry["largest_mutual_information"] == pytest.approx(math.log(40))
    picture = run / "figures" / "diagnosis-test-nats.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in shown
    ranks = run / "figures" / "diagnosis-test-ranks.png"
    assert ranks.read_bytes().startswith(b"\x89PNG")
    assert str(ranks) in shown
    assert f"  {entry['calibration']['sentence']}\n" in shown
    assert list(entry["calibration"]["verdicts"]) == ["z[0]", "z[1]", "log p(x|z)"]
    assert Run(run).diagnoses()["test"] == entry
    assert main(["diagnose", str(run), *SHORT]) == 0  # the same seed, the same numbers
    assert {**saved(run), "seconds": 0} == {**entry, "seconds": 0}
    assert main(["diagnose", str(run), *SHORT, "--seed=1", "--split=validation", "--weights=last"]) == 0
    assert saved(run, "validation")["elbo"] != entry["elbo"]


@pytest.mark.slow
def test_the_picture_is_in_the_report(run):
    assert main(["diagnose", str(run), *SHORT]) == 0
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "where the nats go" in page
    shown = page.count("Ranks of the latents of 500 simulated data")
    assert shown >= 1
    older = saved(run)
    del older["calibration"]
    (run / "diagnosis" / "test.json").write_text(json.dumps(older))
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").read_text().count("Ranks of the latents of 500 simulated data") < shown


def test_a_model_whose_data_cannot_be_simulated_says_so():
    vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", vae.prior())
            pyro.factor("more", z.sum(-1))
            pyro.sample("x", vae.likelihood(z), obs=x)

    options = {"num_samples": 5, "refinement_steps": 0, "estimator": Annealed(num_temperatures=2)}
    found = diagnose(model, vae.guide, torch.eye(4), **options)
    assert found.calibration is None
    assert f"Whether the posterior is calibrated is unknown: {found.uncalibrated}." in found.notes
    assert found.summary()["calibration"] is None
    unasked = diagnose(vae.model, vae.guide, torch.eye(4), num_simulated=0, **options)
    assert unasked.calibration is None
    assert not any("calibrated" in note for note in unasked.notes)


@pytest.mark.slow
def test_without_refinement_the_gaps_are_one(run, capsys):
    assert main(["diagnose", str(run), *SHORT, "--refinement_steps=0"]) == 0
    shown = capsys.readouterr().out
    assert "gap of the guide" in shown
    assert "The two gaps are not told apart: there was no step of refinement." in shown
    entry = saved(run)
    assert entry["refined_elbo"] is None
    assert entry["inference_gap"] == pytest.approx(entry["log_prob"] - entry["elbo"])


@pytest.mark.slow
def test_densities_and_labels_come_with_their_caveats(tmp_path, capsys):
    options = ["--program=ConditionalVAE", "--program.likelihood=Gaussian", "--data.binarization=none"]
    run = train(tmp_path / "run", "--data=Digits", *options, "--latent_dim=2", "--epochs=1")
    assert main(["diagnose", str(run), *SHORT]) == 0
    shown = capsys.readouterr().out
    assert "density" in shown
    assert "The labels are given" in shown
    assert len(saved(run)["caveats"]) == 2


@pytest.mark.slow
def test_an_autoencoder_is_refused_in_one_sentence(tmp_path, capsys):
    run = train(tmp_path / "run", "--program=Autoencoder", "--latent_dim=2", "--epochs=1")
    capsys.readouterr()
    assert main(["diagnose", str(run), *SHORT]) == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert sentence.startswith("pyrovae: error: guide must have a density")
    assert not (run / "diagnosis").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--num_data=0", "num_data"),
        ("--num_samples=1", "num_samples"),
        ("--refinement_steps=-1", "refinement_steps"),
        ("--num_simulated=-1", "num_simulated"),
        ("--chunk_size=0", "chunk_size"),
        ("--seed=-1", "seed"),
        ("--device=tpu", "device"),
        ("--split=none", "split"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(run, option, name, capsys):
    assert main(["diagnose", str(run), *SHORT, option]) == 2
    assert name in capsys.readouterr().err.splitlines()[-1]
