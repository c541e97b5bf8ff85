"""A training step: recorded, compared with Pyro, compiled, captured."""

from pyrovae.compilation.training_step import Compile, ObjectiveFactory, TrainingStep

__all__ = [
    "Compile",
    "ObjectiveFactory",
    "TrainingStep",
]
