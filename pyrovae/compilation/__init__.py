"""Training steps and validation: recorded as graphs, compared with Pyro, compiled, and captured as CUDA graphs."""

from pyrovae.compilation.training_step import Compile, ObjectiveFactory, TrainingStep
from pyrovae.compilation.validation_terms import ValidationTerms

__all__ = [
    "Compile",
    "ObjectiveFactory",
    "TrainingStep",
    "ValidationTerms",
]
