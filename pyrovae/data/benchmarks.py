"""Standard benchmark data: scikit-learn's digits, which need no files, and data sets of torchvision."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pyrovae import checks, progress
from pyrovae.data.dataset import DataSet
from pyrovae.data.split import Binarization
from pyrovae.files import atomic_write, describe_path, path_of

__all__ = ["CIFAR10", "KMNIST", "MNIST", "Digits", "FashionMNIST", "MissingFiles", "Omniglot", "or_digits"]


class MissingFiles(checks.InputError):
    """The error that a data set's files are missing and cannot be downloaded."""


class Digits(DataSet):
    """Scikit-learn's 1,797 handwritten digits, 8x8 in 17 grey levels; they need neither files nor a network.

    (Alpaydin & Kaynak, 1998, doi:10.24432/C50P49.)

    Args:
        binarization: see :class:`DataSet`.
        dequantize: see :class:`DataSet`.
        validation_size: number or fraction of data held out for validation.
        test_size: number or fraction of data held out for the test.
        seed: seed of the split and of fixed noise.

    Example:
        >>> Digits()
        Digits(train=1437, validation=180, test=180, data_shape=(1, 8, 8), kind='binary')
    """

    def __init__(
        self,
        binarization: Binarization = "dynamic",
        dequantize: bool = False,
        validation_size: float = 0.1,
        test_size: float = 0.1,
        seed: int = 0,
    ) -> None:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        super().__init__(
            bunch.images.astype(np.uint8)[:, None],  # (1797, 1, 8, 8)
            bunch.target,
            binarization=binarization,
            dequantize=dequantize,
            levels=17,
            validation_size=validation_size,
            test_size=test_size,
            seed=seed,
        )


class _IDX(DataSet):
    """Base class of data sets of 28x28 grey images that torchvision reads from IDX files."""

    def __init__(
        self,
        root: str | os.PathLike[str] = "data",
        binarization: Binarization = "dynamic",
        dequantize: bool = False,
        validation_size: float = 10_000,
        seed: int = 0,
    ) -> None:
        import torchvision.datasets

        name, folder = type(self).__name__, path_of("root", root)
        files = f"train-images-idx3-ubyte and its three companions (or their .gz) in {folder / name / 'raw'}"
        train, test = _load(getattr(torchvision.datasets, name), folder, files, "train", [True, False])
        super().__init__(
            train.data[:, None],  # (60000, 1, 28, 28)
            train.targets,
            test.data[:, None],
            test.targets,
            binarization=binarization,
            dequantize=dequantize,
            validation_size=validation_size,
            seed=seed,
        )


class MNIST(_IDX):
    """MNIST: 60,000 and 10,000 handwritten digits, 28x28 (LeCun et al., 1998, doi:10.1109/5.726791).

    Args:
        root: folder that holds ``MNIST/raw``; missing files are downloaded into it.
        binarization: see :class:`DataSet`.
        dequantize: see :class:`DataSet`.
        validation_size: number or fraction of the training data held out for validation.
        seed: seed of the split and of fixed noise.

    Raises:
        ValueError: if the files are missing and cannot be downloaded, or cannot be read.
    """


class FashionMNIST(_IDX):
    """Fashion-MNIST: 60,000 and 10,000 articles of clothing, 28x28 (Xiao et al., 2017, arXiv:1708.07747).

    Args:
        root: folder that holds ``FashionMNIST/raw``; missing files are downloaded into it.
        binarization: see :class:`DataSet`.
        dequantize: see :class:`DataSet`.
        validation_size: number or fraction of the training data held out for validation.
        seed: seed of the split and of fixed noise.

    Raises:
        ValueError: if the files are missing and cannot be downloaded, or cannot be read.
    """


class KMNIST(_IDX):
    """Kuzushiji-MNIST: 60,000 and 10,000 cursive characters, 28x28 (Clanuwat et al., 2018, arXiv:1812.01718).

    Args:
        root: folder that holds ``KMNIST/raw``; missing files are downloaded into it.
        binarization: see :class:`DataSet`.
        dequantize: see :class:`DataSet`.
        validation_size: number or fraction of the training data held out for validation.
        seed: seed of the split and of fixed noise.

    Raises:
        ValueError: if the files are missing and cannot be downloaded, or cannot be read.
    """


class CIFAR10(DataSet):
    """CIFAR-10: 50,000 and 10,000 colour images of ten classes, 32x32, 8 bits (Krizhevsky, 2009).

    Published protocol: bits/dim on the 10,000 test images, of a likelihood that is a probability of the 256 levels,
    or of images with uniform noise, whose density bounds it (Theis et al., 2016, arXiv:1511.01844). Papers train on all
    50,000 images; here 5,000 of them are held out for validation by default. Labels are classes, 0 to 9.

    The MD5 of each file is checked before it is read.

    Args:
        root: folder that holds ``cifar-10-batches-py``; missing files are downloaded into it.
        dequantize: True for uniform noise; False for levels in [0, 1], as ``DiscretizedLogisticMixture`` needs them.
        validation_size: number or fraction of the training data held out for validation.
        seed: seed of the split and of fixed noise.

    Raises:
        ValueError: if the files are missing and cannot be downloaded, or are not the published ones.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] = "data",
        dequantize: bool = True,
        validation_size: float = 5_000,
        seed: int = 0,
    ) -> None:
        import torchvision.datasets

        source, folder = torchvision.datasets.CIFAR10, path_of("root", root)
        batches = folder / source.base_folder
        _check_md5(batches, [*source.train_list, *source.test_list])
        files = f"data_batch_1 to data_batch_5, test_batch and batches.meta in {batches}"
        train, test = _load(source, folder, files, "train", [True, False])
        super().__init__(
            train.data,  # (50000, 32, 32, 3)
            np.array(train.targets),
            test.data,
            np.array(test.targets),
            dequantize=dequantize,
            channels="last",
            validation_size=validation_size,
            seed=seed,
        )


class Omniglot(DataSet):
    """Omniglot: 19,280 and 13,180 characters of 50 alphabets (Lake et al., 2015, doi:10.1126/science.aab3050).

    White strokes on black, reduced from 105x105 to 28x28 by averaging; labels are characters. The reduced
    images are cached in ``omniglot-28.npz`` beside the originals.

    Args:
        root: folder that holds ``omniglot-py``; missing files are downloaded into it.
        binarization: see :class:`DataSet`.
        dequantize: see :class:`DataSet`.
        validation_size: number or fraction of the training data held out for validation.
        seed: seed of the split and of fixed noise.

    Raises:
        ValueError: if the files are missing and cannot be downloaded, or cannot be read.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] = "data",
        binarization: Binarization = "dynamic",
        dequantize: bool = False,
        validation_size: float = 0.1,
        seed: int = 0,
    ) -> None:
        reduced = path_of("root", root) / "omniglot-28.npz"
        if not reduced.exists():
            _reduce_omniglot(Path(root), reduced)
        try:
            with reduced.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                parts = {name: arrays[name] for name in ("train", "train_labels", "test", "test_labels")}
        except Exception as error:
            raise checks.InputError(
                f"{reduced} cannot be read ({checks.reason(error)}); remove it to make it anew"
            ) from error
        super().__init__(
            parts["train"],
            parts["train_labels"],
            parts["test"],
            parts["test_labels"],
            binarization=binarization,
            dequantize=dequantize,
            validation_size=validation_size,
            seed=seed,
        )


class _TorchvisionSet(Protocol):
    data: Any
    targets: Any

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> tuple[Any, int]: ...


def _load(
    make: Callable[..., _TorchvisionSet], root: Path, files: str, option: str, values: list[bool]
) -> list[_TorchvisionSet]:
    """Load data sets of torchvision from disk or the network; raise one sentence if files are missing."""
    name = getattr(make, "__name__", str(make))

    def load(download: bool) -> list[_TorchvisionSet]:
        return [make(root=str(root), download=download, **{option: value}) for value in values]

    try:
        return load(download=False)
    except RuntimeError as missing:
        if "not found" not in str(missing):
            raise checks.InputError(f"{name} in {root} cannot be read: {checks.reason(missing)}") from missing
    except Exception as error:
        raise checks.InputError(f"{name} in {root} cannot be read: {checks.reason(error)}") from error
    try:
        return load(download=True)
    except Exception as error:
        raise MissingFiles(
            f"{name} is not in {describe_path(root)}, and cannot be downloaded ({_first_line(error)}); "
            f"put {files}, or take the data set Digits, which needs no files"
        ) from error


def _check_md5(folder: Path, published: list[list[str]]) -> None:
    """Check the files that exist: torchvision calls a damaged file missing."""
    for name, digest in published:
        path = folder / name
        if path.is_file() and (found := hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()) != digest:
            raise checks.InputError(
                f"{path} must be the published file, with MD5 {digest}, but has {found} and {path.stat().st_size} bytes"
            )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(":.") or type(error).__name__


def _reduce_omniglot(root: Path, reduced: Path) -> None:
    import torchvision.datasets
    from PIL import Image

    files = f"images_background.zip and images_evaluation.zip in {root / 'omniglot-py'}"
    arrays: dict[str, np.ndarray] = {}
    sets = _load(torchvision.datasets.Omniglot, root, files, "background", [True, False])
    for name, part in zip(("train", "test"), sets, strict=True):
        images = np.empty((len(part), 1, 28, 28), np.uint8)
        labels = np.empty(len(part), np.int64)
        for i in progress.over(range(len(part)), f"Omniglot, {name}", "image"):
            image, labels[i] = part[i]
            images[i, 0] = 255 - np.asarray(image.convert("L").resize((28, 28), Image.Resampling.BOX))
        arrays |= {name: images, f"{name}_labels": labels}
    with atomic_write(reduced) as file:
        np.savez_compressed(
            file,
            train=arrays["train"],
            train_labels=arrays["train_labels"],
            test=arrays["test"],
            test_labels=arrays["test_labels"],
        )


def or_digits(data: Callable[[], DataSet], *, labelled: bool = False) -> DataSet:
    """Make a data set; if its files are missing, print that, and return scikit-learn's digits instead.

    Args:
        data: makes the data set.
        labelled: True to refuse data without labels.

    Raises:
        ValueError: if the data set cannot be made for another reason, or lacks labels.

    Example:
        >>> or_digits(Digits)
        Digits(train=1437, validation=180, test=180, data_shape=(1, 8, 8), kind='binary')
    """
    try:
        made = data()
    except MissingFiles as missing:
        print(f"{checks.reason(missing).partition(';')[0]}: scikit-learn's digits are taken instead", file=sys.stderr)
        made = Digits()
    if labelled and made.train.labels is None:
        raise checks.InputError("data must have labels, but these have none")
    return made
