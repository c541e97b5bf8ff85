"""``pyrovae report``."""

from __future__ import annotations

from typing import Literal

from pyrovae import checks
from pyrovae.data import SplitName
from pyrovae.report import write_report
from pyrovae.runs import DataFactory

__all__ = ["report"]


def report(
    run: str,
    data: DataFactory | None = None,
    split: SplitName = "test",
    latents: tuple[int, int] | Literal["pca"] | None = None,
    num_data: int = 400,
    seed: int = 0,
) -> None:
    """Draw a run's pictures and write its page, report.html, which needs no network and no other file.

    Args:
        run: the run's folder.
        data: the run's data at their present place, or other data.
        split: part of the data that is shown; all takes all of them, in the order of the file.
        latents: the plane of codes to explore: two latents by their numbers from 0, such as [0,1], or pca for the first
            two principal directions of the codes; if not given, the latents where there are two, else pca.
        num_data: largest number of test images in the gallery.
        seed: seed of the samples.
    """
    page = write_report(run, data=data, split=split, latents=latents, num_data=num_data, seed=checks.seed(seed))
    print(f"the page is {page}")
