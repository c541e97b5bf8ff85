"""``pyrovae compress``, ``decompress`` and ``evaluate --codec`` from end to end, and what they refuse."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import SMALL, assert_one_sentence, contents

from pyrovae import load
from pyrovae.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("compressed")
    assert main(shlex.split(f"train --run {made}/run --latent_dim 2 --epochs 1 --compile off {SMALL}")) == 0
    assert (
        main(
            shlex.split(
                f"train --run {made}/grey --likelihood Gaussian --data.binarization none --data Digits "
                f"--latent_dim 2 --epochs 1 --compile off {SMALL}"
            )
        )
        == 0
    )
    assert main(shlex.split(f"compress {made}/run --split test --num_data 40 --out {made}/x.pyrovae")) == 0
    return made


def test_the_file_is_restored_and_its_length_is_told_beside_the_nll(folder, tmp_path, capsys):
    assert main(shlex.split(f"decompress {folder}/x.pyrovae --run {folder}/run --out {tmp_path}/x.npy")) == 0
    assert "40 data of shape (1, 8, 8) and type float32" in capsys.readouterr().out
    assert torch.equal(torch.from_numpy(np.load(tmp_path / "x.npy")), load(folder / "run").data.test[:40])
    words = f"evaluate {folder}/run --num_data 40 --num_samples 20 --num_checked 0 --codec true"
    assert main(shlex.split(words)) == 0
    size = (folder / "x.pyrovae").stat().st_size
    assert f"file {size:,} bytes, " in capsys.readouterr().out
    summary = json.loads((folder / "run" / "evaluation" / "test-importance-20-first40.json").read_text())
    assert summary["compressed"]["num_bytes"] == size
    assert summary["compressed"]["bits_per_dim"] == pytest.approx(8 * size / (40 * 64))
    # 40 data have the header and the first bits to bear
    header = 8 * 100 / (40 * 64)
    assert summary["bits_per_dim"] < summary["compressed"]["bits_per_dim"] < 1.03 * summary["bits_per_dim"] + header


def change(file):
    file.write_bytes(file.read_bytes()[:-3] + b"abc")


@pytest.mark.parametrize(
    ("words", "says", "prepare"),
    [
        ("compress {f}/none --out {d}/new", ["run must be a folder", "config.yaml"], None),
        ("compress {f}/run --out {f}/x.pyrovae", ["out must be a new file", "x.pyrovae"], None),
        ("compress {f}/run --out {d}", ["out must be a file"], None),
        ("compress {f}/run --out {d}/new --num_particles 0", ["num_particles"], None),
        ("compress {f}/run --out {d}/new --num_data 0", ["num_data"], None),
        ("compress {f}/grey --out {d}/new", ["likelihood must be a probability", "a Normal"], None),
        ("evaluate {f}/grey --codec true --num_data 3", ["likelihood must be a probability"], None),
        ("decompress {d}/x.pyrovae --run {f}/run --out {d}/new.csv", ["out's ending", ".npy"], None),
        ("decompress {d}/none --run {f}/run --out {d}/new.npy", ["file must be one that pyrovae compress made"], None),
        ("decompress {d}/x.pyrovae --run {f}/grey --out {d}/new.npy", ["likelihood must be a probability"], None),
        ("decompress {d}/x.pyrovae --run {f}/run --out {d}/new.npy", ["damaged"], change),
        ("decompress {d}/x.pyrovae --run {f}/run --out {d}/new.npy", ["empty"], lambda file: file.write_bytes(b"")),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence_and_nothing_is_written(
    words, says, prepare, folder, tmp_path, capsys
):
    copy = tmp_path / "x.pyrovae"
    copy.write_bytes((folder / "x.pyrovae").read_bytes())
    if prepare is not None:
        prepare(copy)
    before = {**contents(tmp_path), **contents(folder)}
    capsys.readouterr()
    assert main(shlex.split(words.format(f=folder, d=tmp_path))) == 2
    assert_one_sentence(capsys.readouterr().err, says)
    assert {**contents(tmp_path), **contents(folder)} == before


def test_without_constriction_the_sentence_says_what_to_install(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "constriction", None)
    assert main(shlex.split(f"compress {folder}/run --out {tmp_path}/new")) == 2
    assert_one_sentence(capsys.readouterr().err, ["constriction", "pip install 'pyrovae[compress]'"])
    assert not Path(tmp_path / "new").exists()
