"""Programs of the continuous latents alone: the discrete ones are summed over."""

from __future__ import annotations

import math
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions.exact_density import log_density
from pyrovae.distributions.log_coordinates import map_with_logs
from pyrovae.distributions.support_bounds import support_kind, unwrap
from pyrovae.execution import masks_of, observed_of
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.execution.latent_handlers import WithinSupport, scored_trace
from pyrovae.programs import PyroFunction
from pyrovae.rng import forked_rng

__all__ = ["MAX_VALUES", "EnumeratedPrograms", "list_values", "sum_over_discrete", "sum_values"]

MAX_VALUES = 256
"""Largest number of joint values of the discrete latents of a datum. The model runs on each of them."""

_DISCRETE = ("discrete", "one_hot", "multinomial")


def sum_over_discrete(programs: BatchedPrograms) -> BatchedPrograms:
    """Return programs of the continuous latents alone; the programs themselves if no latent is discrete.

    Args:
        programs: model and guide on one batch.

    Raises:
        ValueError: if the values of a discrete latent cannot be listed, are too many, or depend on other latents, or if
            a latent is masked.
    """
    nodes = programs.encoded.nodes
    discrete = [name for name in programs.sites if support_kind(nodes[name]["fn"]) in _DISCRETE]
    if not discrete:
        return programs
    for name in programs.sites:
        if masks_of(nodes[name]) is not None:
            raise checks.InputError(f"latents must not be masked where discrete ones are summed over, but {name!r} is")
    lists = {}
    for name in discrete:
        found = list_values(nodes[name]["fn"])
        if found is None:
            kind = type(unwrap(nodes[name]["fn"])).__name__.strip("_")
            raise _refusal(f"the values of {name!r}, of a {kind} distribution, are more or cannot be listed")
        lists[name] = found
    count = math.prod(len(found) for found in lists.values())
    if count > MAX_VALUES:
        raise _refusal(f"{' and '.join(map(repr, discrete))} have {count:,}")
    return EnumeratedPrograms(programs, lists)


def list_values(fn: Any) -> Tensor | None:
    """List the values of a discrete distribution.

    Args:
        fn: the distribution of a site.

    Returns:
        all values, ``(V, *event_shape)``; None if they are more than :data:`MAX_VALUES`, cannot be listed, or are not
        the same for all elements of the batch.

    Example:
        >>> list_values(dist.Bernoulli(torch.zeros(5, 2)).to_event(1))
        tensor([[0., 0.],
                [0., 1.],
                [1., 0.],
                [1., 1.]])
        >>> list_values(dist.Poisson(1.0)) is None
        True
    """
    base = unwrap(fn)
    try:
        each = base.enumerate_support(expand=False) if base.has_enumerate_support else None
    except NotImplementedError:  # for example binomial distributions of different totals
        each = None
    if each is None:
        return None
    each = each.reshape(len(each), *base.event_shape)
    elements = fn.event_shape[: len(fn.event_shape) - len(base.event_shape)]
    number = math.prod(elements)
    if number * math.log(len(each)) > math.log(MAX_VALUES) + 1e-9:
        return None
    chosen = _product([len(each)] * number).to(each.device)  # (V, number)
    return each[chosen].reshape(len(chosen), *fn.event_shape)


class EnumeratedPrograms(BatchedPrograms):
    r"""Programs of the continuous latents z of B data; the discrete latents y are summed over their J joint values.

    .. math:: p(x, z) = \sum_y p(x, y, z), \qquad q(z|x) = \sum_y q(y, z|x)

    are the joint density of the model and the density of the guide's samples of z. Every method takes and returns
    continuous latents only. For k samples of z, the programs run on ``J * k`` samples.

    Args:
        whole: programs of all latents.
        lists: values of each discrete latent by site name, ``(V, *event_shape)`` each.

    Attributes:
        values: the joint values: those of each discrete latent by site name, ``(J, *event_shape)``.
        num_values: number J of joint values.
        sites: names of the continuous latent sites.

    Raises:
        ValueError: if the values of a discrete latent depend on another latent, or are not the same in model and guide.
    """

    def __init__(self, whole: BatchedPrograms, lists: dict[str, Tensor]) -> None:
        self._whole = whole
        self.model, self.guide, self.arguments, self.count = whole.model, whole.guide, whole.arguments, whole.count
        self.encoded, self.broadcasts = whole.encoded, whole.broadcasts
        chosen = _product([len(each) for each in lists.values()])  # (J, number of sites)
        self.values = {name: each[chosen[:, i].to(each.device)] for i, (name, each) in enumerate(lists.items())}
        self.num_values = len(chosen)
        self.sites = [name for name in whole.sites if name not in lists]
        with self.evaluating(), forked_rng(self.arguments[0].device):
            self._components = self._find_components(self._check_values(lists))

    @property
    def whole(self) -> BatchedPrograms:
        """The programs of all latents."""
        return self._whole

    @property
    def encodes_once(self) -> bool:
        """True if one run of the guide is enough for :meth:`log_q`."""
        return self._components is not None

    def run(self, program: PyroFunction, k: int) -> Trace:
        """Trace one run with k samples of each datum, which draws the discrete latents."""
        return self.whole.run(program, k)

    def run_on_values(self, program: PyroFunction, k: int) -> Trace:
        """Trace one run with k samples of each datum for each joint value."""
        values = {name: self.flatten_samples(y) for name, y in self._repeated_values(k).items()}
        return self.whole.run(poutine.condition(program, values), self.num_values * k)

    def repeat_for_values(self, z: Tensor) -> Tensor:
        """Repeat ``(k, B, ...)`` for each joint value, ``(J * k, B, ...)``."""
        return map_with_logs(lambda part: part.expand(self.num_values, *part.shape).flatten(0, 1), z)

    def by_value(self, z: Tensor) -> Tensor:
        """Reshape values of :meth:`run_on_values` to ``(J, k, B, ...)``."""
        return map_with_logs(lambda part: part.unflatten(0, (self.num_values, -1)), self.unflatten_samples(z))

    def log_probs(self, trace: Trace) -> tuple[Tensor, Tensor]:
        """Return the log-probabilities of the latents and of the observed sites of :meth:`run_on_values`.

        Returns:
            log p(y, z) and log p(x|y, z) of the model, ``(J, k, B)`` each, in nats.
        """
        k = len(trace.nodes[next(iter(self.values))]["value"]) // self.num_values
        k = k if self.broadcasts else k // self.count
        sites = self.whole.sites, observed_of(trace, self.whole.sites)
        prior, observed = (
            self.whole.log_prob(trace, names, self.num_values * k).unflatten(0, (self.num_values, k)) for names in sites
        )
        return prior, torch.where(prior == -math.inf, -math.inf, observed)

    def densities(self, latents: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return log p(x|z) and log p(z), ``(k, B)`` in nats, at latents ``(k, B, *event_shape)``."""
        return sum_values(*self.log_probs(self._run_model(latents)))

    def log_q(self, latents: dict[str, Tensor]) -> Tensor:
        """Return the density of the guide's samples, ``(k, B)`` in nats, at latents ``(k, B, *event_shape)``."""
        if self._components is None:
            every = {name: self.repeat_for_values(z) for name, z in latents.items()}
            k = _length(latents)
            log_q = self.whole.log_q(every | self._repeated_values(k))
            return log_q.unflatten(0, (self.num_values, k)).logsumexp(0)
        fn, log_share = self._components
        (z,) = latents.values()
        each = map_with_logs(lambda part: part[:, None].expand(len(part), len(log_share), *part.shape[1:]), z)
        return (log_share + log_density(fn, each)).logsumexp(1)  # of (k, J, B)

    def sample_guide(self, k: int) -> tuple[dict[str, Tensor], Tensor]:
        """Draw k samples of the guide: latents, ``(k, B, *event_shape)`` each, and their log q(z|x), ``(k, B)``."""
        drawn, _ = self.whole.sample_guide(k)
        latents = {name: drawn[name] for name in self.sites}
        return latents, self.log_q(latents)

    def sample_prior(self, k: int) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Draw k samples of the prior: latents, ``(k, B, *event_shape)`` each, log p(x|z) and log p(z), ``(k, B)``."""
        trace = self.run(self.model, k)
        latents = {name: self.unflatten_samples(trace.nodes[name]["value"]) for name in self.sites}
        return latents, *self.densities(latents)

    def add_discrete(
        self, draws: dict[str, Tensor], log_likelihood: Tensor, chunk_size: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Add draws of the discrete latents from p(y|x, z) to posterior draws of z.

        Args:
            draws: posterior draws of the continuous latents by site name, ``(B, S, *event_shape)`` each.
            log_likelihood: log p(x|z) at these, ``(B, S)``, in nats.
            chunk_size: number of latents to run the model on at a time, on all joint values.

        Returns:
            draws of all latents, and log p(x|y, z) at them.
        """
        if not draws:
            return draws, log_likelihood
        found = []
        for some in torch.arange(log_likelihood.shape[1]).split(max(1, chunk_size // self.count)):
            latents = {name: z[:, some.to(z.device)].transpose(0, 1) for name, z in draws.items()}
            found.append(self.draw_values(*self.log_probs(self._run_model(latents))))
        values = {name: torch.cat([y[name] for y, _ in found]).transpose(0, 1) for name in self.values}
        both = {**draws, **values}
        fit = torch.cat([observed for _, observed in found]).T
        return {name: both[name] for name in self.whole.sites}, fit

    def draw_values(self, prior: Tensor, observed: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Draw joint values from p(y|x, z).

        Args:
            prior: log p(y, z) at each joint value, ``(J, S, B)``, in nats.
            observed: log p(x|y, z) at each, ``(J, S, B)``, in nats.

        Returns:
            values by site name, ``(S, B, *event_shape)``, and log p(x|y, z) at them, ``(S, B)``.
        """
        probability = (prior + observed).double().softmax(0).nan_to_num(1.0)  # of zeros alone, any is as good
        chosen = torch.multinomial(probability.flatten(1).T, 1).reshape(probability.shape[1:])  # (S, B)
        return {name: each[chosen] for name, each in self.values.items()}, observed.gather(0, chosen[None])[0]

    def may_depend_on_discrete(self, program: PyroFunction, order: list[str]) -> set[str]:
        """Name the continuous sites whose distribution may depend on the discrete latents.

        It does not if the site comes before them, or if it has no dimension of the joint values when these are put in a
        dimension of their own. Where the program does not run so, every later site may depend on them.

        Args:
            program: model or guide.
            order: names of its latent sites, in the order in which it samples them.
        """
        first = min(order.index(name) for name in self.values)
        later = {name for name in order[first:] if name in self.sites}
        if not later or not self.broadcasts:
            return later
        apart = {name: y[:, None, None].expand(-1, 1, self.count, *y.shape[1:]) for name, y in self.values.items()}
        inside = WithinSupport(self.sites)
        try:
            with forked_rng(self.arguments[0].device), inside, pyro.plate("_samples", 2, dim=-2):
                trace = scored_trace(poutine.condition(program, apart), self.arguments, inside)
        except Exception:  # a program that does not broadcast may raise anything
            return later
        return {name for name in later if len(trace.nodes[name]["fn"].batch_shape) > 2}

    def _run_model(self, latents: dict[str, Tensor]) -> Trace:
        z = {name: self.flatten_samples(self.repeat_for_values(z)) for name, z in latents.items()}
        return self.run_on_values(poutine.condition(self.model, z), _length(latents))

    def _repeated_values(self, k: int) -> dict[str, Tensor]:
        """Return the joint values for k samples of each datum, ``(J * k, B, *event_shape)``."""
        lead = self.num_values, k, self.count
        return {name: y[:, None, None].expand(*lead, *y.shape[1:]).flatten(0, 1) for name, y in self.values.items()}

    def _check_values(self, lists: dict[str, Tensor]) -> Trace:
        """Check that the discrete latents have the same values everywhere; return a run of the guide on all of them."""
        guided = self.run_on_values(self.guide, 1)
        for trace in (guided, self.run_on_values(self.model, 1)):
            for name, expected in lists.items():
                found = list_values(trace.nodes[name]["fn"])
                if found is None or not torch.equal(found.double(), expected.double()):
                    raise checks.InputError(
                        f"discrete latents must have the same values for all data and other latents, and in model and "
                        f"guide, to be summed over, but those of {name!r} differ"
                    )
        return guided

    def _find_components(self, guided: Trace) -> tuple[Any, Tensor] | None:
        """Return the guide's distribution of its one continuous site at each joint value, and log q(y|x), ``(J, B)``.

        So the guide need not run again. None if there are more sites, or some discrete latents come before and some
        after the continuous one.
        """
        order = [name for name in guided.nodes if name in self.whole.sites]
        if len(self.sites) != 1 or not self.broadcasts or self.sites[0] not in (order[0], order[-1]):
            return None
        fn, count = guided.nodes[self.sites[0]]["fn"], self.count
        if order[0] == self.sites[0]:  # what the guide draws afterwards does not change its density
            return self.encoded.nodes[self.sites[0]]["fn"].expand((1, count)), torch.zeros(1, count)
        log_share = self.whole.log_prob(guided, list(self.values), self.num_values)
        return fn.expand(log_share.shape), log_share


def sum_values(prior: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return log p(x|z) and log p(z), ``(k, B)``, of log p(y, z) and log p(x|y, z), ``(J, k, B)``, in nats."""
    log_prior = prior.logsumexp(0)
    return (prior + observed).logsumexp(0) - log_prior, log_prior


def _length(latents: dict[str, Tensor]) -> int:
    """Return the number k of samples; 1 if there are no continuous latents."""
    return len(next(iter(latents.values()))) if latents else 1


def _product(counts: list[int]) -> Tensor:
    """Return all combinations of indices below ``counts``, ``(product, number)``."""
    return torch.cartesian_prod(*(torch.arange(count) for count in counts)).reshape(-1, len(counts))


def _refusal(what: str) -> checks.InputError:
    return checks.InputError(
        f"latents must be continuous, or discrete with at most {MAX_VALUES} joint values, to be annealed or summed "
        f"over, but {what}"
    )
