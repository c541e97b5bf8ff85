"""``Estimator``, the base class of estimators of log p(x)."""

from __future__ import annotations

import inspect
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pyrovae import checks
from pyrovae.evaluation.likelihood.concatenation import concatenate
from pyrovae.evaluation.likelihood.exact_sum import exact_sum
from pyrovae.evaluation.likelihood.result import LogMarginal
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.execution.chunking import Chunks
from pyrovae.execution.enumerated import EnumeratedPrograms, sum_over_discrete
from pyrovae.programs import Arguments, PyroFunction

__all__ = ["Estimator"]


class Estimator(ABC):
    r"""Base class of estimators of log p(x), which draw weights whose mean is p(x) and summarise them.

    :func:`log_marginal` calls it batch by batch. Your own estimator derives from this class, stores each option of its
    constructor in an attribute of the same name, and implements :meth:`estimate`.

    Example:
        >>> class PriorSampling(Estimator):
        ...     '''The mean of p(x|z) over samples z of the prior.'''
        ...
        ...     must_cover = False  # the guide is not used
        ...
        ...     def __init__(self, num_samples: int = 100) -> None:
        ...         self.num_samples = num_samples
        ...
        ...     def estimate(self, programs, *, num_draws=0, chunk_size=2000):
        ...         with programs.evaluating():
        ...             _, log_likelihood, _ = programs.sample_prior(self.num_samples)  # (K, B)
        ...         return LogMarginal.from_log_weights(log_likelihood, programs.arguments[0], method=self.method)
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> ml = log_marginal(vae.model, vae.guide, torch.ones(3, 4), PriorSampling(1000))
        >>> ml.log_prob.shape, ml.method
        (torch.Size([3]), 'priorsampling')
        >>> PriorSampling(50)
        PriorSampling(num_samples=50)
    """

    must_cover: bool = True
    """True if the guide must have a density wherever the prior has one, False if the estimate is right without this
    condition, for example because it also draws from the prior."""

    sum_discrete: bool = False
    """True if discrete latents are summed over: the programs that :meth:`estimate` gets then have continuous latents
    only, and p(x, z) and q(z|x) are sums over the others. If there are no others, p(x) is such a sum, and exact."""

    unbiased: bool = False
    """True if the mean of exp(log_prob) is at most p(x), for each datum and whatever was drawn for the others, as
    :meth:`LogMarginal.certificate` needs it. It is so if ``log_prob`` is the log of the mean of weights of mean p(x),
    whose number and whose proposal were fixed before they were drawn, separately for each datum. It is not so for
    samples that several data share, and for a bound whose bias was corrected. A subclass that overrides
    :meth:`estimate` declares it again."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        overrides = {"estimate", "estimate_batches"} & vars(cls).keys()
        if overrides and "unbiased" not in vars(cls):  # what a base class declares is not about this method
            cls.unbiased = False

    @abstractmethod
    def estimate(self, programs: BatchedPrograms, *, num_draws: int = 0, chunk_size: int = 2000) -> LogMarginal:
        """Estimate log p(x) of one batch.

        The programs are run in ``with programs.evaluating()``: in evaluation mode, without gradients.

        Args:
            programs: model and guide on B data.
            num_draws: number S of posterior draws to keep for each datum.
            chunk_size: number of latents to run the model on at a time, which bounds the memory.
        """

    def batch_size(self, chunk_size: int) -> int:
        """Return the number of data per call of :meth:`estimate`."""
        return min(50, chunk_size)

    def estimate_batches(
        self, model: PyroFunction, guide: PyroFunction, batches: Iterable[Arguments], *, num_draws: int, chunks: Chunks
    ) -> LogMarginal:
        """Estimate log p(x) of all batches, one after the other.

        Override it in an estimator that treats all data together.

        Args:
            model: program of p(x, z).
            guide: program of q(z|x).
            batches: arguments of the programs, batch by batch.
            num_draws: number S of posterior draws to keep for each datum.
            chunks: number of latents to run the model on at a time.

        Raises:
            ValueError: if there are no data, or model and guide do not match.
        """

        def estimate(*arguments: Any) -> list[LogMarginal]:
            programs = BatchedPrograms(model, guide, arguments, must_cover=self.must_cover)
            if self.sum_discrete:
                programs = sum_over_discrete(programs)
            size = max(1, chunks.size // programs.num_values)  # of what runs on all values
            if isinstance(programs, EnumeratedPrograms):
                most = max(1, self.batch_size(size) if programs.sites else size)
                if len(arguments[0]) > most:
                    split = zip(*(part.split(most) for part in arguments), strict=True)
                    return [result for some in split for result in estimate(*some)]
                if not programs.sites:
                    return [exact_sum(programs, num_draws)]
            return [self.estimate(programs, num_draws=num_draws, chunk_size=size)]

        parts: list[LogMarginal] = []
        for arguments in batches:
            if len(arguments[0]) > 0:
                chunks.choose(model, arguments)
                parts += [result for found in chunks.in_parts(estimate, arguments, self.batch_size) for result in found]
        if not parts:
            raise checks.InputError("x must hold at least one datum, but is empty")
        result = concatenate(parts)
        return replace(result, log_unbiased=result.log_prob[None]) if self.unbiased or result.is_exact else result

    @property
    def method(self) -> str:
        """The name of the estimator in results: the name of the class in lower case."""
        return type(self).__name__.lower()

    @property
    def options(self) -> dict[str, Any]:
        """The options of the constructor, by name."""
        return {name: getattr(self, name) for name in self._parameters()}

    def to_dict(self) -> dict[str, Any]:
        """Return class and options as values that JSON can contain; other values are given by their ``repr``."""

        def plain(value: Any) -> Any:
            known = isinstance(value, bool | int | str | None) or (isinstance(value, float) and math.isfinite(value))
            return value if known else repr(value)

        return {"class": type(self).__name__, **{name: plain(value) for name, value in self.options.items()}}

    @property
    def label(self) -> str:
        """A name for files: the method, and the options that are not at their defaults."""
        changed = [
            f"{name}{getattr(self, name)}"
            for name, parameter in self._parameters().items()
            if getattr(self, name) != parameter.default
        ]
        return re.sub(r"[^\w.+-]+", "_", "-".join([self.method, *changed]))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{type(self).__name__}({options})"

    def _parameters(self) -> dict[str, inspect.Parameter]:
        parameters = dict(inspect.signature(type(self)).parameters)
        missing = [name for name in parameters if not hasattr(self, name)]
        if missing:
            raise checks.InputError(
                f"estimator must keep each option of its constructor in an attribute of the same name, but "
                f"{type(self).__name__} has no {missing[0]}"
            )
        return parameters
