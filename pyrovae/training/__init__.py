"""Training: the SVI loop, its history, and what a callback can do with them."""

from pyrovae.training.history import Epoch, History
from pyrovae.training.loop import Callback, State, fit

__all__ = ["Callback", "Epoch", "History", "State", "fit"]
