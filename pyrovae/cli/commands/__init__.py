"""The commands: one function each, whose signature and docstring are its options and their help."""

from pyrovae.cli.commands.evaluate import evaluate
from pyrovae.cli.commands.refit_prior import refit_prior
from pyrovae.cli.commands.show import data, report, sample
from pyrovae.cli.commands.train import train

__all__ = ["data", "evaluate", "refit_prior", "report", "sample", "train"]
