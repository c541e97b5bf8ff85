"""Runs: their configuration, their folder on disk, and their evaluation."""

from pyrovae.runs.adaptive_state import AdaptiveStateFile
from pyrovae.runs.checkpoint_writer import CheckpointWriter
from pyrovae.runs.codes import Codes, code_names, encode_run
from pyrovae.runs.comparison import RunComparison, compare_runs
from pyrovae.runs.compression import Compressed, compress_run, compressed_size, decompress_run
from pyrovae.runs.configuration import (
    DataFactory,
    ModuleFactory,
    ProgramFactory,
    assemble,
    fill_defaults,
    options_replaced_by_program,
)
from pyrovae.runs.data_record import DataRecord
from pyrovae.runs.diagnosis import RunDiagnosis, diagnose_run
from pyrovae.runs.evaluation import Evaluation, evaluate_run
from pyrovae.runs.folder import FORMAT, Run
from pyrovae.runs.imputations import Imputations, impute_run
from pyrovae.runs.program import (
    OtherData,
    caveats_of,
    first_data,
    labels_of,
    other_data,
    simulated_data,
    template_of,
    training_health,
)
from pyrovae.runs.refitting import Refit, refit_run
from pyrovae.runs.run_log import log_to_tracker
from pyrovae.runs.sampling import sample_run
from pyrovae.runs.saving import save
from pyrovae.runs.scores import Scores, score_run
from pyrovae.runs.stored_evaluation import (
    StoredEvaluation,
    check_comparable,
    common_evaluation,
    data_differences,
    evaluations_of,
    read_evaluation,
)
from pyrovae.runs.trained_run import TrainedRun, load
from pyrovae.runs.training import OpenTraining, open_training, watched_trainings
from pyrovae.runs.trust import TRUSTED, trusting

__all__ = [
    "FORMAT",
    "TRUSTED",
    "AdaptiveStateFile",
    "CheckpointWriter",
    "Codes",
    "Compressed",
    "DataFactory",
    "DataRecord",
    "Evaluation",
    "Imputations",
    "ModuleFactory",
    "OpenTraining",
    "OtherData",
    "ProgramFactory",
    "Refit",
    "Run",
    "RunComparison",
    "RunDiagnosis",
    "Scores",
    "StoredEvaluation",
    "TrainedRun",
    "assemble",
    "caveats_of",
    "check_comparable",
    "code_names",
    "common_evaluation",
    "compare_runs",
    "compress_run",
    "compressed_size",
    "data_differences",
    "decompress_run",
    "diagnose_run",
    "encode_run",
    "evaluate_run",
    "evaluations_of",
    "fill_defaults",
    "first_data",
    "impute_run",
    "labels_of",
    "load",
    "log_to_tracker",
    "open_training",
    "options_replaced_by_program",
    "other_data",
    "read_evaluation",
    "refit_run",
    "sample_run",
    "save",
    "score_run",
    "simulated_data",
    "template_of",
    "training_health",
    "trusting",
    "watched_trainings",
]
