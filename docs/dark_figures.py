"""Dark variants of the pages' figures, as an extension of Sphinx.

A figure on white paper is given a variant in which lightness is inverted and hues are kept. Images of data in it stay
as they are. Furo shows one or the other.
"""

import os
from pathlib import Path

import numpy as np
from docutils import nodes
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sphinx.application import Sphinx

PAPER, INK = 0.085, 0.92  # of the dark page
SMALLEST = 14  # pixels of the side of a picture


def pictures_in(rgb: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where the pictures are: parts whose bounding box is mostly neither white nor light, ``(H, W)``."""
    inked = rgb.mean(-1) < 0.85
    parts, _ = ndimage.label(inked)
    found = np.zeros_like(inked)
    for part, box in enumerate(ndimage.find_objects(parts), 1):
        if (
            min(box[0].stop - box[0].start, box[1].stop - box[1].start) >= SMALLEST
            and (parts[box] == part).mean() > 0.6
        ):
            found[box] = True
    return found


def dark_variant(image: Image.Image) -> Image.Image | None:
    """Return the variant of a figure, or None if it is not on white paper."""
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    rgb = np.asarray(paper.convert("RGB")) / np.float32(255)  # (H, W, 3)
    border = np.concatenate((rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]))
    if np.median(border) < 0.95:
        return None
    rgb = np.where(rgb.min(-1, keepdims=True) > 0.97, np.float32(1), rgb)  # also paper that a palette has made grey
    high, low = rgb.max(-1, keepdims=True), rgb.min(-1, keepdims=True)
    lightness = 1 - (high + low) / 2  # of the inverse, in HSL
    inverse = (rgb + 1 - high - low) * lightness.clip(
        1e-3
    ) ** -0.25  # a little lighter, for colours of medium lightness
    dark = np.where(pictures_in(rgb)[..., None], rgb, PAPER + (INK - PAPER) * inverse.clip(0, 1))
    return Image.fromarray((255 * dark).round().astype(np.uint8))


def add_variants(app: Sphinx, tree: nodes.document) -> None:
    """Put the variant of each figure of a page behind it."""
    if app.builder.format != "html":
        return
    folder = Path(app.doctreedir) / "dark"
    folder.mkdir(exist_ok=True)
    for node in list(tree.findall(nodes.image)):
        light = Path(app.env.relfn2path(node["uri"], app.env.docname)[1])
        variant = dark_variant(Image.open(light)) if light.suffix == ".png" and light.exists() else None
        if variant is None:
            continue
        inside = Path(os.path.relpath(light, app.srcdir)).with_suffix("")  # but for the results of notebooks
        name = "-".join(part for part in inside.parts if part != os.pardir)
        variant.save(folder / f"{name}-dark.png")
        other = node.deepcopy()
        other["uri"] = "/" + os.path.relpath(folder / f"{name}-dark.png", app.srcdir)
        node["classes"].append("only-light")
        other["classes"].append("only-dark")
        node.parent.insert(node.parent.index(node) + 1, other)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the extension; the priority is before that of Sphinx's own collection of images."""
    app.connect("doctree-read", add_variants, priority=400)
    return {"parallel_read_safe": True}
