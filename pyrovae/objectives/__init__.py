"""What a training step computes: a Pyro ELBO, its terms and its gradients, recorded once and replayed."""

from pyro.infer import Trace_ELBO, TraceMeanField_ELBO

from pyrovae.objectives.step import Compile, ObjectiveFactory, Step
from pyrovae.objectives.terms import NonFiniteLoss, measure

__all__ = ["Compile", "NonFiniteLoss", "ObjectiveFactory", "Step", "TraceMeanField_ELBO", "Trace_ELBO", "measure"]
