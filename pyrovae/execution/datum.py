"""The sites at which a model observes x, found by changing x."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import Tensor

from pyrovae import checks
from pyrovae.execution.sites import is_factor, latents_of, log_prob_of, observed_of, values_of
from pyrovae.execution.traces import evaluating, trace
from pyrovae.handlers import forked_rng
from pyrovae.programs import Arguments, Program

__all__ = ["Datum", "Unobserved", "check_simulation", "datum_of"]

_ROWS = 2  # data on which a model is asked; one more than a number that might be the same by chance


@dataclass(frozen=True)
class Datum:
    """The sites at which a model observes x, each a part of x as it is.

    Attributes:
        entries: by site name, in the order in which they are observed, the entries of the flattened datum that the
            site holds, ``(n,)`` integers.
        others: names of the other sites that are observed: what is given, and factors.
        rest: number of entries of x that no site observes.
        depends_on_x: whether the distribution of one of the sites depends on x.
    """

    entries: Mapping[str, Tensor]
    others: tuple[str, ...]
    rest: int
    depends_on_x: bool

    def join(self, parts: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Put what was computed for each site in its place in x.

        Args:
            parts: by site name, ``(B, ...)``.
            x: data, ``(B, *data_shape)``, of which the entries that no site observes are kept.

        Returns:
            ``(B, *data_shape)``, of the type of the parts.
        """
        dtype = reduce(torch.promote_types, (parts[name].dtype for name in self.entries))
        whole = x.reshape(len(x), -1).to(dtype, copy=True)  # (B, D)
        for name, index in self.entries.items():
            whole[:, index.to(whole.device)] = parts[name].reshape(len(x), -1).to(whole.dtype)
        return whole.reshape(x.shape)


class Unobserved(Messenger):
    """Sample what sites observe, and leave what is given, factors and deterministic sites as they are.

    Args:
        names: of the sites.
    """

    def __init__(self, names: Any) -> None:
        super().__init__()
        self.names = set(names)

    def _pyro_sample(self, msg: Message) -> None:
        if msg["name"] in self.names and msg["is_observed"]:
            msg["is_observed"], msg["value"], msg["done"] = False, None, False


def datum_of(model: Program, arguments: Arguments) -> Datum:
    """Find the sites at which a model observes x.

    The model is run on two data with other values of x and the same latents: a site whose observed value changes
    observes x. Neither the parameters nor the generators are changed.

    Args:
        model: program of p(x, z).
        arguments: what it is called with.

    Raises:
        ValueError: if no site observes x, or they do not observe it as it is, each entry once.

    Example:
        >>> import pyro
        >>> import pyro.distributions as dist
        >>> def model(x, y):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("y", dist.Categorical(torch.ones(3)), obs=y)
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)
        >>> found = datum_of(model, (torch.zeros(4, 2), torch.zeros(4, dtype=torch.long)))
        >>> found.entries, found.others, found.depends_on_x
        ({'x': tensor([0, 1])}, ('y',), False)
    """
    x, *labels = (part[:_ROWS] for part in arguments)
    if len(x) == 0:
        raise checks.InputError("x must hold at least one datum, but is empty")
    with evaluating(model), forked_rng(x.device):
        runs = _Runs(model, x, tuple(labels))
        others = [part for part in map(runs.changed, _other_values(x)) if part is not None]
        names = [
            name
            for name in observed_of(runs.first, runs.latents)
            if not is_factor(runs.first.nodes[name]) and any(_differ(runs.first, other, name) for _, other in others)
        ]
        if not names:
            raise checks.InputError("model must observe x, but observes no site whose value comes from x")
        entries = _entries(runs, names, [(x, runs.first), *others])
        depends = any(runs.moves(name, other) for name in names for _, other in others)
    given = tuple(name for name in observed_of(runs.first, runs.latents) if name not in names)
    return Datum(entries, given, math.prod(x.shape[1:]) - sum(map(len, entries.values())), depends)


def check_simulation(model: Program, arguments: Arguments, datum: Datum, *, given: bool = False) -> None:
    """Refuse a model that weighs other data than it makes, whose simulated data therefore tell nothing.

    Args:
        model: program of p(x, z).
        arguments: what it is called with.
        datum: the sites at which it observes x.
        given: whether it is called with an x that its distribution of x may depend on.

    Raises:
        ValueError: if the distribution of x depends on x, or something else that is observed (a label, a factor)
            depends on the latents.
    """
    if (datum.depends_on_x or datum.rest) and not given:
        names = ", ".join(map(repr, datum.entries))
        raise checks.InputError(
            "model must give x a distribution that does not depend on x to be simulated, but that of its site "
            f"{names} {'does' if datum.depends_on_x else 'is not of all entries of x'}"
        )
    if not datum.others:
        return
    twice = tuple(part[:1].repeat(2, *[1] * (part.dim() - 1)) for part in arguments)  # only the latents differ
    with evaluating(model), forked_rng(twice[0].device), Unobserved(datum.entries):
        traced = trace(model, twice)
        traced.compute_log_prob()
    terms = log_prob_of(traced, datum.others).expand(2)
    if not torch.allclose(terms[0], terms[1], equal_nan=True):
        raise checks.InputError(
            "model must observe nothing but x that depends on the latents to be simulated, but observes "
            f"{', '.join(map(repr, datum.others))} too"
        )


class _Runs:
    """Runs of a model on other values of x, with the latents and the noise of a first run."""

    def __init__(self, model: Program, x: Tensor, labels: Arguments) -> None:
        self.model, self.labels = model, labels
        self.first = trace(model, (x, *labels))
        self.latents = latents_of(self.first)
        self.values = values_of(self.first)
        torch.manual_seed(0)
        self.first = self(x)

    def __call__(self, x: Tensor) -> Trace:
        with forked_rng(x.device):  # the same noise, if there is any
            return trace(poutine.condition(self.model, self.values), (x, *self.labels))

    def changed(self, x: Tensor) -> tuple[Tensor, Trace] | None:
        """Run the model on another x; None if it cannot be."""
        try:
            return x, self(x)
        except checks.InputError:
            return None

    def moves(self, name: str, other: Trace) -> bool:
        """Tell whether the distribution of a site is another one for another x."""
        site = self.first.nodes[name]
        if name not in other.nodes:
            return True
        before, after = site["fn"].log_prob(site["value"]), other.nodes[name]["fn"].log_prob(site["value"])
        return before.shape != after.shape or not torch.allclose(before, after, equal_nan=True)


def _other_values(x: Tensor) -> Iterator[Tensor]:
    """Yield other data: all ones and all zeros, whose sums differ, and numbers between if there are some."""
    yield torch.ones_like(x)
    yield torch.zeros_like(x)
    if x.is_floating_point():
        yield torch.linspace(0.1, 0.9, max(x.numel(), 1), dtype=x.dtype, device=x.device).reshape(x.shape)


def _differ(first: Trace, other: Trace, name: str) -> bool:
    before = first.nodes[name]["value"]
    after = other.nodes[name]["value"] if name in other.nodes else None
    return after is None or before.shape != after.shape or not torch.equal(before, after)


def _entries(runs: _Runs, names: list[str], known: list[tuple[Tensor, Trace]]) -> dict[str, Tensor]:
    x = known[0][0]
    D = math.prod(x.shape[1:])
    if len(names) == 1 and all(_is(found.nodes[names[0]]["value"], value) for value, found in known):
        return {names[0]: torch.arange(D)}
    entries, again = (_entries_by(runs, names, x, rank) for rank in (torch.arange(D), torch.randperm(D)))
    if entries is not None and again is not None:
        held = torch.cat(list(entries.values()))
        if len(held.unique()) == len(held) and torch.equal(held, torch.cat(list(again.values()))):
            return entries
    sites = ", ".join(map(repr, names))
    raise checks.InputError(
        f"model must observe each entry of x once, as it is, for x to be made by it, but observes something else at "
        f"{f'its site {sites}' if len(names) == 1 else f'its sites {sites}'}"
    )


def _is(value: Any, x: Tensor) -> bool:
    if not isinstance(value, Tensor) or value.numel() != x.numel():
        return False
    return torch.equal(value.reshape(x.shape).to(x.dtype), x)


def _entries_by(runs: _Runs, names: list[str], x: Tensor, rank: Tensor) -> dict[str, Tensor] | None:
    """Read off which entries the sites hold, from a run in which each datum is ``rank``, distinct numbers."""
    probe = runs.changed(rank.to(x).expand(len(x), len(rank)).reshape(x.shape))
    if probe is None:
        return None
    places = {name: _places(probe[1].nodes.get(name), rank) for name in names}
    return {name: place for name, place in places.items() if place is not None} if None not in places.values() else None


def _places(site: dict[str, Any] | None, rank: Tensor) -> Tensor | None:
    if site is None or not isinstance(site["value"], Tensor):
        return None
    rows = site["value"].reshape(len(site["value"]), -1).double().cpu()  # (B, n)
    first = rows[0]
    known = (rows == first) & (first == first.round()) & (first >= 0) & (first < len(rank))
    return rank.argsort()[first.long()] if bool(known.all()) else None
