"""Optimizers: any torch optimizer and scheduler, for all parameters at once, as an optimizer of Pyro."""

from pyrovae.optimizers.functional_adam import FunctionalAdam
from pyrovae.optimizers.joint import JointOptimizer, OptimizerFactory, SchedulerFactory

__all__ = ["FunctionalAdam", "JointOptimizer", "OptimizerFactory", "SchedulerFactory"]
