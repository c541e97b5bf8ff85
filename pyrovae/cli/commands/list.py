"""``pyrovae list``."""

from __future__ import annotations

import inspect
from textwrap import shorten
from types import ModuleType
from typing import Any, Literal

from pyrovae import data, evaluation, flows, likelihoods, networks, objectives, posteriors, priors, tracking, vae
from pyrovae.compilation import ObjectiveFactory
from pyrovae.evaluation import Estimator
from pyrovae.flows import FlowFactory
from pyrovae.likelihoods import LikelihoodFactory
from pyrovae.networks import NetworkFactory
from pyrovae.parsing import known_classes, plain
from pyrovae.posteriors import PosteriorFactory
from pyrovae.priors import PriorFactory
from pyrovae.runs import DataFactory, ProgramFactory
from pyrovae.tracking import LoggerFactory

__all__ = ["list_classes"]

Kind = Literal[
    "priors",
    "posteriors",
    "likelihoods",
    "objectives",
    "estimators",
    "programs",
    "data",
    "networks",
    "flows",
    "loggers",
]

# Module of the public classes of each kind, and type of the options that take them.
_KINDS: dict[Kind, tuple[ModuleType, Any]] = {
    "priors": (priors, PriorFactory),
    "posteriors": (posteriors, PosteriorFactory),
    "likelihoods": (likelihoods, LikelihoodFactory),
    "objectives": (objectives, ObjectiveFactory),
    "estimators": (evaluation, Estimator),
    "programs": (vae, ProgramFactory),
    "data": (data, DataFactory),
    "networks": (networks, NetworkFactory),
    "flows": (flows, FlowFactory),
    "loggers": (tracking, LoggerFactory),
}


def list_classes(kinds: list[Kind]) -> None:
    """List the classes that can be chosen by name, one per line.

    Args:
        kinds: kinds of classes: priors, posteriors, likelihoods, objectives, estimators, programs, data, networks,
            flows or loggers; all if none is given.
    """
    for kind, (home, factory) in _KINDS.items():
        if kinds and kind not in kinds:
            continue
        print(f"{kind}:")
        for cls in known_classes(factory):
            if cls.__name__ in home.__all__:
                print(f"  {cls.__name__:26} {_summary(cls)}")


def _summary(cls: type) -> str:
    paragraph = (inspect.getdoc(cls) or "").partition("\n\n")[0]
    return shorten(plain(paragraph).partition(". ")[0].removesuffix("."), 110, placeholder=" ...")
