"""Bits-back coding of data by a model and a guide, on a stack that other code can use too."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

from pyrovae import checks
from pyrovae.codec.decisions import Recorder, Visit, bisect, pop, uniform
from pyrovae.codec.exact_programs import ExactPrograms
from pyrovae.codec.sites import data_site, latent_site, num_bits, refuse_latent
from pyrovae.codec.stack import Stack
from pyrovae.programs import PyroFunction

__all__ = ["LATENT_BITS", "Codec"]

LATENT_BITS = 14
"""Default of the binary logarithm of the number of bins of a latent."""

_PRIOR_SAMPLES = 256  # samples that the bins of latents below the top are chosen by
_TRIED = 32  # number of random data that tell whether the programs give the same numbers as elsewhere


@dataclass
class _Batch:
    """Data and latents as integers, ``(B, n)`` each, of which some rows are coded: the others are zeros."""

    rows: np.ndarray
    x: np.ndarray
    latents: dict[str, np.ndarray]

    def repeated(self, count: int) -> _Batch:
        """Return the batch several times, one after the other."""
        latents = {name: np.tile(z, (count, 1)) for name, z in self.latents.items()}
        return _Batch(np.tile(self.rows, count), np.tile(self.x, (count, 1)), latents)


class Codec:
    r"""Bits-back coding with asymmetric numeral systems, of data by a model and a guide.

    To push x on the stack (Townsend et al., 2019, arXiv:1901.04866): pop z from :math:`q(z|x)`, push x by
    :math:`p(x|z)`, push z by :math:`p(z)`. The stack grows by :math:`-\log_2 p(x|z)\,p(z)/q(z|x)` bits, in the mean
    minus the ELBO. Several latent sites are coded in the order that the dependencies of the programs allow, with x
    and each latent pushed as early as possible: for a Markov chain of layers, this is Bit-Swap (Kingma et al., 2019,
    arXiv:1905.06845).

    With K particles, Monte Carlo bits-back (Ruan et al., 2021, arXiv:2102.11086): pop :math:`z_1, \ldots, z_K` from
    :math:`q(z|x)`, and j with probability :math:`w_j / \sum_k w_k`, where
    :math:`w_k = p(x, z_k) / q(z_k|x)`; push the other particles by :math:`q(z|x)`, x by :math:`p(x|z_j)`,
    :math:`z_j` by its prior, and j by 1/K. The stack grows by :math:`-\log_2 \frac1K \sum_k w_k` bits.

    Real latents are coded as bins of equal probability under their prior; those below the top of several layers, under
    a normal with the mean and twice the scale of the model's samples. The program runs in double precision by one
    thread, and probabilities are multiples of :math:`2^{-16}`, so that :meth:`pop` finds those of :meth:`push` on
    batches of the same size.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        data_shape: shape of one datum.
        latent_bits: binary logarithm of the number of bins of each latent coordinate.
        count_bits: for counts, number of bits of the largest one; ignored otherwise.

    Raises:
        ValueError: if a site of the programs cannot be coded, in a sentence that says which and why.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> codec = Codec(vae.model, vae.guide, (4,))
        >>> stack = Stack(np.arange(1, 100, dtype=np.uint32))
        >>> x = np.array([[0, 0, 1, 1], [1, 0, 1, 0]])
        >>> codec.push(stack, x)
        >>> codec.pop(stack, 2).tolist()
        [[0, 0, 1, 1], [1, 0, 1, 0]]
        >>> bool((stack.words == np.arange(1, 100)).all())
        True
    """

    def __init__(
        self,
        model: PyroFunction,
        guide: PyroFunction,
        data_shape: tuple[int, ...],
        *,
        latent_bits: int = LATENT_BITS,
        count_bits: int = 16,
    ) -> None:
        self.latent_bits = _between("latent_bits", latent_bits, 1, 24)
        self.count_bits = _between("count_bits", count_bits, 1, 31)
        shape = checks.shape("data_shape", data_shape)
        self.num_values = math.prod(shape)
        self.programs = ExactPrograms(model, guide, shape)
        programs = self.programs
        with programs.running():
            has_layers = any(programs.parents[name] for name in programs.latents)
            samples = programs.sample_prior(0, _PRIOR_SAMPLES if has_layers else 2)
            some = {name: z[:1] for name, z in samples.items()}
            self._sites = {
                name: latent_site(programs, name, some, samples[name], self.latent_bits) for name in programs.latents
            }
            self._sites |= {name: data_site(programs, name, some, self.count_bits) for name in programs.data}
            constant = [name for name in programs.latents if not programs.parents[name]]
            self._constant = {name: programs.model_at(name, some, 1) for name in constant}
            for name in programs.latents:  # refused here rather than at the first datum
                self._visit(name, programs.guide_at(name, programs.no_data(1), some), 1)
                self._visit(name, programs.model_at(name, some, 1), 1)
        self._pushes = self._order_of_pushes()
        self._steps = self._order_of_steps()

    @property
    def first_bits(self) -> int:
        """Number of bits that a datum with one particle pops, about, before it pushes any."""
        first_push = next(i for i, (pops, _) in enumerate(self._steps) if not pops)
        sites = [self._sites[name] for _, name in self._steps[:first_push]]
        return sum(site.size * site.num_bits for site in sites)

    @property
    def particle_bits(self) -> int:
        """Number of bits of all latents of a datum together, which each particle pops."""
        return sum(site.size * site.num_bits for site in map(self._sites.__getitem__, self.programs.latents))

    def integers(self, x: np.ndarray) -> np.ndarray:
        """Return data, ``(N, *data_shape)`` of levels from 0 to 1 or of integers, as integers from 0, ``(N, P)``.

        Raises:
            ValueError: if a value is none of the likelihood's levels, no count, or too large a count.
        """
        flat = x.reshape(len(x), -1)
        found = np.zeros(flat.shape, np.int64)
        for name, entries in self.programs.data.items():
            site, part = self._sites[name], flat[:, entries.numpy()]
            scale = site.levels - 1 if site.scaled and site.levels is not None and part.dtype.kind == "f" else 1
            with np.errstate(invalid="ignore"):
                index = np.rint(part * part.dtype.type(scale)) if part.dtype.kind == "f" else part
            last = 2**self.count_bits - 1 if site.levels is None else site.levels - 1
            with np.errstate(invalid="ignore"):
                wrong = ~((index >= 0) & (index <= last))
                if part.dtype.kind == "f":
                    wrong |= ~(np.abs(part * scale - index) < 0.01)
            if wrong.any():
                what = f"counts up to {last}" if site.levels is None else f"the {site.levels} levels of the likelihood"
                raise checks.InputError(f"x must hold {what} to be compressed, but holds {part[wrong][0]:g}")
            found[:, entries.numpy()] = index.astype(np.int64)
        return found

    def values(self, integers: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
        """Return the data that integers ``(N, P)`` stand for, ``(N, *data_shape)``: the inverse of :meth:`integers`."""
        found = np.zeros(integers.shape, dtype)
        for name, entries in self.programs.data.items():
            site = self._sites[name]
            part = integers[:, entries.numpy()].astype(dtype)
            if site.scaled and site.levels is not None and part.dtype.kind == "f":
                part /= dtype.type(max(1, site.levels - 1))
            found[:, entries.numpy()] = part
        return found.reshape(len(integers), *self.programs.data_shape)

    def push(self, stack: Stack, x: np.ndarray, num_particles: int = 1, *, batch_size: int | None = None) -> None:
        """Push data on a stack.

        Args:
            stack: the stack.
            x: data as :meth:`integers` returns them, ``(n, P)``.
            num_particles: number K of particles.
            batch_size: number B of data in a run of the programs, at least n; n if not given.
        """
        batch = self._batch(len(x), batch_size)
        batch.x[: len(x)] = x
        with self.programs.running():
            if num_particles > 1:
                self._push_particles(stack, batch, num_particles)
                return
            given = self._given(batch.x)
            for pops, name in self._steps:
                if pops:
                    visit = self._guide_visit(name, given, batch.latents)
                    batch.latents[name] = pop(stack, visit, batch.rows, self._zeros(name, len(batch.x)))
                else:
                    self._record(name, batch.x, batch.latents).push(stack, batch.rows)

    def pop(self, stack: Stack, num_data: int, num_particles: int = 1, *, batch_size: int | None = None) -> np.ndarray:
        """Pop data from a stack: the inverse of :meth:`push`.

        Args:
            stack: the stack.
            num_data: number n of data.
            num_particles: number K of particles.
            batch_size: number B of data in a run of the programs, the same as when they were pushed.

        Returns:
            integers, ``(n, P)``; :meth:`values` makes data of them.
        """
        batch = self._batch(num_data, batch_size)
        with self.programs.running():
            if num_particles > 1:
                self._pop_particles(stack, batch, num_particles)
                return batch.x[:num_data]
            for pops, name in reversed(self._steps):
                if pops:
                    visit = self._guide_visit(name, self._given(batch.x), batch.latents)
                    Recorder(visit, batch.latents[name]).push(stack, batch.rows)
                else:
                    self._pop_site(stack, name, batch)
        return batch.x[:num_data]

    def digest(self, num_particles: int = 1) -> bytes:
        """Return 8 bytes that tell the programs' distributions, and how they are coded, from others on this machine.

        Random data are pushed and popped again.

        Args:
            num_particles: number K of particles; two are tried if there are more.

        Raises:
            ValueError: if they come back otherwise, because the programs do not give the same numbers twice.
        """
        rng = np.random.default_rng(0)
        x = np.zeros((_TRIED, self.num_values), np.int64)
        for name, entries in self.programs.data.items():
            levels = self._sites[name].levels
            most = min(3, 2**self.count_bits - 1) if levels is None else levels - 1
            x[:, entries.numpy()] = rng.integers(0, most + 1, (_TRIED, len(entries)))
        before = rng.integers(1, 2**32, 4 + 2 * _TRIED * self.particle_bits // 32, dtype=np.uint32)
        found = hashlib.blake2b(digest_size=8)
        for count in {1, min(num_particles, 2)}:
            stack = Stack(before)
            self.push(stack, x, count)
            found.update(stack.words.astype("<u4").tobytes())
            if not np.array_equal(self.pop(stack, _TRIED, count), x) or not np.array_equal(stack.words, before):
                raise checks.InputError(
                    "program must give the same distributions whenever it is given the same data, to the last bit, to "
                    "compress by it, but does not"
                )
        return found.digest()

    def _push_particles(self, stack: Stack, batch: _Batch, count: int) -> None:
        every = batch.repeated(count)  # K B rows
        given = self._given(every.x)
        for name in self.programs.latents:
            visit = self._guide_visit(name, given, every.latents)
            every.latents[name] = pop(stack, visit, every.rows, self._zeros(name, len(every.x)))
        of_guide = self._guide_records(given, every)
        chosen = pop(stack, self._chooser(every, of_guide, count), batch.rows, np.zeros((len(batch.x), 1), np.int64))
        is_chosen = np.arange(len(every.x)) // len(batch.x) == np.tile(chosen[:, 0], count)
        for name in reversed(self.programs.latents):
            of_guide[name].push(stack, every.rows & ~is_chosen)
        rows = chosen[:, 0] * len(batch.x) + np.arange(len(batch.x))
        batch.latents.update({name: z[rows] for name, z in every.latents.items()})
        for name in self._pushes:
            self._record(name, batch.x, batch.latents).push(stack, batch.rows)
        Recorder(_number(count, len(batch.x)), chosen).push(stack, batch.rows)

    def _pop_particles(self, stack: Stack, batch: _Batch, count: int) -> None:
        chosen = pop(stack, _number(count, len(batch.x)), batch.rows, np.zeros((len(batch.x), 1), np.int64))
        for name in reversed(self._pushes):
            self._pop_site(stack, name, batch)
        every = batch.repeated(count)
        given = self._given(every.x)
        is_chosen = np.arange(len(every.x)) // len(batch.x) == np.tile(chosen[:, 0], count)
        known, every.latents = every.latents, {}
        for name in self.programs.latents:
            visit = self._guide_visit(name, given, every.latents)
            every.latents[name] = pop(stack, visit, every.rows & ~is_chosen, known[name] * is_chosen[:, None])
        of_guide = self._guide_records(given, every)
        Recorder(self._chooser(every, of_guide, count), chosen).push(stack, batch.rows)
        for name in reversed(self.programs.latents):
            of_guide[name].push(stack, every.rows)

    def _chooser(self, every: _Batch, of_guide: Mapping[str, Recorder], count: int) -> Visit:
        """Return what asks for the number of a particle of each datum, by the weights of all."""
        log_weight = np.zeros(len(every.x))
        for name in self._pushes:
            log_weight += self._record(name, every.x, every.latents).log_prob()
        for record in of_guide.values():
            log_weight -= record.log_prob()
        share = special.softmax(log_weight.reshape(count, -1).T, 1)  # (B, K)
        zero = np.zeros((len(share), 1))
        lower = np.concatenate([zero, share.cumsum(1)], 1)
        upper = np.concatenate([share[:, ::-1].cumsum(1)[:, ::-1], zero], 1)

        def below(i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            at = np.minimum(i, count).astype(np.int64)
            return np.take_along_axis(lower, at, 1), np.take_along_axis(upper, at, 1)

        return lambda decide: bisect(below, num_bits(count), zero.shape, decide, slice(None))

    def _guide_records(self, given: Tensor, every: _Batch) -> dict[str, Recorder]:
        return {name: Recorder(self._guide_visit(name, given, every.latents), z) for name, z in every.latents.items()}

    def _record(self, name: str, x: np.ndarray, latents: Mapping[str, np.ndarray]) -> Recorder:
        """Record the decisions at a site of the model."""
        known = x[:, self.programs.data[name].numpy()] if name in self.programs.data else latents[name]
        return Recorder(self._model_visit(name, latents, len(x)), known)

    def _pop_site(self, stack: Stack, name: str, batch: _Batch) -> None:
        """Pop the integers at a site of the model into a batch."""
        size = len(batch.x)
        values = pop(stack, self._model_visit(name, batch.latents, size), batch.rows, self._zeros(name, size))
        if name in self.programs.data:
            batch.x[:, self.programs.data[name].numpy()] = values
        else:
            batch.latents[name] = values

    def _model_visit(self, name: str, latents: Mapping[str, np.ndarray], size: int) -> Visit:
        if name in self._constant:
            return self._visit(name, self._constant[name], size)
        return self._visit(name, self.programs.model_at(name, self._latents(latents), size), size)

    def _guide_visit(self, name: str, given: Tensor, latents: Mapping[str, np.ndarray]) -> Visit:
        return self._visit(name, self.programs.guide_at(name, given, self._latents(latents)), len(given))

    def _visit(self, name: str, fn: Any, size: int) -> Visit:
        site = self._sites[name]
        visit = site.visit(fn, (size, *site.event_shape))
        return refuse_latent(name, fn) if visit is None else visit

    def _latents(self, latents: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """Return latents as the programs take them."""
        sites = {name: self._sites[name] for name in latents}
        return {
            name: self._tensor(site.value(latents[name].reshape(-1, *site.event_shape))) for name, site in sites.items()
        }

    def _given(self, x: np.ndarray) -> Tensor:
        """Return data as the programs take them."""
        return self._tensor(self.values(x, np.dtype(np.float64)))

    def _tensor(self, array: np.ndarray) -> Tensor:
        """Copy an array to memory of torch's, whose alignment is always the same, for products may depend on it."""
        return torch.from_numpy(array).to(self.programs.dtype, copy=True)

    def _zeros(self, name: str, size: int) -> np.ndarray:
        return np.zeros((size, self._sites[name].size), np.int64)

    def _batch(self, count: int, size: int | None) -> _Batch:
        size = count if size is None else size
        _between("the number of data to push or pop", count, 0, size)
        return _Batch(np.arange(size) < count, np.zeros((size, self.num_values), np.int64), {})

    def _order_of_pushes(self) -> list[str]:
        """Order all sites of the model so that each comes before its parents."""
        left, order = [*self.programs.data, *self.programs.latents], list[str]()
        while left:
            order.append(next(name for name in left if not any(name in self.programs.parents[other] for other in left)))
            left.remove(order[-1])
        return order

    def _order_of_steps(self) -> list[tuple[bool, str]]:
        """Order pops (True) and pushes (False): each push as soon as it can be undone."""
        steps, waiting, left = list[tuple[bool, str]](), list(self._pushes), list(self.programs.latents)
        while waiting:
            name = waiting[0]
            is_datum = name in self.programs.data
            needed = self.programs.parents[name] | (set() if is_datum else {name})
            is_read_later = any(("" if is_datum else name) in self.programs.guide_parents[latent] for latent in left)
            if needed.isdisjoint(left) and not is_read_later:
                steps.append((False, waiting.pop(0)))
            else:
                steps.append((True, left.pop(0)))
        return steps


def _number(count: int, size: int) -> Visit:
    """Return what asks for ``size`` numbers from 0 to ``count - 1``, all equally probable."""
    return lambda decide: bisect(uniform(count), num_bits(count), (size, 1), decide, slice(None))


def _between(name: str, value: int, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise checks.InputError(f"{name} must be an integer from {low} to {high}, but {value!r} was given")
    return value
