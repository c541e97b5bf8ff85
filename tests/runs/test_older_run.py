"""A run of November 2026, with evaluations of that time: it is loaded, shown, evaluated, compared and resumed.

``run_of_november_2026.zip`` was made by ``pyrovae train --latent_dim 2 --epochs 2`` with four hidden units, and by
``pyrovae evaluate`` of five images, by 20 importance samples and by two annealed chains. Since then options and figures
have other names: ``num_images`` is ``num_data``, and the estimator is an object.
"""

import math
import zipfile
from pathlib import Path

import pytest

import pyrovae
from pyrovae import Importance
from pyrovae.cli import main
from pyrovae.runs import Run, read_evaluation

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    with zipfile.ZipFile(Path(__file__).with_name("run_of_november_2026.zip")) as run:
        run.extractall(tmp_path / "run")
    return tmp_path / "run"


def test_its_evaluations_are_read_in_the_terms_of_today(folder):
    found = Run(folder).evaluations()
    sampled, annealed = found["test-importance-20-first5"], found["test-annealed-2-T3-first5"]
    assert sampled["num_data"] == annealed["num_data"] == 5
    assert sampled["estimator"] == {
        "class": "Importance",
        "num_samples": 20,
        "proposal_scale": 1.0,
        "prior_share": 0.0,
    }
    assert annealed["estimator"]["class"] == "Annealed"
    assert (annealed["estimator"]["num_chains"], annealed["estimator"]["num_temperatures"]) == (2, 3)
    assert (sampled["share_annealed"], annealed["share_annealed"]) == (0.0, 1.0)


def test_it_is_evaluated_and_gives_the_same_number(folder):
    before = Run(folder).evaluations()["test-importance-20-first5"]["nll"]
    run = pyrovae.load(folder)
    assert len(run.history.epochs) == 2
    assert run.log_marginal(run.data.test[:5], Importance(2000)).nll == pytest.approx(before, abs=0.3)
    assert main(["evaluate", str(folder), "--num_samples=20", "--num_data=5", "--num_checked=2"]) == 0
    assert Run(folder).evaluations()["test-importance-20-first5"]["nll"] == pytest.approx(before, abs=0.3)


def test_it_is_shown_and_compared(folder, tmp_path):
    assert main(["report", str(folder)]) == 0
    assert "importance, K = 20" in (folder / "report.html").read_text()
    with zipfile.ZipFile(Path(__file__).with_name("run_of_november_2026.zip")) as run:
        run.extractall(tmp_path / "other")
    words = [str(folder), str(tmp_path / "other"), f"--out={tmp_path / 'comparison'}"]
    assert main(["compare", *words]) == 0
    _, first, second = (tmp_path / "comparison" / "comparison.csv").read_text().splitlines()
    assert first.split(",")[1:4] == second.split(",")[1:4]  # the same number of data, NLL and error


def test_it_goes_on_as_it_was_begun(folder):
    """Without a warm-up of the KL, which was no default then."""
    assert main(["train", "--resume=true", "--epochs=3", f"--run={folder}"]) == 0
    assert len(Run(folder).history().epochs) == 3
    assert Run(folder).config()["kl_warmup"] == 0


def test_its_evaluations_have_no_certificate_and_new_ones_do(folder, capsys):
    old = Run(folder).evaluations()["test-importance-20-first5"]
    assert old.get("certificate") is None
    assert read_evaluation(Run(folder), "test-importance-20-first5").result.certificate() is None
    assert main(["evaluate", str(folder), "--num_samples=20", "--num_data=5", "--num_checked=0"]) == 0
    found = Run(folder).evaluations()["test-importance-20-first5"]["certificate"]
    assert f"  {found['sentence']}\n" in capsys.readouterr().out
    again = read_evaluation(Run(folder), "test-importance-20-first5").result.certificate()
    assert (again.nll, again.num_data) == (pytest.approx(found["nll"]), 5)
    assert found["bits_per_dim"] == pytest.approx(found["nll"] / (64 * math.log(2)), rel=1e-6)
    assert main(["report", str(folder)]) == 0
    assert f"{found['sentence']}: of these 5 data and this model." in (folder / "report.html").read_text()
