"""One ``PyroOptim`` that drives any torch optimizer and scheduler over all parameters at once."""

from pyrovae.optimizers.functional_adam import FunctionalAdam
from pyrovae.optimizers.joint import JointOptimizer, OptimizerFactory, SchedulerFactory

__all__ = ["FunctionalAdam", "JointOptimizer", "OptimizerFactory", "SchedulerFactory"]
