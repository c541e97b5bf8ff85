"""Reading of a folder of images as an array, at the bit depth of the files."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyrovae import checks, progress
from pyrovae.files import describe_path

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["read_folder"]

_SIXTEEN_BIT_LEVELS = 2**16
_BITS = {"uint8": "8 bits", "int32": "16 bits", "float32": "floating point"}


def read_folder(
    root: Path, size: tuple[int, ...] | None, grey: bool
) -> tuple[np.ndarray, np.ndarray | None, int | None]:
    """Read the images of a folder; each folder inside it is a class.

    Hidden files and folders are ignored, and links are followed. Warnings report ignored files, duplicates,
    transparency and further pages.

    Args:
        root: the folder.
        size: height and width to which images are scaled and cropped, or None.
        grey: True to read one channel instead of three.

    Returns:
        pixels ``(N, C, H, W)``, labels ``(N,)`` or None, and the number of grey levels, or None for floats.

    Raises:
        InputError: if there are no images, one cannot be read, or their sizes or depths differ.
    """
    from PIL import Image
    from torchvision.datasets.folder import IMG_EXTENSIONS

    if not root.is_dir():
        raise checks.InputError(f"root must be a folder of images, but there is no folder {describe_path(root)}")
    found = sorted(_visible(root, frozenset()))
    files = [path for path in found if path.suffix.lower() in IMG_EXTENSIONS]
    if not files:
        raise checks.InputError(f"root must hold images ({', '.join(IMG_EXTENSIONS)}), but {root} holds none")
    notes: dict[str, list[Path]] = {}
    left_out = [path for path in found if path.suffix.lower() in Image.registered_extensions()]
    for path in sorted(set(left_out) - set(files)):
        notes.setdefault(f"are left out, because their ending is none of {', '.join(IMG_EXTENSIONS)}", []).append(path)
    arrays: list[np.ndarray] = []
    first: dict[bytes, Path] = {}
    for path in progress.over(files, "reading", "image"):
        pixels = _pixels(path, size, grey, notes)
        arrays.append(pixels)
        if pixels.shape != arrays[0].shape:
            raise checks.InputError(
                f"images of one folder must have one size unless size is given, but {files[0]} has "
                f"{arrays[0].shape[1:]} and {path} has {pixels.shape[1:]}"
            )
        if pixels.dtype != arrays[0].dtype:
            depths = [_BITS[array.dtype.name] for array in (arrays[0], pixels)]
            raise checks.InputError(
                f"images of one folder must have one depth, but {files[0]} has {depths[0]} and {path} has {depths[1]}"
            )
        digest = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
        if first.setdefault(digest, path) != path:
            notes.setdefault(
                "are copies of others, and may be in more than one of training, validation and test", []
            ).append(path)
    classes = sorted({path.relative_to(root).parts[0] for path in files if path.parent != root})
    beside = [path for path in files if path.parent == root]
    if classes and beside:
        notes["lie beside the folders of the others, so that there are no labels"] = beside
    labelled = classes and not beside
    labels = np.array([classes.index(path.relative_to(root).parts[0]) for path in files]) if labelled else None
    for what, which in notes.items():
        warnings.warn(f"of the images in {root}, {len(which)} {what}: the first is {which[0]}", stacklevel=3)
    levels = {"uint8": 256, "int32": _SIXTEEN_BIT_LEVELS}.get(arrays[0].dtype.name)
    return np.stack(arrays), labels, levels


def _visible(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    """Yield all files under a folder that are not hidden; links to folders above are not followed."""
    above |= {os.path.realpath(folder)}
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if not path.is_dir():
            yield path
        elif os.path.realpath(path) not in above:
            yield from _visible(path, above)


def _pixels(path: Path, size: tuple[int, ...] | None, grey: bool, notes: dict[str, list[Path]]) -> np.ndarray:
    """Return an image's pixels ``(C, H, W)``: uint8, int32 for 16 bits, or float32 unchanged."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            if getattr(image, "n_frames", 1) > 1:
                notes.setdefault("have several pages; only the first is read", []).append(path)
            kind = image.format
            ImageOps.exif_transpose(image, in_place=True)
            picture = _without_alpha(image, path, notes) if image.has_transparency_data else image.copy()
    except Exception as error:
        raise checks.InputError(f"{path} cannot be read as an image: {checks.reason(error)}") from error
    if picture.mode == "I" and kind not in ("PNG", "PPM"):  # in these formats, mode I has 16 bits
        raise checks.InputError(
            f"{path} cannot be read as an image: its 32-bit integers have no known largest value; "
            "save it with 8 or 16 bits, or give an array to ArrayFile"
        )
    deep = picture.mode == "F" or picture.mode.startswith("I")
    if deep:  # float32 represents 16 bits exactly, and can be resized
        kept = np.int32 if picture.mode != "F" else np.float32
        picture = Image.fromarray(np.asarray(picture).astype(np.float32))
    else:
        try:
            picture = picture.convert("L" if grey else "RGB")
        except Exception as error:
            raise checks.InputError(f"{path} cannot be read as an image: {checks.reason(error)}") from error
    if size is not None:
        picture = ImageOps.fit(picture, (size[1], size[0]))
    pixels = np.asarray(picture)
    if not deep:
        return pixels[None] if grey else pixels.transpose(2, 0, 1)
    if kept is np.int32:
        pixels = np.rint(pixels).clip(0, _SIXTEEN_BIT_LEVELS - 1).astype(kept)
    return np.repeat(pixels[None], 1 if grey else 3, 0)


def _without_alpha(image: Image.Image, path: Path, notes: dict[str, list[Path]]) -> Image.Image:
    """Return an image without its alpha channel, white where it is transparent."""
    from PIL import Image

    layer = image.convert("RGBA")
    if np.asarray(layer)[..., 3].min() < 255:
        notes.setdefault("are partly transparent; these parts become white", []).append(path)
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
