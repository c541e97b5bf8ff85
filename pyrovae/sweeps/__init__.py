"""Sweeps: searches over the options of a training by Optuna, whose trials are runs, ranked with intervals."""

from pyrovae.sweeps.search_space import SearchSpace
from pyrovae.sweeps.sweep import Sweep, Train, Trial, sweep

__all__ = ["SearchSpace", "Sweep", "Train", "Trial", "sweep"]
