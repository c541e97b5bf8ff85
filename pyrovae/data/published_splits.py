"""Data sets in the split, and the binarisation, of the papers that report results on them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from pyrovae import checks
from pyrovae.data.benchmarks import MissingFiles
from pyrovae.data.dataset import DataSet
from pyrovae.data.split import Binarization
from pyrovae.files import describe_path, path_of

__all__ = ["BinarizedMNIST", "CaltechSilhouettes", "OmniglotBurda"]

_AMAT_SHA256 = {  # as TensorFlow Datasets checks them
    "binarized_mnist_train.amat": "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
    "binarized_mnist_valid.amat": "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
    "binarized_mnist_test.amat": "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
}
_AMAT_ROWS = {"train": 50_000, "valid": 10_000, "test": 10_000}
_AMAT_URL = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist"
_OMNIGLOT_URL = "https://github.com/yburda/iwae/raw/master/datasets/OMNIGLOT/chardata.mat"
_OMNIGLOT_COLUMNS = {"": 24_345, "test": 8_070}
_CALTECH_URL = "https://people.cs.umass.edu/~marlin/data/caltech101_silhouettes_28_split1.mat"
_PIXELS = 28 * 28


class BinarizedMNIST(DataSet):
    """MNIST as binarised once by Larochelle: 50,000 training, 10,000 validation and 10,000 test digits, 28x28.

    The binarisation of Salakhutdinov & Murray (2008, doi:10.1145/1390156.1390266): each pixel was sampled once with its
    grey value as the probability of 1, and the samples are in the files (Larochelle & Murray, 2011, The neural
    autoregressive distribution estimator). Published as "static" or "fixed" binarisation: NLL in nats per image on the
    10,000 test images, with the published split. Results on it are not comparable with those of :class:`MNIST`,
    whose images are binarised otherwise. There are no labels.

    The files' SHA-256 are checked, and so are shape and values.

    Args:
        root: folder that holds ``binarized_mnist_train.amat``, ``binarized_mnist_valid.amat`` and
            ``binarized_mnist_test.amat``, from http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist.

    Raises:
        ValueError: if a file is missing, or is not the published one.
    """

    def __init__(self, root: str | os.PathLike[str] = "data") -> None:
        folder = path_of("root", root)
        parts = {name: _read_amat(folder / f"binarized_mnist_{name}.amat", rows) for name, rows in _AMAT_ROWS.items()}
        super().__init__(parts["train"], test_x=parts["test"], validation_x=parts["valid"])


class OmniglotBurda(DataSet):
    """Omniglot, 28x28, in the split of Burda et al.: 24,345 training and 8,070 test characters.

    Grey images of handwritten characters of 50 alphabets (Lake et al., 2015, doi:10.1126/science.aab3050), reduced and
    split by Burda et al. (2016, arXiv:1509.00519); each alphabet is in both parts. Published protocol: binarised anew
    at every reading of a training image, NLL in nats per image on the 8,070 test images, each binarised once. Burda et
    al. hold out 1,345 training images for validation, as is done here by default, chosen at random; Tomczak & Welling
    (2018, arXiv:1705.07120) too. Labels are alphabets. Results are not comparable with those of :class:`Omniglot`,
    which has the split and the images of the authors of Omniglot.

    There is no published hash of the file; shape and values are checked.

    Args:
        root: folder that holds ``chardata.mat``, from
            https://github.com/yburda/iwae/tree/master/datasets/OMNIGLOT.
        binarization: see :class:`DataSet`.
        validation_size: number or fraction of the training data held out for validation.
        seed: seed of the split and of fixed noise.

    Raises:
        ValueError: if the file is missing, or does not hold these data.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] = "data",
        binarization: Binarization = "dynamic",
        validation_size: float = 1345,
        seed: int = 0,
    ) -> None:
        path = path_of("root", root) / "chardata.mat"
        arrays = _read_mat(path, _OMNIGLOT_URL, "the Omniglot of Burda et al.")
        x, labels = {}, {}
        for part, count in _OMNIGLOT_COLUMNS.items():
            pixels = _array(path, arrays, f"{part}data", (_PIXELS, count))  # a column for each image
            if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
                raise checks.InputError(f"{path} must hold grey values from 0 to 1, but {part}data has others")
            one_hot = _array(path, arrays, f"{part}target", (50, count))
            x[part] = _images(pixels.T.astype(np.float32))
            labels[part] = one_hot.argmax(0).astype(np.int64)
        super().__init__(
            x[""],
            labels[""],
            x["test"],
            labels["test"],
            binarization=binarization,
            validation_size=validation_size,
            seed=seed,
        )


class CaltechSilhouettes(DataSet):
    """The Caltech 101 Silhouettes, 28x28: 4,100 training, 2,264 validation and 2,307 test outlines of objects.

    Filled outlines of the objects of 101 classes (Marlin et al., 2010, Inductive principles for restricted Boltzmann
    machine learning). Published protocol: the binary images as they are, in the split ``split1``, NLL in nats per image
    on the 2,307 test images. Objects are 1 and the background is 0, as Tomczak & Welling (2018, arXiv:1705.07120) have
    them: the file has the reverse. Labels are classes, 0 to 100.

    There is no published hash of the file; shape and values are checked.

    Args:
        root: folder that holds ``caltech101_silhouettes_28_split1.mat``, from
            https://people.cs.umass.edu/~marlin/data.shtml.

    Raises:
        ValueError: if the file is missing, or does not hold these data.
    """

    def __init__(self, root: str | os.PathLike[str] = "data") -> None:
        path = path_of("root", root) / "caltech101_silhouettes_28_split1.mat"
        arrays = _read_mat(path, _CALTECH_URL, "the Caltech 101 Silhouettes")
        x, labels = {}, {}
        for part, count in {"train": 4_100, "val": 2_264, "test": 2_307}.items():
            pixels = _array(path, arrays, f"{part}_data", (count, _PIXELS))
            if not np.isin(pixels, (0, 1)).all():
                raise checks.InputError(f"{path} must hold zeros and ones, but {part}_data has other values")
            numbers = _array(path, arrays, f"{part}_labels", (count, 1))[:, 0]
            if numbers.min() < 1 or numbers.max() > 101:
                raise checks.InputError(
                    f"{path} must hold labels from 1 to 101, but {part}_labels go from {numbers.min()} to "
                    f"{numbers.max()}"
                )
            x[part] = _images(1 - pixels.astype(np.uint8))
            labels[part] = numbers.astype(np.int64) - 1
        super().__init__(
            x["train"],
            labels["train"],
            x["test"],
            labels["test"],
            validation_x=x["val"],
            validation_labels=labels["val"],
        )


def _images(rows: np.ndarray) -> np.ndarray:
    """Return images ``(N, 1, 28, 28)`` of rows ``(N, 784)`` that MATLAB wrote column by column."""
    return np.ascontiguousarray(rows.reshape(-1, 1, 28, 28).swapaxes(2, 3))


def _require(path: Path, url: str, name: str) -> None:
    if not path.is_file():
        raise MissingFiles(f"{name} cannot be read, because there is no {describe_path(path)}; it is at {url}")


def _read_mat(path: Path, url: str, name: str) -> dict[str, np.ndarray]:
    from scipy.io import loadmat

    _require(path, url, name)
    try:
        found: dict[str, np.ndarray] = loadmat(path)
    except Exception as error:
        raise checks.InputError(f"{path} cannot be read as a MATLAB file: {checks.reason(error)}") from error
    return found


def _array(path: Path, arrays: dict[str, np.ndarray], name: str, shape: tuple[int, int]) -> np.ndarray:
    """Return an array of a MATLAB file, whose shape must be the published one."""
    found = arrays.get(name)
    if found is None or found.shape != shape or found.dtype.kind not in "buif":
        what = "no such array" if found is None else f"shape {found.shape} and type {found.dtype}"
        raise checks.InputError(f"{path} must hold {name}, numbers of shape {shape}, but has {what}")
    return found


def _read_amat(path: Path, rows: int) -> np.ndarray:
    """Read a file of lines of 784 zeros and ones, as uint8 ``(rows, 1, 28, 28)``."""
    _require(path, f"{_AMAT_URL}/{path.name}", "the binarised MNIST")
    try:
        text = path.read_bytes()
    except OSError as error:
        raise checks.InputError(f"{path} cannot be read: {checks.reason(error)}") from error
    digest = hashlib.sha256(text).hexdigest()
    if digest != _AMAT_SHA256[path.name]:
        raise checks.InputError(
            f"{path} must be the published file, with SHA-256 {_AMAT_SHA256[path.name][:12]}…, but has {digest[:12]}… "
            f"and {len(text)} bytes; it may be cut short, or binarised another way"
        )
    characters = np.frombuffer(text, np.uint8)
    pixels = characters[characters > ord(" ")] - ord("0")  # without white space
    if len(pixels) != rows * _PIXELS or pixels.max() > 1:
        raise checks.InputError(f"{path} must hold {rows} lines of 784 zeros and ones, but does not")
    return pixels.reshape(rows, 1, 28, 28)
