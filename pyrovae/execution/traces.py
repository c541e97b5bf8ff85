"""Traces for evaluation: without gradients or changes of state, with every site in the data plate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.contrib.zuko import ZukoToPyro
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from pyro.poutine.util import site_is_subsample

from pyrovae.distributions.zuko import ZukoDistribution
from pyrovae.handlers import InDataPlate
from pyrovae.matmul import fast_matmul
from pyrovae.programs import Arguments, PyroFunction, concise_errors, mode, modules_of, private_modules
from pyrovae.vector_constants import load_vector_constants

__all__ = ["evaluating", "frozen_parameters", "trace"]


@contextmanager
def evaluating(*programs: PyroFunction) -> Iterator[None]:
    """Run programs in evaluation mode, without gradients or validation, and leave Pyro's store as it was.

    Matrix products are computed by :func:`fast_matmul`.
    """
    load_vector_constants()
    with (
        private_modules(),
        mode(*programs, training=False),
        pyro.validation_enabled(False),
        torch.no_grad(),
        fast_matmul(),
    ):
        yield


@contextmanager
def frozen_parameters(*programs: PyroFunction) -> Iterator[None]:
    """Treat the parameters of the programs' modules as constants, which makes gradients in latents cheaper."""
    learned = [part for owner in modules_of(*programs) for part in owner.parameters() if part.requires_grad]
    for part in learned:
        part.requires_grad_(False)
    try:
        yield
    finally:
        for part in learned:
            part.requires_grad_(True)


def trace(program: PyroFunction, arguments: Arguments) -> Trace:
    """Return the trace of one run of a program on ``(x,)`` or ``(x, y)``.

    Raises:
        ValueError: if a site lies outside the data plate, or the program cannot be run on these data.
    """
    with concise_errors(arguments[0]), InDataPlate(len(arguments[0])), _PrepareSites():
        return poutine.trace(program).get_trace(*arguments)


class _PrepareSites(Messenger):
    """A handler that prepares sites for evaluation.

    A program in ``plate("data", size=N, subsample_size=len(x))`` may be called with K samples of B data as K * B data,
    which may be more than N: the plate then contains them all, since evaluation does not use the scale N / len(x).
    Distributions in Pyro's ``ZukoToPyro`` get a support and moments.
    """

    def _pyro_sample(self, msg: Message) -> None:
        fn: Any = msg["fn"]
        if isinstance(fn, ZukoToPyro):
            msg["fn"] = ZukoDistribution(fn.dist)
        elif site_is_subsample(msg) and msg["value"] is None and (fn.subsample_size or 0) > fn.size:
            msg["value"] = torch.arange(fn.subsample_size)
