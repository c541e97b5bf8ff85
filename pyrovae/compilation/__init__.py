"""Training steps: recorded as graphs, compared with Pyro, compiled, and captured as CUDA graphs."""

from pyrovae.compilation.training_step import Compile, ObjectiveFactory, TrainingStep

__all__ = [
    "Compile",
    "ObjectiveFactory",
    "TrainingStep",
]
