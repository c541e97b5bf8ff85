"""A run in Python: the same program, data, history and numbers as the command line has."""

from functools import partial
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import pyrovae
from pyrovae import ArrayFile, Importance, InputError
from pyrovae.cli import main
from pyrovae.runs import evaluate_run

SMALL = ["--posterior.network.hidden_features=[32]", "--likelihood.network.hidden_features=[32]", "--compile=off"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "--latent_dim=2", "--epochs=2", *SMALL, f"--run={folder}"]) == 0
    return folder


def test_program_data_and_history_are_the_runs(folder):
    run = pyrovae.load(folder)
    assert type(run.program).__name__ == "VAE"
    assert type(run.data).__name__ == "Digits"
    assert len(run.history.epochs) == 2
    assert repr(run) == f"TrainedRun({str(folder)!r}, program=VAE)"
    shown = ElementTree.fromstring(run._repr_html_())
    assert shown.find(".//svg") is not None
    assert "VAE trained on Digits" in "".join(shown.itertext())


@pytest.mark.slow
def test_numbers_are_those_of_the_functions_and_of_the_command(folder):
    run = pyrovae.load(str(folder))
    x = run.data.test[:30]
    torch.manual_seed(0)
    ml = run.log_marginal(x, Importance(200))
    torch.manual_seed(0)
    expected = pyrovae.log_marginal(run.program.model, run.program.guide, x, num_samples=200)
    assert torch.equal(ml.log_prob, expected.log_prob)
    assert run.encode(x)["z"].shape == (30, 2)
    assert run.reconstruct(x).shape == x.shape
    torch.manual_seed(0)
    assert run.generate(5).shape == (5, 1, 8, 8)
    assert main(["evaluate", str(folder), "--num_samples=100", "--num_data=40"]) == 0
    assert f"test-importance-100-first40: NLL {run.folder.evaluations()['test-importance-100-first40']['nll']:.2f}" in (
        run._repr_html_()
    )
    evaluation = evaluate_run(run.folder, Importance(100), num_data=40)
    assert len(repr(evaluation)) < 400
    assert evaluation.path == folder / "evaluation" / "test-importance-100-first40.json"
    assert evaluation.result.nll == run.folder.evaluations()[evaluation.path.stem]["nll"]


@pytest.mark.slow
def test_all_test_data_are_the_default(folder):
    assert len(pyrovae.load(folder).log_marginal(num_samples=5).log_prob) == 180


def test_the_program_needs_no_data(folder, monkeypatch):
    monkeypatch.setattr("pyrovae.runs.folder.Run.load", lambda *_: pytest.fail("the data were loaded"))
    run = pyrovae.load(folder)
    assert run.generate(3, noise=True).unique().tolist() == [0, 1]


def test_other_data_may_take_the_place_of_the_runs(folder, tmp_path):
    images = np.random.default_rng(0).integers(0, 17, (40, 1, 8, 8)).astype(np.uint8) * 15
    np.save(tmp_path / "new.npy", images)
    run = pyrovae.load(folder, data=partial(ArrayFile, str(tmp_path / "new.npy"), binarization="threshold"))
    assert run.data.test[:].shape[1:] == (1, 8, 8)
    assert run.log_marginal(num_samples=5).log_prob.isfinite().all()


def test_health_says_that_a_run_has_collapsed(folder):
    assert any("collapsed" in sentence for sentence in pyrovae.load(folder).health())


@pytest.mark.slow
def test_the_commands_say_that_a_run_has_collapsed(folder, capsys):
    for words in (
        ["evaluate", str(folder), "--num_samples=20", "--num_data=30", "--num_checked=0"],
        ["diagnose", str(folder), "--num_samples=5", "--num_data=30", "--refinement_steps=0", "--method=Importance"],
    ):
        assert main(words) == 0
        assert "of the model: The posterior has collapsed: the codes carry 0.0" in capsys.readouterr().out


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"run must be a folder that pyrovae train made"):
        pyrovae.load(tmp_path)
