"""Training: the SVI loop ``fit``, its history, refitting of priors, and a TensorBoard log."""

from pyrovae.training.checkpoint import State
from pyrovae.training.history import Epoch, History
from pyrovae.training.loop import Callback, fit
from pyrovae.training.refit import refit_prior
from pyrovae.training.tensorboard import tensorboard_writer

__all__ = ["Callback", "Epoch", "History", "State", "fit", "refit_prior", "tensorboard_writer"]
