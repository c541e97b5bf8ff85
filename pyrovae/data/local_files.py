"""Data from local files: arrays, a folder of images, and the Frey faces."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pyrovae import checks
from pyrovae.data.dataset import DataSet
from pyrovae.data.image_folder import read_folder
from pyrovae.data.split import Binarization
from pyrovae.data.validation import Channels
from pyrovae.files import describe_path, path_of

__all__ = ["ArrayFile", "FreyFaces", "ImageFolder"]


class ArrayFile(DataSet):
    """Images of any shape (N, ...), integer or float, from an ``.npy`` file (not read into memory) or ``.npz`` file.

    Args:
        path: the file. From an ``.npz``, the array ``x`` (or the only array) is read, and the arrays ``labels``,
            ``test_x``, ``test_labels``, ``validation_x`` and ``validation_labels`` if present.
        labels: an ``.npy`` file of integers, one for each datum.
        binarization: see :class:`DataSet`.
        dequantize: see :class:`DataSet`.
        levels: number of grey levels of integers; by default 2 if all values are 0 or 1, else 256 for uint8.
        channels: position of the channels of images: see :class:`DataSet`.
        validation_size: number or fraction of data held out for validation, if the file has no validation data.
        test_size: number or fraction of data held out for the test, if the file has no test data.
        seed: seed of the split and of fixed noise.

    Raises:
        ValueError: if a file is missing, cut short, or not an array.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = "data.npy",
        labels: str | os.PathLike[str] | None = None,
        binarization: Binarization = "none",
        dequantize: bool = False,
        levels: int | None = None,
        channels: Channels | None = None,
        validation_size: float = 0.1,
        test_size: float = 0.1,
        seed: int = 0,
    ) -> None:
        arrays = _read(Path(path))
        if labels is not None:
            arrays["labels"] = _read(Path(labels), "labels")["x"]
        super().__init__(
            arrays["x"],
            arrays.get("labels"),
            arrays.get("test_x"),
            arrays.get("test_labels"),
            validation_x=arrays.get("validation_x"),
            validation_labels=arrays.get("validation_labels"),
            binarization=binarization,
            dequantize=dequantize,
            levels=levels,
            channels=channels,
            validation_size=validation_size,
            test_size=test_size,
            seed=seed,
        )


class FreyFaces(DataSet):
    """The Frey faces: 1,965 frames of one face, 28x20, in 256 grey levels.

    (Roweis & Saul, 2000, doi:10.1126/science.290.5500.2323.)

    Args:
        path: ``frey_rawface.mat`` (array ``ff``, 560 x 1965), or an ``.npz`` or ``.npy`` of shape (N, 28, 20).
        binarization: see :class:`DataSet`.
        dequantize: see :class:`DataSet`.
        validation_size: number or fraction of data held out for validation.
        test_size: number or fraction of data held out for the test.
        seed: seed of the split and of fixed noise.

    Raises:
        ValueError: if the file is missing, cut short, or holds no such array.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = "data/frey_rawface.mat",
        binarization: Binarization = "none",
        dequantize: bool = True,
        validation_size: float = 0.1,
        test_size: float = 0.1,
        seed: int = 0,
    ) -> None:
        path = Path(path)
        images = _read_frey_mat(path) if path.suffix == ".mat" else _read(path)["x"]
        if images.shape[1:] != (28, 20):
            raise checks.InputError(f"path must hold Frey faces of shape (N, 28, 20), but {path} holds {images.shape}")
        super().__init__(
            np.array(images)[:, None],  # (1965, 1, 28, 20)
            binarization=binarization,
            dequantize=dequantize,
            validation_size=validation_size,
            test_size=test_size,
            seed=seed,
        )


class ImageFolder(DataSet):
    """The images of a folder; folders inside it are classes, in the order of their names.

    Hidden files and folders, whose names begin with a dot, are ignored, and links are followed. Images are rotated
    according to their EXIF tag and read at their bit depth: 16 bits have 65,536 levels, and floats are not changed; for
    floats, ``dequantize`` must be false. Warnings report duplicates, transparency and further pages of a file.

    Args:
        root: the folder.
        size: height and width, in pixels, to which images are scaled and cropped; by default all must
            have the same size.
        grey: True to read one channel instead of three.
        binarization: see :class:`DataSet`.
        dequantize: see :class:`DataSet`.
        validation_size: number or fraction of data held out for validation.
        test_size: number or fraction of data held out for the test.
        seed: seed of the split and of fixed noise.

    Raises:
        ValueError: if there are no images, one cannot be read, or their sizes or depths differ.
    """

    def __init__(
        self,
        root: str | os.PathLike[str] = "data",
        size: tuple[int, int] | None = None,
        grey: bool = False,
        binarization: Binarization = "none",
        dequantize: bool = True,
        validation_size: float = 0.1,
        test_size: float = 0.1,
        seed: int = 0,
    ) -> None:
        wanted = None if size is None else checks.shape("size", size, dims=2)
        images, labels, levels = read_folder(path_of("root", root), wanted, grey)
        super().__init__(
            images,
            labels,
            binarization=binarization,
            dequantize=dequantize,
            levels=levels,
            validation_size=validation_size,
            test_size=test_size,
            seed=seed,
        )


def _read(path: Path, name: str = "path") -> dict[str, np.ndarray]:
    if path.suffix not in (".npy", ".npz"):
        raise checks.InputError(f"{name} must be a .npy or .npz file, but {path} was given")
    try:
        if path.suffix == ".npy":
            return {"x": np.lib.format.open_memmap(path, mode="r")}  # without unpickling
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise checks.InputError(f"{name} must be an existing file, but there is no {describe_path(path)}") from error
    except Exception as error:
        raise checks.InputError(f"{path} cannot be read as {path.suffix}: {checks.reason(error)}") from error
    if "x" not in arrays:
        if len(arrays) != 1:
            raise checks.InputError(f"{path} must hold an array named x, but holds {', '.join(arrays) or 'nothing'}")
        arrays = {"x": next(iter(arrays.values()))}
    return arrays


def _read_frey_mat(path: Path) -> np.ndarray:
    from scipy.io import loadmat

    if not path.exists():
        raise checks.InputError(f"path must be an existing file, but there is no {describe_path(path)}")
    try:
        columns = loadmat(path)["ff"]
    except Exception as error:
        raise checks.InputError(
            f"{path} cannot be read as MATLAB's Frey faces (array ff): {checks.reason(error)}"
        ) from error
    if columns.shape[:1] != (560,) or columns.dtype != np.uint8:
        raise checks.InputError(
            f"{path} must hold ff of shape (560, N), uint8, but it is {columns.shape}, {columns.dtype}"
        )
    return np.ascontiguousarray(columns.T).reshape(-1, 28, 20)
