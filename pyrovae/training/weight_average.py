"""Exponential moving average of the weights of a training, which are evaluated in place of the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pyrovae import checks

__all__ = ["WeightAverage"]


class WeightAverage:
    r"""The exponential moving average of all parameters (Polyak & Juditsky, 1992, doi:10.1137/0330046).

    .. math:: \bar\theta_n = d_n\,\bar\theta_{n-1} + (1 - d_n)\,\theta_n, \qquad d_n = \min(d, (1 + n) / (10 + n))

    after step n, so that the first weights are soon forgotten. Buffers, as those of batch normalisation, are not
    averaged. With ``decay`` None there is no average, and all methods do nothing.

    Args:
        decay: the decay d, from 0 up and below 1; or None.

    Example:
        >>> with pyro.get_param_store().scope():
        ...     weight, average = pyro.param("weight", torch.ones(())).detach(), WeightAverage(0.5)
        ...     for value in (1.0, 3.0):
        ...         _ = weight.fill_(value)
        ...         average.update()
        ...     with average.in_place_of_weights():
        ...         print(f"{weight.item():.3f} in place of", end=" ")
        ...     print(f"{weight.item():.3f}")
        2.500 in place of 3.000
    """

    def __init__(self, decay: float | None) -> None:
        if decay is not None and not checks.number("ema_decay", decay) < 1:
            raise checks.InputError(f"ema_decay must be below 1, but {decay:g} was given")
        self.decay = decay
        self._num_steps = 0
        self._averages: dict[str, Tensor] = {}
        self._params: list[Tensor] = []
        self._raw: dict[str, Tensor] = {}

    def update(self) -> None:
        """Include the parameters after a step; one that is new is included as it is."""
        if self.decay is None:
            return
        self._find_params()
        self._num_steps += 1
        decay = min(self.decay, (1 + self._num_steps) / (10 + self._num_steps))
        get_ema_multi_avg_fn(decay)(list(self._averages.values()), self._params, self._num_steps)

    @contextmanager
    def in_place_of_weights(self) -> Iterator[None]:
        """Give the programs the averages in the ``with`` block, and afterwards their weights again."""
        if self._averages:
            self._find_params()
            self._raw = {name: param.clone() for name, param in zip(self._averages, self._params, strict=True)}
            self.load_into_programs()
        try:
            yield
        finally:
            self._load(self._raw)
            self._raw = {}

    def load_into_programs(self) -> None:
        """Give the programs the averages for good."""
        self._find_params()
        self._load(self._averages)

    @property
    def raw_weights(self) -> dict[str, Tensor]:
        """The weights that are trained, by name, while the programs have the averages; else nothing."""
        return self._raw

    def state(self) -> dict[str, Any] | None:
        """Return what to resume from: the averages themselves, which training changes."""
        return None if self.decay is None else {"num_steps": self._num_steps, "weights": self._averages}

    def restore(self, state: dict[str, Any] | None) -> None:
        """Restore a state.

        Raises:
            ValueError: if the training that it is from had an average and this one has none, or the reverse.
        """
        if (state is None) != (self.decay is None):
            had = "had none" if state is None else "had one"
            raise checks.InputError(f"ema_decay must be given as in the training that the state is from, which {had}")
        if state is not None:
            self._num_steps = state["num_steps"]
            self._averages = {name: tensor.clone() for name, tensor in state["weights"].items()}

    def _find_params(self) -> None:
        """Find the parameters in Pyro's store; the average of a new one begins at its value."""
        store = pyro.get_param_store()
        if self.decay is None or len(store) == len(self._params):
            return
        self._params = [store[name].unconstrained().detach() for name in store]
        known = {name: average.to(store[name].device) for name, average in self._averages.items()}
        named = zip(store, self._params, strict=True)
        self._averages = {name: known[name] if name in known else param.clone() for name, param in named}

    def _load(self, weights: dict[str, Tensor]) -> None:
        for param, weight in zip(self._params if weights else [], weights.values(), strict=True):
            param.copy_(weight)
