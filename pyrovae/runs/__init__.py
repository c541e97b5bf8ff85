"""Runs: what their configuration says, and their folder on disk."""

from pyrovae.runs.configuration import DataFactory, ProgramFactory, assemble, complete, options_of_the_vae
from pyrovae.runs.folder import FORMAT, Run
from pyrovae.runs.program import caveats_of, labels_of, some_of, template_of

__all__ = [
    "FORMAT",
    "DataFactory",
    "ProgramFactory",
    "Run",
    "assemble",
    "caveats_of",
    "complete",
    "labels_of",
    "options_of_the_vae",
    "some_of",
    "template_of",
]
