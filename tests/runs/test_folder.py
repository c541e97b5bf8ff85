"""A run's folder: what is in it, that it survives being killed at any moment, and that it runs no foreign code."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from pyrovae import InputError
from pyrovae.arviz_import import read_inference_data
from pyrovae.cli import main
from pyrovae.files import atomic_write
from pyrovae.runs import Run, checkpoint_writer

ROOT = Path(__file__).parents[2]
SMALL = [
    "--latent_dim=2",
    "--posterior.network.hidden_features=[8]",
    "--likelihood.network.hidden_features=[8]",
    "--batch_size=256",
    "--kl_warmup=1",  # by default, it depends on the number of epochs
]


def train(folder, epochs, *options):
    return main(["train", *SMALL, f"--epochs={epochs}", f"--run={folder}", *options])


def same_weights(a, b):
    files = "weights.safetensors", "checkpoint/weights.safetensors"
    return all((Path(a) / name).read_bytes() == (Path(b) / name).read_bytes() for name in files)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert train(folder, 4) == 0
    return folder


def test_the_folder_holds_what_the_design_says(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["likelihood"]["class_path"] == "pyrovae.Bernoulli"
    assert config["posterior"]["init_args"]["network"]["init_args"]["hidden_features"] == [8]
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert all(float(row["validation_elbo"]) < 0 for row in rows)
    state = torch.load(run / "checkpoint" / "state.pt", weights_only=True)
    assert {"format", "weights", "optimizer", "rng", "history"} <= state.keys()
    assert load_file(run / "weights.safetensors").keys() == load_file(run / "checkpoint/weights.safetensors").keys()


@pytest.mark.slow
def test_the_configuration_is_taken_back(run, tmp_path):
    assert main(["train", f"--config={run / 'config.yaml'}", f"--run={tmp_path / 'again'}"]) == 0
    assert same_weights(run, tmp_path / "again")


@pytest.mark.slow
def test_evaluation_is_written_with_everything(run, capsys):
    assert main(["evaluate", str(run), "--num_samples=50", "--num_data=30", "--num_checked=1"]) == 0
    entry = json.loads((run / "evaluation" / "test-importance-50-first30.json").read_text())
    for key in ("nll", "standard_error", "mc_error", "bits_per_dim", "elbo", "num_samples", "num_data", "method"):
        assert entry[key] is not None, key
    assert {"seed", "seconds", "pareto_k", "ess", "versions", "verdict"} <= entry.keys()
    values = read_inference_data(run / "evaluation" / "test-importance-50-first30.nc")
    assert -values.sample_stats["log_prob"].mean().item() == pytest.approx(entry["nll"])
    shown = capsys.readouterr().out
    assert f"{entry['nll']:.2f} nats per datum" in shown
    assert entry["verdict"] in shown
    assert main(["evaluate", str(run), "--num_samples=50", "--num_data=30", "--num_checked=0"]) == 0  # the same seed
    assert json.loads((run / "evaluation" / "test-importance-50-first30.json").read_text())["nll"] == entry["nll"]


@pytest.mark.slow
def test_best_and_last_weights_are_both_there(tmp_path):
    wild = ["--optimizer=SGD", "--optimizer.lr=3e-3"]
    assert train(tmp_path / "run", 12, *wild) == 0
    run = Run(tmp_path / "run")
    best = run.history().best_epoch
    assert best < 12  # or the two are the same, and nothing is tested
    assert train(tmp_path / "until", best, *wild) == 0
    _, first = run.load("best")
    _, last = run.load("last")
    _, expected = Run(tmp_path / "until").load("last")
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, expected.state_dict()[name])
    assert any(not torch.equal(tensor, last.state_dict()[name]) for name, tensor in first.state_dict().items())


class Killed(BaseException):
    """An exception that no code catches by accident."""


@pytest.mark.slow
@pytest.mark.usefixtures("short_checks")
@pytest.mark.parametrize("interval", [0.0, 3600.0])  # each epoch is written, or the first and the last
def test_dying_at_any_rename_loses_nothing(interval, run, tmp_path, monkeypatch):
    """Die before the first, the second, ... file of a run is moved into place; go on; end in the same weights."""
    plain, whole = "--compile=off", tmp_path / "whole"  # nothing is recorded anew by each of these trainings
    epochs = 2 if interval == 0 else 3
    assert train(whole, epochs + 1, plain) == 0
    rename, renames = os.replace, 0

    def count_or_die(source, target):
        nonlocal renames
        renames += 1
        if renames == deadline:
            raise Killed
        rename(source, target)

    monkeypatch.setattr(checkpoint_writer, "_INTERVAL", interval)
    monkeypatch.setattr(os, "replace", count_or_die)
    for deadline in range(1, 40):
        renames = 0
        folder = tmp_path / f"run{deadline}"
        try:
            train(folder, epochs, plain)
        except Killed:
            monkeypatch.setattr(os, "replace", rename)
            assert not list(folder.rglob(".*")), "a half-written file was left"
            if Run(folder).exists:
                Run(folder).config()
                Run(folder).state()
            assert train(folder, epochs + 1, "--resume=true", plain) == 0
            assert same_weights(whole, folder), deadline
            assert [row.epoch for row in Run(folder).history().epochs] == list(range(1, epochs + 2))
            monkeypatch.setattr(os, "replace", count_or_die)
        else:
            break
    assert deadline >= 2 * 4  # four files an epoch that is written, one by one


# Forks for each line of standard input: what takes seconds to import is imported once.
FORKING = """
import json, os, sys
import sklearn.datasets
import torch._dynamo
from pyrovae.cli import dispatch, main

for line in sys.stdin:
    last_step, words = json.loads(line)
    child = os.fork()
    if child == 0:
        os.environ["LAST_STEP"] = str(last_step)
        sys.stdout = sys.stderr
        os._exit(main(words))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
MORTAL = """
import os, signal
from pyro.infer import Trace_ELBO

class Mortal(Trace_ELBO):
    steps = 0

    def loss_and_grads(self, *args, **kwargs):
        self.steps += 1
        if self.steps == int(os.environ["LAST_STEP"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss_and_grads(*args, **kwargs)
"""


@pytest.mark.slow
def test_sigkill_and_resume_end_in_the_same_weights(tmp_path):
    """Real processes, killed in the middle of an epoch: the second, and, resumed, one later."""
    (tmp_path / "mortal.py").write_text(MORTAL)
    options = ["--batch_size=512", "--epochs=4", "--compile=off", "--objective=mortal.Mortal"]  # 3 steps an epoch

    def end(folder, last_step):
        words = ["train", *SMALL, *options, f"--run={folder}", "--resume=true"]
        print(json.dumps([last_step, words]), file=processes.stdin, flush=True)
        return int(processes.stdout.readline())

    with subprocess.Popen(
        [sys.executable, "-c", FORKING],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as processes:
        kill_and_resume(end, tmp_path)


def kill_and_resume(end, tmp_path):
    assert end("whole", 0) == 0
    killed = tmp_path / "killed"
    for last_step, epochs in ((5, 1), (3, 1), (6, 2)):
        assert end("killed", last_step) == -signal.SIGKILL
        Run(killed).load()  # the folder can be read
        Run(killed).state()
        assert len(Run(killed).history().epochs) == epochs
    assert end("killed", 0) == 0
    assert same_weights(tmp_path / "whole", killed)
    assert [row.epoch for row in Run(killed).history().epochs] == list(range(1, 5))
    assert not (killed / "train.lock").exists()


@pytest.mark.slow
def test_a_finished_run_resumes_to_itself(run):
    before = (run / "weights.safetensors").read_bytes()
    assert train(run, 4, "--resume=true") == 0
    assert (run / "weights.safetensors").read_bytes() == before


@pytest.mark.slow
def test_a_diverging_run_ends_with_status_1_and_keeps_its_checkpoint(tmp_path, capsys):
    folder = tmp_path / "run"
    assert train(folder, 2, "--optimizer=SGD", "--optimizer.lr=1e-6") == 0
    config = (folder / "config.yaml").read_text().replace("lr: 1.0e-06", "lr: 1.0e+07")
    (folder / "config.yaml").write_text(config)
    state = torch.load(folder / "checkpoint/state.pt", weights_only=True)
    for group in state["optimizer"]["optimizer"]["param_groups"]:
        group["lr"] = 1e7
    torch.save(state, folder / "checkpoint/state.pt")
    before = (folder / "checkpoint/weights.safetensors").read_bytes()
    capsys.readouterr()
    assert train(folder, 5, "--resume=true", "--optimizer=SGD", "--optimizer.lr=1e7") == 1
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert "epoch 3, batch" in shown
    assert "site '" in shown
    assert (folder / "checkpoint/weights.safetensors").read_bytes() == before
    Run(folder).load()


@pytest.mark.slow
def test_a_run_that_diverges_at_once_frees_its_folder(tmp_path):
    folder = tmp_path / "run"
    assert train(folder, 2, "--optimizer=SGD", "--optimizer.lr=1e9") == 1
    assert not folder.exists()
    assert train(folder, 1) == 0


def test_writing_leaves_the_old_file_if_it_fails(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def write_half():
        with atomic_write(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_foreign_format_is_refused(run, tmp_path):
    from safetensors.torch import save_file

    other = Run(tmp_path)
    (tmp_path / "config.yaml").write_text((run / "config.yaml").read_text())
    save_file(load_file(run / "weights.safetensors"), tmp_path / "weights.safetensors", {"format": "pyrovae 2"})
    with pytest.raises(InputError, match="has format 'pyrovae 2'"):
        other.load()
