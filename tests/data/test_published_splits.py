"""Published splits are read from files in the published format, and other files are refused in one sentence."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
import torchvision.datasets
from scipy.io import savemat

from pyrovae import CIFAR10, BinarizedMNIST, CaltechSilhouettes, InputError, OmniglotBurda
from pyrovae.data import MissingFiles, published_splits

RNG = np.random.default_rng(0)


@pytest.fixture
def amat(tmp_path, monkeypatch):
    """Write small files in Larochelle's format; their hashes are taken for the published ones."""
    rows, pixels, hashes = {"train": 30, "valid": 10, "test": 12}, {}, {}
    for name, count in rows.items():
        pixels[name] = RNG.integers(0, 2, (count, 784), dtype=np.uint8)
        text = "".join(" ".join(map(str, row)) + "\n" for row in pixels[name])
        assert len(text) == count * 1568  # as in the published files: 78,400,000 bytes of 50,000 rows
        (tmp_path / f"binarized_mnist_{name}.amat").write_text(text)
        hashes[f"binarized_mnist_{name}.amat"] = hashlib.sha256(text.encode()).hexdigest()
    monkeypatch.setattr(published_splits, "_AMAT_ROWS", rows)
    monkeypatch.setattr(published_splits, "_AMAT_SHA256", hashes)
    return pixels


def test_binarized_mnist_has_the_splits_of_its_files(amat, tmp_path):
    data = BinarizedMNIST(tmp_path)
    for split, name in ((data.train, "train"), (data.validation, "valid"), (data.test, "test")):
        assert np.array_equal(split[:].numpy(), amat[name].reshape(-1, 1, 28, 28))
    assert (data.kind, data.train.labels) == ("binary", None)


def test_binarized_mnist_of_another_file_is_refused(amat, tmp_path):
    path = tmp_path / "binarized_mnist_valid.amat"
    path.write_bytes(path.read_bytes()[:-1568])
    with pytest.raises(InputError, match=r"valid.amat must be the published file, with SHA-256 .* and 14112 bytes"):
        BinarizedMNIST(tmp_path)
    path.unlink()
    with pytest.raises(MissingFiles, match=r"there is no .*valid.amat; it is at http://www.cs.toronto.edu"):
        BinarizedMNIST(tmp_path)


def test_omniglot_of_burda(tmp_path, monkeypatch):
    counts = {"": 2_000, "test": 70}
    monkeypatch.setattr(published_splits, "_OMNIGLOT_COLUMNS", counts)
    alphabets = {part: RNG.integers(0, 50, count) for part, count in counts.items()}
    arrays = {f"{part}target": np.eye(50, dtype=np.uint8)[:, labels] for part, labels in alphabets.items()}
    arrays |= {f"{part}data": np.zeros((784, count), np.uint8) for part, count in counts.items()}
    arrays["testdata"][28, 7] = 1  # column by column: row 0 of column 1
    savemat(tmp_path / "chardata.mat", arrays)
    data = OmniglotBurda(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (655, 1_345, 70)
    assert data.test.stored.nonzero().tolist() == [[7, 0, 0, 1]]
    assert (data.kind, data.data_shape) == ("binary", (1, 28, 28))
    assert np.array_equal(data.test.labels.numpy(), alphabets["test"])
    assert np.array_equal(data.all.labels[:2_000].numpy(), alphabets[""])

    arrays["testdata"][0, 0] = 2
    savemat(tmp_path / "chardata.mat", arrays)
    with pytest.raises(InputError, match="must hold grey values from 0 to 1, but testdata has others"):
        OmniglotBurda(tmp_path)
    savemat(tmp_path / "chardata.mat", arrays | {"data": arrays["testdata"]})
    with pytest.raises(InputError, match=r"must hold data, numbers of shape \(784, 2000\), but has shape \(784, 70\)"):
        OmniglotBurda(tmp_path)


def test_caltech_silhouettes(tmp_path):
    arrays = {}
    for part, count in (("train", 4_100), ("val", 2_264), ("test", 2_307)):
        arrays[f"{part}_data"] = np.ones((count, 784), np.uint8)  # the background
        arrays[f"{part}_labels"] = (np.arange(count) % 101 + 1)[:, None]
    arrays["val_data"][3, 28] = 0
    path = tmp_path / "caltech101_silhouettes_28_split1.mat"
    savemat(path, arrays)
    data = CaltechSilhouettes(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (4_100, 2_264, 2_307)
    assert data.validation[:].nonzero().tolist() == [[3, 0, 0, 1]]
    assert (data.kind, data.validation.labels[:102].tolist()) == ("binary", [*range(101), 0])

    savemat(path, arrays | {"train_labels": arrays["train_labels"] - 1})
    with pytest.raises(InputError, match="must hold labels from 1 to 101, but train_labels go from 0 to 100"):
        CaltechSilhouettes(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be read as a MATLAB file"):
        CaltechSilhouettes(tmp_path)


def test_cifar10(tmp_path, monkeypatch):
    source, folder = torchvision.datasets.CIFAR10, tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pixels = RNG.integers(0, 256, (6, 20, 3072), dtype=np.uint8)  # red, green and blue, each row by row

    def written(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    lists = [written(name, {"data": pixels[i], "labels": [i] * 20}) for i, name in enumerate(names)]
    meta = written("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(source, "train_list", lists[:5])
    monkeypatch.setattr(source, "test_list", lists[5:])
    monkeypatch.setattr(source, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    data = CIFAR10(tmp_path, validation_size=10)
    assert repr(data) == "CIFAR10(train=90, validation=10, test=20, data_shape=(3, 32, 32), kind='dequantized')"
    assert np.array_equal(data.all.stored.numpy(), pixels.reshape(120, 3, 32, 32))
    assert torch.equal(data.all.labels, torch.arange(6).repeat_interleave(20))

    (folder / "data_batch_3").write_bytes(b"cut short")
    with pytest.raises(InputError, match=r"data_batch_3 must be the published file, with MD5 .* and 9 bytes"):
        CIFAR10(tmp_path)
