"""Pyro effect handlers for training: the check of the data plate, and a tempered KL."""

from __future__ import annotations

from typing import Any

from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae import checks
from pyrovae.programs import PyroFunction

__all__ = ["InDataPlate", "Temper", "in_data_plate"]


class InDataPlate(Messenger):
    """A handler that refuses sample sites outside the data plate, whose log-probability would not be per datum.

    Args:
        size: number B of data in the batch.

    Raises:
        ValueError: when the program reaches such a site, naming it.

    Example:
        >>> def model(x):
        ...     return pyro.sample("z", pyro.distributions.Normal(0.0, 1.0))
        >>> InDataPlate(3)(model)(torch.zeros(3, 2))
        Traceback (most recent call last):
        ...
        pyrovae.checks.InputError: sample site 'z' must lie in pyro.plate("data", len(x), dim=-1) ...
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def _pyro_sample(self, msg: Message) -> None:
        if site_is_subsample(msg) or msg["infer"].get("_deterministic"):  # they have no log-probability
            return
        frames = [frame for frame in msg["cond_indep_stack"] if frame.dim == -1 and frame.vectorized]
        # A plate without a size accepts any batch shape: the distribution itself must then have the batch's.
        of_batch = msg["fn"].batch_shape[-1:] == (self.size,)
        if not any(frame.size == self.size or (frame.size == -1 and of_batch) for frame in frames):
            found = ", ".join(f"plate({f.name!r}, {f.size}, dim={f.dim})" for f in msg["cond_indep_stack"])
            raise checks.InputError(
                f'sample site {msg["name"]!r} must lie in pyro.plate("data", len(x), dim=-1) of size {self.size}, '
                f"but lies in {found or 'no plate'}"
            )


class Temper(Messenger):
    r"""A handler that scales the log-probability of latent sites by :math:`\beta`; for model and guide alike.

    The KL is the difference of the two, so the ELBO becomes
    :math:`\mathrm{E}[\log p(x|z)] - \beta\,\mathrm{KL}` (Bowman et al., 2016, arXiv:1511.06349;
    Higgins et al., 2017).

    Args:
        beta: scalar tensor; its value may be changed in place between steps.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> model = Temper(torch.tensor(0.5))(vae.model)
    """

    def __init__(self, beta: Tensor) -> None:
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg: Message) -> None:
        if not msg["is_observed"] and not site_is_subsample(msg):
            msg["scale"] = msg["scale"] * self.beta


def in_data_plate(program: PyroFunction) -> PyroFunction:
    """Return the program with every run checked by :class:`InDataPlate`."""

    def checked(x: Tensor, *others: Tensor) -> Any:
        with InDataPlate(len(x)):
            return program(x, *others)

    return checked
