"""Runs: what their configuration says, and their folder on disk."""

from pyrovae.runs.configuration import (
    DataFactory,
    LikelihoodFactory,
    PosteriorFactory,
    PriorFactory,
    assemble,
    complete,
)
from pyrovae.runs.folder import FORMAT, Run

__all__ = [
    "FORMAT",
    "DataFactory",
    "LikelihoodFactory",
    "PosteriorFactory",
    "PriorFactory",
    "Run",
    "assemble",
    "complete",
]
