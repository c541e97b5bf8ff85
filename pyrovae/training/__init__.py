"""Training: the SVI loop ``fit``, its history, and refitting of priors."""

from pyrovae.training.checkpoint import State
from pyrovae.training.history import Epoch, History
from pyrovae.training.loop import Callback, fit
from pyrovae.training.refit import refit_prior

__all__ = ["Callback", "Epoch", "History", "State", "fit", "refit_prior"]
