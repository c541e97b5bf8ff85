"""A package of someone else's, on the path but installed nowhere, is used by import path from the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from pyrovae import log_marginal
from pyrovae.cli import main
from pyrovae.runs import Run

ELSEWHERE = Path(__file__).parents[1] / "elsewhere"
pytestmark = pytest.mark.usefixtures("short_checks")
GREY = ["--data.binarization=none", "--data.dequantize=true"]
PROGRAM = ["--program=someones_package.programs.TwoCodes", "--program.width=24"]
ROWS = {
    "program": [*PROGRAM, "--objective=DReG"],
    "conditionals and networks": [
        "--prior=someones_package.conditionals.LaplacePrior",
        "--prior.scale=0.7",
        "--posterior=someones_package.conditionals.LaplacePosterior",
        "--posterior.network=pyrovae.MLP",
        "--likelihood=someones_package.conditionals.Beta",
        "--likelihood.network=someones_package.networks.Skip",
        "--likelihood.network.width=16",
        *GREY,
    ],
    "with what pyrovae has": [
        "--prior=VampPrior",
        "--prior.num_components=20",
        "--posterior=someones_package.conditionals.LaplacePosterior",
        "--posterior.network.width=16",
        "--objective=IWAE",
    ],
}


@pytest.fixture(autouse=True)
def _on_the_path(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ELSEWHERE)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_it_is_trained_resumed_evaluated_sampled_and_reported(name, tmp_path):
    options = [*ROWS[name], "--latent_dim=2", "--batch_size=256", "--optimizer.lr=3e-3", "--run=run"]
    assert main(["train", *options, "--epochs=2"]) == 0
    assert main(["train", "--run=run", "--resume=true", "--epochs=4"]) == 0
    assert main(["evaluate", "run", "--num_samples=60", "--num_data=40", "--num_checked=2"]) == 0
    assert main(["sample", "run", "--num_samples=9", "--out=new.npy"]) == 0
    assert main(["report", "run"]) == 0
    history = Run("run").history()
    assert len(history.epochs) == 4
    assert history.epochs[-1].validation_elbo > history.epochs[0].validation_elbo
    (evaluation,) = Run("run").evaluations().values()
    assert np.isfinite([evaluation["nll"], evaluation["elbo"]]).all()
    assert evaluation["nll"] <= -evaluation["elbo"]
    assert np.load("new.npy").reshape(9, -1).shape == (9, 64)
    config = yaml.safe_load(Path("run/config.yaml").read_text())
    assert "someones_package" in json.dumps(config)
    assert ("prior" in config) == ("program" not in config or config["program"] is None)
    assert "<img" in Path("run/report.html").read_text()


@pytest.mark.slow
def test_a_program_whose_data_depend_on_their_total_is_not_sampled_without_one(capsys):
    options = ["--program=someones_package.programs.Shares", "--data.binarization=none", "--latent_dim=2", "--run=run"]
    assert main(["train", *options, "--epochs=1"]) == 0
    assert main(["evaluate", "run", "--num_samples=20", "--num_data=9", "--num_checked=0"]) == 0
    assert main(["report", "run"]) == 0
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert "No picture of samples: model must have distributions that do not depend on x" in page
    assert "No picture of reconstructions" not in page
    capsys.readouterr()
    for command in (["sample", "run", "--out=new.npy"], ["export", "run", "--format=torch", "--out=halves"]):
        assert main(command) == 2
        assert "distributions that do not depend on x" in capsys.readouterr().err
    assert not Path("new.npy").exists()


@pytest.mark.slow
def test_it_is_found_by_the_command_itself(tmp_path, monkeypatch, capsys):
    """In a process of its own, by PYTHONPATH alone; and without the path, what is missing is named."""
    environment = {**os.environ, "PYTHONPATH": str(ELSEWHERE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pyrovae", "train", *PROGRAM, "--latent_dim=2", "--epochs=1", "--run=run"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in [name for name in sys.modules if name.partition(".")[0] == "someones_package"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if Path(path).resolve() != ELSEWHERE])
    assert main(["evaluate", "run"]) == 2
    assert "someones_package" in capsys.readouterr().err


@pytest.mark.slow
def test_a_loaded_run_is_the_users_own_program_and_one_that_derives_from_none_of_ours_is_still_evaluated(capsys):
    """As those were that were begun before the command line asked for it."""
    assert main(["train", *PROGRAM, "--latent_dim=2", "--epochs=1", "--run=run"]) == 0
    data, program = Run("run").load()
    assert type(program).__module__ == "someones_package.programs"
    assert log_marginal(program.model, program.guide, data.test[:5], num_samples=20).log_prob.isfinite().all()
    config = Path("run/config.yaml")
    config.write_text(config.read_text().replace("programs.TwoCodes", "programs.Underived"))
    trust = "--trust=someones_package"  # for the configuration was changed
    assert type(Run("run", "someones_package").load()[1]).__name__ == "Underived"
    assert main(["evaluate", "run", "--num_samples=5", "--num_data=9", "--num_checked=0", trust]) == 0
    capsys.readouterr()
    assert main(["train", "--run=run", "--resume=true", "--epochs=2", trust]) == 2
    assert "must be a subclass of pyrovae.Program" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--program=someones_package.programs.NoGuide"],
            ["--program: must be a subclass of pyrovae.Program", "NoGuide"],
        ),
        (
            ["--program=someones_package.programs.Underived"],
            ["--program: must be a subclass of pyrovae.Program, but someones_package.programs.Underived was given"],
        ),
        (["--program=MLP"], ["program", "MLP"]),
        (["--program=someones_package.programs.Absent"], ["--program", "Absent"]),
        (["--program=someones_package.networks.Skip"], ["--program: must be a subclass of pyrovae.Program", "Skip"]),
        (["--program=someones_package.programs.TwoCodes", "--program.depth=3"], ["--program.depth", "width"]),
        (
            ["--program=someones_package.programs.TwoCodes", "--prior=StandardNormal"],
            ["--prior must be left out where --program is given"],
        ),
        (["--prior=someones_package.conditionals.Beta"], ["--prior", "subclass of pyrovae.Prior", "Beta"]),
        (
            ["--likelihood=someones_package.conditionals.Beta", "--data.binarization=none", "--latent_dim=0"],
            ["latent_dim"],
        ),
    ],
)
def test_bad_choices_get_one_sentence(options, words, capsys):
    assert main(["train", *options, "--epochs=1", "--run=run"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert all(word in message for word in words), message
    assert not Path("run").exists()
