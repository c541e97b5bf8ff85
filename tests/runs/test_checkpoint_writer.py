"""Epochs are written once a second and at the end; what is not written yet is kept as it was."""

import pytest
import torch
from torch import nn

from pyrovae import InputError
from pyrovae.cli import main
from pyrovae.runs import CheckpointWriter, Run, checkpoint_writer
from pyrovae.training import Epoch, History

SMALL = [
    "--latent_dim=2",
    "--posterior.network.hidden_features=[8]",
    "--likelihood.network.hidden_features=[8]",
    "--batch_size=512",
    "--compile=off",
]


class Folder:
    """Keep what is written, in place of a run's folder."""

    def __init__(self):
        self.rows, self.error = [], None

    def save_epoch(self, weights, best, history, state):
        if self.error is not None:
            raise self.error
        best = None if best is None else best["weight"].item()
        self.rows.append((len(history.epochs), weights["weight"].item(), best, state["number"]))


@pytest.fixture
def training(monkeypatch):
    """Return a folder, its writer, and a function that does an epoch of a given ELBO at a given time."""
    seconds = [0.0]
    monkeypatch.setattr(checkpoint_writer.time, "monotonic", lambda: seconds[0])
    program, history, folder = nn.Linear(1, 1, bias=False), History(), Folder()
    writer = CheckpointWriter(folder, program)

    def epoch(elbo, time):
        seconds[0] = time
        number = len(history.epochs) + 1
        with torch.no_grad():
            program.weight.fill_(float(number))
        history.epochs.append(Epoch(number, elbo, elbo, 0.0, elbo, elbo, 0.0, 0.1, 1e-3))
        writer.epoch(history, lambda spare: {"number": number})
        with torch.no_grad():
            program.weight.fill_(-1.0)  # the next epoch has begun

    return folder, writer, epoch


def test_an_epoch_is_written_if_a_second_has_passed(training):
    folder, writer, epoch = training
    for number, time in enumerate((0.0, 0.5, 0.9, 1.0, 1.9, 2.5), start=1):
        epoch(float(number), time)
    assert folder.rows == [(1, 1.0, 1.0, 1), (4, 4.0, 4.0, 4), (6, 6.0, 6.0, 6)]
    writer.flush()
    assert len(folder.rows) == 3  # all is written


def test_the_last_epoch_is_written_as_it_was_and_the_best_before_it_too(training):
    folder, writer, epoch = training
    epoch(1.0, 0.0)
    epoch(3.0, 0.1)
    epoch(2.0, 0.2)
    writer.flush()
    assert folder.rows[1:] == [(3, 3.0, 2.0, 3)]
    epoch(2.5, 5.0)
    assert folder.rows[2:] == [(4, 4.0, None, 4)]  # the best weights are there


def test_what_cannot_be_written_is_not_tried_again(training):
    folder, writer, epoch = training
    epoch(1.0, 0.0)
    folder.error = InputError("the disk is full")
    epoch(2.0, 0.5)
    with pytest.raises(InputError, match="disk is full"):
        epoch(3.0, 2.0)
    writer.flush()
    assert len(folder.rows) == 1


def test_an_interrupted_writing_is_done_at_the_end(training):
    folder, writer, epoch = training
    epoch(1.0, 0.0)
    folder.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        epoch(2.0, 2.0)
    folder.error = None
    writer.flush()
    assert folder.rows[1:] == [(2, 2.0, 2.0, 2)]


@pytest.mark.slow
@pytest.mark.parametrize("stop", ["interrupt", "error"])
def test_an_interrupted_training_loses_no_epoch_and_resumes_to_the_same_weights(stop, tmp_path, monkeypatch, capsys):
    """Stop in the middle of epoch 4, of which only the first was due to be written; go on; compare."""
    monkeypatch.setattr(checkpoint_writer, "_INTERVAL", 3600.0)
    kind = {"interrupt": KeyboardInterrupt, "error": FloatingPointError}[stop]
    assert main(["train", *SMALL, "--epochs=6", f"--run={tmp_path / 'whole'}"]) == 0
    steps, step = [], torch.optim.Adam.step

    def stopping(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == 11:  # of three steps an epoch
            raise kind
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.Adam, "step", stopping)
        assert main(["train", *SMALL, "--epochs=6", f"--run={tmp_path / 'run'}"]) != 0
    assert len(Run(tmp_path / "run").history().epochs) == 3
    assert len(Run(tmp_path / "run").state()["history"]) == 3
    assert main(["train", *SMALL, "--epochs=6", f"--run={tmp_path / 'run'}", "--resume=true"]) == 0
    for name in ("weights.safetensors", "checkpoint/weights.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
