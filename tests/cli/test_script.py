"""A function as a program of its own."""

import pytest
import torch
from jsonargparse.typing import PositiveInt

from pyrovae import MNIST, DataSet, Digits, InputError
from pyrovae.cli import script
from pyrovae.data import MissingFiles, or_digits
from pyrovae.runs import DataFactory


def experiment(data: DataFactory = MNIST, epochs: int = 3, count: PositiveInt = 1) -> None:
    """Print what it would do.

    More of it.

    Args:
        data: the data set.
        epochs: passes over it.
        count: of something.
    """
    if epochs > 20:
        raise KeyboardInterrupt
    if epochs > 10:
        raise RuntimeError("a fault of the program")
    print(f"{or_digits(data)!r}, {epochs} epochs")


def test_options_are_those_of_the_class_that_is_chosen(capsys):
    assert script(experiment, ["--data", "Digits", "--data.test_size", "10", "--epochs", "4"]) == 0
    assert capsys.readouterr().out.endswith("test=10, data_shape=(1, 8, 8), kind='binary'), 4 epochs\n")


def test_the_digits_stand_in_for_files_that_are_missing(tmp_path, capsys):
    assert script(experiment, ["--data.root", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.out == f"{Digits()!r}, 3 epochs\n"
    assert told.err.startswith("MNIST is not in")
    assert told.err.endswith("scikit-learn's digits are taken instead\n")
    with pytest.raises(MissingFiles):
        MNIST(tmp_path)


def test_data_without_labels_are_refused_where_labels_are_needed():
    images = torch.zeros(20, 4)
    assert or_digits(lambda: DataSet(images)).train.labels is None
    assert or_digits(lambda: DataSet(images, torch.zeros(20, dtype=torch.int64)), labelled=True).data_shape == (4,)
    with pytest.raises(InputError, match="data must have labels, but these have none"):
        or_digits(lambda: DataSet(images), labelled=True)


def test_files_that_cannot_be_read_are_an_error(tmp_path, capsys):
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / "MNIST" / "raw" / f"{name}-ubyte").write_bytes(b"nothing")
    assert script(experiment, ["--data.root", str(tmp_path)]) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--epochs", "x"], "--epochs: expected an integer, but x was given"),
        (["--count", "0"], "--count: expected an integer of at least 1, but 0 was given"),
        (["--count", "x"], "--count: expected an integer of at least 1, but x was given"),
        (["--epoch", "3"], "there is no option --epoch 3 here (did you mean --epochs?): --help lists them"),
        (["--data.rot", "x"], "--data.rot: there is no such option (did you mean root?); accepted are root"),
    ],
)
def test_bad_options_are_one_sentence(words, sentence, capsys):
    assert script(experiment, words) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1


def test_faults_of_the_program_are_not_hidden():
    with pytest.raises(RuntimeError, match="a fault of the program"):
        script(experiment, ["--data", "Digits", "--epochs", "11"])


def test_a_script_that_is_interrupted_does_not_speak_of_resuming(capsys):
    assert script(experiment, ["--data", "Digits", "--epochs", "21"]) == 130
    assert capsys.readouterr().err == "pyrovae: interrupted\n"


def test_the_docstring_is_the_help(capsys):
    with pytest.raises(SystemExit) as stop:
        script(experiment, ["--help"])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    assert "Print what it would do. More of it." in told
    assert "passes over it" in told
