"""One ``PyroOptim`` that drives any torch optimizer and scheduler over all parameters at once."""

from pyrovae.optimizers.joint import JointOptimizer, OptimizerFactory, SchedulerFactory
from pyrovae.optimizers.recordable import RecordableAdam

__all__ = ["JointOptimizer", "OptimizerFactory", "RecordableAdam", "SchedulerFactory"]
