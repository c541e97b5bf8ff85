"""A training step: recorded, compared with Pyro, compiled, captured."""

from pyrovae.compilation.training_step import Compile, ObjectiveFactory, Step

__all__ = [
    "Compile",
    "ObjectiveFactory",
    "Step",
]
