"""Checks of evaluations made short, in the process of a test and in those that it starts."""

import functools

from pyrovae.evaluation.health import examined
from pyrovae.runs import evaluation


def shorten(setattr=setattr):
    """Let evaluations of runs check few data by short chains, and the health of models be looked at on few data.

    Args:
        setattr: sets an attribute, such as pytest's, which takes it back.
    """
    setattr(examined, "_MEASURED", 20)
    setattr(examined, "_SAMPLES", 4)
    setattr(evaluation, "cross_check", functools.partial(evaluation.cross_check, num_chains=2, num_temperatures=3))
