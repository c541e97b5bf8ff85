"""Training: the SVI loop, its history, and what a callback can do with them."""

from pyrovae.training.history import Epoch, History
from pyrovae.training.loop import Callback, State, fit
from pyrovae.training.tensorboard import tensorboard_writer

__all__ = ["Callback", "Epoch", "History", "State", "fit", "tensorboard_writer"]
