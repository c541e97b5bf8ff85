"""``pyrovae evaluate`` from end to end: what it prints, what it writes, and by which name."""

import json

import numpy as np
import pytest

from pyrovae.arviz_import import read_inference_data
from pyrovae.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    words = ["train", "--latent_dim=3", "--epochs=3", "--compile=off", f"--run={folder}"]
    assert main(words) == 0
    return folder


def evaluated(run, name, *words):
    assert main(["evaluate", str(run), "--num_data=40", "--num_checked=0", *words]) == 0
    path = run / "evaluation" / f"{name}-first40.json"
    return json.loads(path.read_text()), read_inference_data(path.with_suffix(".nc"))


def test_annealed(run, capsys):
    words = ["--method=Annealed", "--method.num_chains=8", "--method.num_temperatures=20"]
    summary, values = evaluated(run, "test-annealed-8-T20", *words)
    said = capsys.readouterr().out
    assert f"test NLL {summary['nll']:.2f} nats per datum" in said
    assert "K = 8 weights of chains, T = 20" in said
    assert f"of the estimate: {summary['verdict']}" in said
    assert summary["estimator"] == {
        "class": "Annealed",
        "num_temperatures": 20,
        "num_chains": 8,
        "num_leapfrogs": 2,
        "start": "guide",
        "target_acceptance": 0.8,
        "refinement_rounds": 0,
        "keep_guide": True,
        "num_prior_chains": 8,
    }
    assert 0.6 < summary["acceptance"]["50%"] < 0.95
    assert summary["num_evaluations"] == 40 * (8 + 4 + 8) * (19 * 2 + 1)  # estimate, step sizes, check
    statistics = values.sample_stats
    assert statistics["path_log_weight"].shape == (20, 40)
    assert statistics["path_acceptance"].shape == (19, 40)
    np.testing.assert_allclose(-statistics["log_prob"].mean(), summary["nll"])
    again, _ = evaluated(run, "test-annealed-8-T20", *words)
    assert again["nll"] == summary["nll"]

    by_importance, values = evaluated(run, "test-importance-2000", "--num_samples=2000", "--num_checked=3")
    assert by_importance["nll"] == pytest.approx(summary["nll"], abs=0.1)
    assert by_importance["estimator"]["class"] == "Importance"
    assert by_importance["convergence"][-1]["num_samples"] == 2000
    assert values.sample_stats["tail"].shape == (50, 40)
    assert "path_beta" not in values.sample_stats


def test_one_image_has_no_standard_error(run, capsys):
    assert main(["evaluate", str(run), "--num_data=1", "--num_samples=1", "--num_checked=0"]) == 0
    said = capsys.readouterr().out
    assert "  standard error unknown over the data, for there is one, unknown Monte Carlo\n" in said
    assert "nan" not in said


def test_from_the_prior(run):
    words = ["--method=Annealed", "--method.start=prior", "--method.num_temperatures=60"]
    summary, _ = evaluated(run, "test-annealed-16-T60-from-prior", *words)
    reference, _ = evaluated(run, "test-importance-500", "--num_samples=500")
    assert summary["nll"] == pytest.approx(reference["nll"], abs=0.3)
    assert summary["elbo"] == pytest.approx(reference["elbo"], abs=0.5)


SANDWICHED = {
    "test-importance-10": ["--method=Importance", "--method.num_samples=10"],
    "test-annealed-10-T30": ["--method=Annealed", "--method.num_chains=10", "--method.num_temperatures=30"],
}


@pytest.mark.parametrize("name", SANDWICHED)
def test_sandwich(run, name, capsys):
    words = [*SANDWICHED[name], "--sandwich=true", "--num_simulated=12", "--reverse.num_temperatures=40"]
    summary, _ = evaluated(run, name, *words)
    bounds = summary["sandwich"]
    assert bounds["reverse"]["num_temperatures"] == 40
    assert bounds["num_simulated"] == 12
    assert bounds["gap"] == pytest.approx(bounds["upper"] - bounds["lower"])
    assert bounds["sentence"] in capsys.readouterr().out
    without, _ = evaluated(run, name, *SANDWICHED[name])
    assert without["sandwich"] is None
    assert without["nll"] == summary["nll"]  # simulated after the estimate, which they leave alone


def test_other_proposals_have_other_names(run):
    wide, _ = evaluated(
        run,
        "test-importance-300-scale1.2-share0.1",
        *("--method=Importance", "--method.num_samples=300"),
        *("--method.proposal_scale=1.2", "--method.prior_share=0.1"),
    )
    plain, _ = evaluated(run, "test-importance-300", "--num_samples=300")
    assert (wide["estimator"]["proposal_scale"], wide["estimator"]["prior_share"]) == (1.2, 0.1)
    assert wide["nll"] != plain["nll"]
    assert wide["nll"] == pytest.approx(plain["nll"], abs=0.2)


def test_another_precision_is_named(run):
    rounded, _ = evaluated(run, "test-importance-300-bfloat16", "--num_samples=300", "--precision=bfloat16")
    plain, _ = evaluated(run, "test-importance-300", "--num_samples=300")
    assert (rounded["precision"], plain["precision"]) == ("bfloat16", "float32")
    assert rounded["nll"] != plain["nll"]
    assert rounded["nll"] == pytest.approx(plain["nll"], abs=0.1)


ADAPTIVE = ["--method=Adaptive", "--method.num_checked=3"]


def test_within_a_target(run, capsys):
    first, values = evaluated(run, "test-adaptive", *ADAPTIVE, "--method.target_error=0.1")
    said = capsys.readouterr().out
    assert "decoder runs each" in said
    assert "The target of 0.1 nats is reached" in said
    assert first["adaptive"]["reached"]
    assert max(first["mc_error"], first["bias"]) <= 0.1
    assert values.sample_stats["num_evaluations"].sum() == first["num_evaluations"]

    second, _ = evaluated(run, "test-adaptive", *ADAPTIVE, "--method.target_error=0.015")
    assert max(second["mc_error"], second["bias"]) <= 0.015
    assert second["num_evaluations"] > first["num_evaluations"]
    again, _ = evaluated(run, "test-adaptive", *ADAPTIVE, "--method.target_error=0.05")
    assert again["num_evaluations"] == second["num_evaluations"]  # nothing was left to do
    assert again["nll"] == second["nll"]
    (run / "evaluation" / "test-adaptive-first40.safetensors").unlink()
    straight, _ = evaluated(run, "test-adaptive", *ADAPTIVE, "--method.target_error=0.1")
    assert straight["nll"] == first["nll"]
    stopped, _ = evaluated(
        run, "test-adaptive", *ADAPTIVE, "--method.target_error=0.00001", "--method.max_evaluations=30000"
    )
    assert not stopped["adaptive"]["reached"]
    assert stopped["adaptive"]["stopped"] == "max_evaluations"
    assert stopped["num_evaluations"] <= 30000


def test_one_datum_says_nothing_of_latents_or_of_a_model_without_them(run, capsys):
    trained = run.parent / "trained"
    small = ["--posterior.network.hidden_features=[64]", "--likelihood.network.hidden_features=[64]"]
    words = ["--latent_dim=2", "--epochs=30", "--compile=off", "--optimizer.lr=5e-3", *small]
    assert main(["train", *words, f"--run={trained}"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(trained), "--num_data=1", "--num_samples=50", "--num_checked=0"]) == 0
    said = capsys.readouterr().out
    assert "collapsed" not in said
    assert "carry no information" not in said
    assert "no better" not in said
    assert "nan" not in said


def test_a_sandwich_from_the_prior_serves_a_flow_without_an_inverse(run):
    planar = run.parent / "planar"
    words = ["--latent_dim=2", "--epochs=1", "--compile=off", "--posterior=FlowPosterior", "--posterior.flow=Planar"]
    assert main(["train", *words, f"--run={planar}"]) == 0
    chains = ["--method=Annealed", "--method.start=prior", "--method.num_temperatures=5", "--method.num_chains=2"]
    sandwich = ["--sandwich=true", "--num_simulated=3", "--num_data=4", "--num_checked=0"]
    assert main(["evaluate", str(planar), *chains, *sandwich]) == 0
    assert main(["evaluate", str(planar), "--num_samples=20", "--reverse.start=prior", *sandwich]) == 0
    assert main(["evaluate", str(planar), "--num_samples=20", *sandwich]) == 2
