"""Commands: one function each, whose signature and docstring define its options and help."""

from pyrovae.cli.commands.compare import compare
from pyrovae.cli.commands.compress import compress
from pyrovae.cli.commands.data import data
from pyrovae.cli.commands.decompress import decompress
from pyrovae.cli.commands.diagnose import diagnose
from pyrovae.cli.commands.encode import encode
from pyrovae.cli.commands.evaluate import evaluate
from pyrovae.cli.commands.explore import explore
from pyrovae.cli.commands.export import export
from pyrovae.cli.commands.impute import impute
from pyrovae.cli.commands.list import list_classes
from pyrovae.cli.commands.pull import pull
from pyrovae.cli.commands.push import push
from pyrovae.cli.commands.refit_prior import refit_prior
from pyrovae.cli.commands.report import report
from pyrovae.cli.commands.sample import sample
from pyrovae.cli.commands.score import score
from pyrovae.cli.commands.sweep import sweep
from pyrovae.cli.commands.train import train

__all__ = [
    "compare",
    "compress",
    "data",
    "decompress",
    "diagnose",
    "encode",
    "evaluate",
    "explore",
    "export",
    "impute",
    "list_classes",
    "pull",
    "push",
    "refit_prior",
    "report",
    "sample",
    "score",
    "sweep",
    "train",
]
