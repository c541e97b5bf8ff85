"""The sites at which a model observes x, found by varying x."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
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
from pyrovae.execution.sites import is_factor, latents_of, log_prob_of, masks_of, observed_of, values_of
from pyrovae.execution.traces import evaluating, trace
from pyrovae.missing import fill_missing
from pyrovae.programs import Arguments, PyroFunction, concise_errors
from pyrovae.rng import forked_rng

__all__ = ["DataSites", "Unobserved", "check_simulation", "find_data_sites"]

_NUM_DATA = 2  # data on which the model is run


@dataclass(frozen=True)
class DataSites:
    """The sites at which a model observes x; the value of each is a part of x, unchanged.

    Attributes:
        entries: by site name, in the order of observation, the entries of the flattened datum in the site's value,
            ``(n,)`` integers.
        others: names of the other observed sites: given values such as labels, and factors.
        rest: number of entries of x that no site observes.
        depends_on_x: True if the distribution of one of these sites depends on x.
        latents_depend_on_x: True if the distribution of a latent site depends on x.
    """

    entries: Mapping[str, Tensor]
    others: tuple[str, ...]
    rest: int
    depends_on_x: bool
    latents_depend_on_x: bool

    def join(self, parts: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Put values computed for each site in their place in x.

        Args:
            parts: values by site name, ``(B, ...)``.
            x: data, ``(B, *data_shape)``; entries that no site observes keep their values.

        Returns:
            ``(B, *data_shape)``, of the type of the parts.
        """
        dtype = reduce(torch.promote_types, (parts[name].dtype for name in self.entries))
        whole = x.reshape(len(x), -1).to(dtype, copy=True)  # (B, D)
        for name, index in self.entries.items():
            whole[:, index.to(whole.device)] = parts[name].reshape(len(x), -1).to(whole.dtype)
        return whole.reshape(x.shape)

    def check(self, found: Trace, latents: Iterable[str] = ()) -> None:
        """Refuse a trace of the model, run within :class:`Unobserved`, that has other observed sites.

        Args:
            found: the trace.
            latents: names of the sites that the model was conditioned on.

        Raises:
            ValueError: if it has other sites; the number of sites may depend on the values of x.
        """
        missing = [name for name in self.entries if name not in found.nodes]
        more = [
            name for name in observed_of(found, latents) if name not in self.others and not is_factor(found.nodes[name])
        ]
        for name in missing + more:
            raise checks.InputError(
                f"model must observe the same sites for all data, but it observes {name!r} for some of them only"
            )


class Unobserved(Messenger):
    """A handler that samples given observed sites instead; other sites (labels, factors, deterministic) are unchanged.

    Args:
        names: names of the sites to sample.
    """

    def __init__(self, names: Any) -> None:
        super().__init__()
        self.names = set(names)

    def _pyro_sample(self, msg: Message) -> None:
        if msg["name"] in self.names and msg["is_observed"]:
            msg["is_observed"], msg["value"], msg["done"] = False, None, False


def find_data_sites(model: PyroFunction, arguments: Arguments) -> DataSites:
    """Find the sites at which a model observes x.

    The model is run on two data with different values of x and the same latents: a site whose observed value changes
    observes x. Neither parameters nor generators are changed.

    Args:
        model: program of p(x, z).
        arguments: its arguments.

    Raises:
        ValueError: if no site observes x, or the values of the sites are not entries of x, each at most once.

    Example:
        >>> import pyro
        >>> import pyro.distributions as dist
        >>> def model(x, y):
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("y", dist.Categorical(torch.ones(3)), obs=y)
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)
        >>> found = find_data_sites(model, (torch.zeros(4, 2), torch.zeros(4, dtype=torch.long)))
        >>> found.entries, found.others, found.depends_on_x
        ({'x': tensor([0, 1])}, ('y',), False)
    """
    x, *labels = (part[:_NUM_DATA] for part in arguments)
    x = fill_missing(x)  # with complete data, the model's masks of missing values mask nothing
    if len(x) == 0:
        raise checks.InputError("x must hold at least one datum, but is empty")
    with evaluating(model), forked_rng(x.device), concise_errors(x):
        runs = _Runs(model, x, tuple(labels))
        others = [run for run in map(runs.at, _other_values(x)) if run is not None]
        observed = observed_of(runs.first, runs.latents)
        names = [
            name
            for name in observed
            if not is_factor(runs.first.nodes[name]) and any(_differ(runs.first, other, name) for _, other in others)
        ]
        if not names:
            raise checks.InputError("model must observe x, but observes no site whose value comes from x")
        entries = _entries(runs, names, others)
        depends, latents_depend = (
            any(runs.moves(name, other) for name in some for _, other in others) for some in (names, runs.latents)
        )
    given = tuple(name for name in observed if name not in names)
    rest = math.prod(x.shape[1:]) - sum(map(len, entries.values()))
    return DataSites(entries, given, rest, depends, latents_depend)


def check_simulation(model: PyroFunction, arguments: Arguments, data_sites: DataSites, *, given: bool = False) -> None:
    """Refuse a model whose log-density is not that of the data that it samples.

    Args:
        model: program of p(x, z).
        arguments: its arguments.
        data_sites: the sites at which it observes x.
        given: True if the model is called with data x, on which its distributions may depend.

    Raises:
        ValueError: if a distribution depends on x, or another observed site (a label, a factor) depends on the latents.
    """
    names = ", ".join(map(repr, data_sites.entries))
    reasons = {
        f"that of its site {names} does": data_sites.depends_on_x,
        "that of a latent does": data_sites.latents_depend_on_x,
        f"its site {names} does not observe all entries of x": data_sites.rest > 0,
    }
    for reason in (reason for reason, holds in reasons.items() if holds and not given):
        raise checks.InputError(f"model must have distributions that do not depend on x to be simulated, but {reason}")
    if not data_sites.others:
        return
    with evaluating(model), forked_rng(arguments[0].device), Unobserved(data_sites.entries):
        terms = []
        for _ in range(2):  # these runs differ only in the latents and x
            traced = trace(model, arguments)
            traced.compute_log_prob()
            terms.append(log_prob_of(traced, [name for name in data_sites.others if name in traced.nodes]))
    first, second = torch.broadcast_tensors(*terms)
    if not torch.allclose(first, second, equal_nan=True):
        raise checks.InputError(
            "model must observe nothing but x that depends on the latents to be simulated, but observes "
            f"{', '.join(map(repr, data_sites.others))} too"
        )


class _Runs:
    """Runs of a model on different values of x, with the latents and the noise of a first run."""

    def __init__(self, model: PyroFunction, x: Tensor, labels: Arguments) -> None:
        self.model, self.x, self.labels = model, x, labels
        first = trace(model, (x, *labels))
        self.latents, self.values = latents_of(first), values_of(first)
        torch.manual_seed(0)
        self.first = self(x)

    def __call__(self, x: Tensor) -> Trace:
        with forked_rng(x.device):  # the same noise in each run
            return trace(poutine.condition(self.model, self.values), (x, *self.labels))

    def at(self, x: Tensor) -> tuple[Tensor, Trace] | None:
        """Return an x with the trace of the model on it; None if the model cannot be run on it."""
        try:
            return x, self(x)
        except checks.InputError:
            return None

    def moves(self, name: str, other: Trace) -> bool:
        """Tell whether the distribution or the mask of a site differs in a run on another x."""
        if name not in other.nodes:
            return True
        site, after = self.first.nodes[name], other.nodes[name]
        pairs = [(part["fn"].log_prob(site["value"]), masks_of(part)) for part in (site, after)]
        (before, mask), (now, other_mask) = pairs
        same_mask = mask is other_mask is None or (
            mask is not None and other_mask is not None and torch.equal(*torch.broadcast_tensors(mask, other_mask))
        )
        return not same_mask or before.shape != now.shape or not torch.allclose(before, now, equal_nan=True)


def _other_values(x: Tensor) -> Iterator[Tensor]:
    """Yield other data: all ones, all zeros (whose sums differ), and for floats also different numbers."""
    yield torch.ones_like(x)
    yield torch.zeros_like(x)
    if x.is_floating_point():
        low, high = (0.1, 0.9) if _is_whole(x) else (-1.3, 1.7)  # values that may be classes must not be negative
        yield torch.linspace(low, high, max(x.numel(), 1), dtype=x.dtype, device=x.device).reshape(x.shape)


def _is_whole(x: Tensor) -> bool:
    return bool((x == x.round()).all())


def _differ(first: Trace, other: Trace, name: str) -> bool:
    before = first.nodes[name]["value"]
    after = other.nodes[name]["value"] if name in other.nodes else None
    return after is None or before.shape != after.shape or not torch.equal(before, after)


def _entries(runs: _Runs, names: list[str], others: list[tuple[Tensor, Trace]]) -> dict[str, Tensor]:
    """Return the entries of x in the value of each site.

    They are found by runs in which x contains the bits of each entry's number: 0 and 1 are valid as classes, counts
    and real numbers. A site with all of x in its order is recognised without these runs, if the model runs on
    different real numbers.
    """
    x = runs.x
    D = math.prod(x.shape[1:])
    known = [(x, runs.first), *others]
    whole = {names[0]: torch.arange(D)}
    if len(names) == 1 and not _is_whole(others[-1][0]) and _hold(whole, known):
        return whole
    found = {name: torch.zeros(0) for name in names}
    numbers = torch.arange(D, device=x.device)
    for bit in range(max(1, (D - 1).bit_length())):
        run = runs.at(((numbers >> bit) & 1).to(x.dtype).expand(len(x), D).reshape(x.shape))
        if run is None:
            return _refuse(names)
        known.append(run)
        for name in names:
            part = _value(run[1], name)[0].double().cpu()
            if bit and part.shape != found[name].shape:
                return _refuse(names)
            found[name] = part * 2**bit + (found[name] if bit else 0)
    if any(bool((place != place.round()).any() | (place < 0).any() | (place >= D).any()) for place in found.values()):
        return _refuse(names)
    entries = {name: place.long() for name, place in found.items()}
    held = torch.cat(list(entries.values()))
    return entries if len(held.unique()) == len(held) and _hold(entries, known) else _refuse(names)


def _value(found: Trace, name: str) -> Tensor:
    """Return the observed value of a site, ``(B, n)``."""
    if name not in found.nodes:
        raise checks.InputError(
            f"model must observe the same sites for all data, but it observes {name!r} for some of them only"
        )
    value = found.nodes[name]["value"]
    return value.reshape(len(value), -1)


def _hold(entries: dict[str, Tensor], known: list[tuple[Tensor, Trace]]) -> bool:
    """Tell whether the values of sites are these entries of x in all runs; the first run is on data."""
    whole = _is_whole(known[0][0])
    for x, found in known:
        for name, place in entries.items():
            value, expected = _value(found, name), x.reshape(len(x), -1)[:, place.to(x.device)]
            # If the data are integers, the model may convert them to classes.
            ways = (expected, expected.trunc(), expected.round()) if whole and not _is_whole(x) else (expected,)
            if value.shape != expected.shape or not any(torch.equal(value.to(way.dtype), way) for way in ways):
                return False
    return True


def _refuse(names: list[str]) -> dict[str, Tensor]:
    sites = f"its site {names[0]!r}" if len(names) == 1 else f"its sites {', '.join(map(repr, names))}"
    raise checks.InputError(
        "model must observe each entry of x once, as it is, to sample x from it, but observes something else at "
        f"{sites}"
    )
