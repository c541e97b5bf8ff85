"""A model and a guide, run so that the same input gives the same bits: in double precision, by one thread."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from torch import Tensor

from pyrovae import checks
from pyrovae.execution import (
    check_masks,
    check_sites,
    evaluating,
    find_data_sites,
    frozen_parameters,
    latents_of,
    masks_of,
    trace,
)
from pyrovae.matmul import full_precision, without_onednn
from pyrovae.programs import PyroFunction, modules_of, parameter_dtype, uses_labels
from pyrovae.rng import forked_rng

__all__ = ["ExactPrograms"]

_TRIED = 16  # number of data in the runs that find out which sites depend on which
_SEED = 0  # of these runs


class ExactPrograms:
    """A model and a guide whose results do not depend on the number of threads or on an earlier run.

    The programs run on the CPU, by one thread, with a copy of their parameters in double precision, made once. Programs
    that cannot be run in double precision are run in their own. The same batch gives the same bits; for other batches
    with some of its data this is not certain, so that the number of data in a batch must be the same too.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        data_shape: shape of one datum.

    Attributes:
        dtype: type of the data that the programs are given.
        data: by name of each site that observes the data, the entries of the flattened datum in its value.
        latents: names of the latent sites, in the order in which the guide samples them.
        parents: by site, observed or latent, the latents on which its distribution in the model depends.
        guide_parents: by latent site, the latents on which its distribution in the guide depends; and ``""``, if it
            depends on the data.

    Raises:
        ValueError: if a datum alone does not determine the programs' distributions, or they cannot be run on zeros.
    """

    def __init__(self, model: PyroFunction, guide: PyroFunction, data_shape: tuple[int, ...]) -> None:
        for program in (model, guide):
            if uses_labels(program) == "always":
                raise checks.InputError(
                    "program must be one of x alone to be compressed by, but it needs labels, which are no part of x"
                )
        self.model, self.guide, self.data_shape = model, guide, data_shape
        self._doubles: list[tuple[Tensor, Tensor]] = []
        self.dtype = parameter_dtype(model, guide) or torch.get_default_dtype()
        owners = modules_of(model, guide)
        tensors = {id(t): t for module in owners for t in (*module.parameters(), *module.buffers())}
        doubles = [(t, _copied(t, torch.float64)) for t in tensors.values() if t.is_floating_point()]
        own = self.dtype
        try:
            self._doubles, self.dtype = doubles, torch.float64
            self._find_sites()
        except checks.InputError:
            if own == torch.float64:
                raise
            # Constants of the programs may have a type that does not mix with double precision.
            self._doubles, self.dtype = [(t, _copied(t, t.dtype)) for t in tensors.values()], own
            self._find_sites()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Put the programs in the state in which they are run; everything is restored at the end."""
        before = [(tensor, tensor.data) for tensor, _ in self._doubles]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with forked_rng(torch.device("cpu")), frozen_parameters(self.model, self.guide):
                for tensor, copy in self._doubles:
                    tensor.data = copy
                # Without oneDNN, no kernel is chosen by its time, which may differ when the file is read.
                with evaluating(self.model, self.guide), full_precision(), without_onednn():
                    yield
        finally:
            torch.set_num_threads(threads)
            for tensor, data in before:
                tensor.data = data

    def model_at(self, site: str, latents: Mapping[str, Tensor], batch_size: int) -> Any:
        """Return the model's distribution at a site, given latents ``(B, *event_shape)``; inside :meth:`running`.

        Latents that are not given are sampled: the distribution must not depend on them.
        """
        return self._at(self.model, site, self.no_data(batch_size), latents)

    def guide_at(self, site: str, x: Tensor, latents: Mapping[str, Tensor]) -> Any:
        """Return the guide's distribution at a latent site, given ``x`` and latents; inside :meth:`running`."""
        return self._at(self.guide, site, x, latents)

    def no_data(self, batch_size: int) -> Tensor:
        """Return zeros in place of data, ``(B, *data_shape)``."""
        return torch.zeros(batch_size, *self.data_shape, dtype=self.dtype)

    def sample_prior(self, seed: int, count: int) -> dict[str, Tensor]:
        """Sample the latents of the model, ``(count, *event_shape)`` by site; inside :meth:`running`."""
        with forked_rng(torch.device("cpu")):
            torch.manual_seed(seed)
            run = trace(self.model, (self.no_data(count),))
        return {name: run.nodes[name]["value"] for name in self.latents}

    def digest(self) -> bytes:
        """Return 8 bytes that tell the parameters of the programs from others."""
        found = hashlib.blake2b(digest_size=8)
        for module in modules_of(self.model, self.guide):
            found.update(type(module).__name__.encode())
            for name, tensor in module.state_dict().items():
                if isinstance(tensor, Tensor):
                    found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                    found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return found.digest()

    def _at(self, program: PyroFunction, site: str, x: Tensor, latents: Mapping[str, Tensor]) -> Any:
        handler = _At(site, latents)
        with handler:
            trace(program, (x,))
        if handler.fn is None:
            raise checks.InputError(f"program must have the same sites for all data, but {site!r} is missing in some")
        return handler.fn

    def _find_sites(self) -> None:
        with self.running():
            torch.manual_seed(_SEED)
            x = self.no_data(_TRIED)
            guided = trace(self.guide, (x,))
            self.latents = latents_of(guided)
            traced = trace(pyro.poutine.replay(self.model, trace=guided), (x,))
            check_sites(traced, guided)
            check_masks(traced, guided)
            masked = [
                name for name in traced.nodes if name in self.latents and masks_of(traced.nodes[name]) is not None
            ]
            found = find_data_sites(self.model, (x,))
            masked += [name for name in found.entries if masks_of(traced.nodes[name]) is not None]
            for refused, sentence in (
                (masked, "masks none of its values"),
                (found.others, "observes x alone"),
                (found.rest, "observes all entries of x"),
                (found.depends_on_x or found.latents_depend_on_x, "has distributions of x given the latents alone"),
            ):
                if refused:
                    raise checks.InputError(
                        f"model must be one that {sentence} to be compressed by, but this one is not"
                        + (f": at {refused[0]!r}" if isinstance(refused, list | tuple) else "")
                    )
            self.data = found.entries
            self._find_parents([name for name in traced.nodes if name in self.latents])

    def _find_parents(self, model_order: list[str]) -> None:
        """Find out by runs with other values which distributions depend on which latents, and on the data."""
        values, others = self.sample_prior(_SEED, _TRIED), self.sample_prior(_SEED + 1, _TRIED)
        x = self.no_data(_TRIED)
        with forked_rng(torch.device("cpu")):
            torch.manual_seed(_SEED)
            other_x = torch.rand(x.shape).round().to(self.dtype)
        data = {name: x.reshape(_TRIED, -1)[:, index] for name, index in self.data.items()}

        def moves(first: Any, second: Any, value: Tensor) -> bool:
            at = value.reshape(_TRIED, *first.event_shape).to(self.dtype)
            return not torch.equal(first.log_prob(at), second.log_prob(at))

        self.parents: dict[str, set[str]] = {}
        self.guide_parents: dict[str, set[str]] = {}
        for name, value in {**data, **values}.items():
            fn = self.model_at(name, values, _TRIED)
            self.parents[name] = {
                z
                for z in _before(name, model_order)
                if torch.equal(values[z], others[z])  # then it is not known
                or moves(fn, self.model_at(name, {**values, z: others[z]}, _TRIED), value)
            }
        for name in self.latents:
            fn = self.guide_at(name, x, values)
            self.guide_parents[name] = {
                z
                for z in _before(name, self.latents)
                if torch.equal(values[z], others[z])
                or moves(fn, self.guide_at(name, x, {**values, z: others[z]}), values[name])
            }
            if moves(fn, self.guide_at(name, other_x, values), values[name]):
                self.guide_parents[name].add("")


def _copied(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a copy on the CPU, in memory of torch's: products may depend on the alignment of their factors."""
    return tensor.detach().to("cpu", dtype, copy=True, memory_format=torch.contiguous_format)


def _before(name: str, order: list[str]) -> list[str]:
    """Return the latents that are sampled before a site: all, before one that observes the data."""
    return order[: order.index(name)] if name in order else order


class _At(Messenger):
    """A handler that gives latents their values, and keeps the distribution of a site."""

    def __init__(self, site: str, latents: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.site, self.latents, self.fn = site, latents, None

    def _pyro_sample(self, msg: Message) -> None:
        if msg["name"] == self.site:
            self.fn = msg["fn"]
        if msg["name"] in self.latents:
            msg["value"] = self.latents[msg["name"]]
