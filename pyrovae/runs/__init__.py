"""Runs: what their configuration says, and their folder on disk."""

from pyrovae.runs.adaptive_state import AdaptiveStateFile
from pyrovae.runs.checkpoint_writer import CheckpointWriter
from pyrovae.runs.configuration import (
    DataFactory,
    ModuleFactory,
    ProgramFactory,
    assemble,
    complete,
    options_of_the_vae,
)
from pyrovae.runs.data_record import DataRecord
from pyrovae.runs.evaluation import Evaluation, evaluate
from pyrovae.runs.folder import FORMAT, Run
from pyrovae.runs.program import OtherData, caveats_of, labels_of, other_data, some_of, stand_in, template_of
from pyrovae.runs.stored_evaluation import (
    StoredEvaluation,
    check_comparable,
    common_evaluation,
    differences_of_data,
    read_evaluation,
)

__all__ = [
    "FORMAT",
    "AdaptiveStateFile",
    "CheckpointWriter",
    "DataFactory",
    "DataRecord",
    "Evaluation",
    "ModuleFactory",
    "OtherData",
    "ProgramFactory",
    "Run",
    "StoredEvaluation",
    "assemble",
    "caveats_of",
    "check_comparable",
    "common_evaluation",
    "complete",
    "differences_of_data",
    "evaluate",
    "labels_of",
    "options_of_the_vae",
    "other_data",
    "read_evaluation",
    "some_of",
    "stand_in",
    "template_of",
]
