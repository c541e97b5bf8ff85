"""Program made of three functions, such as the encoder and decoder of a plain PyTorch VAE."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Distribution

from pyrovae import checks
from pyrovae.distributions.torch_distributions import FlattenedBatch, to_pyro
from pyrovae.execution import evaluating
from pyrovae.programs import Program, modules_of, parameter_dtype
from pyrovae.rng import forked_rng
from pyrovae.vae.standard import check_data

__all__ = ["FunctionalVAE"]

Conditional: TypeAlias = Callable[..., Distribution]
_TRIED = (3, 2)  # numbers of data in the check of shapes: two, so that a constant size is not taken for that of a batch


class FunctionalVAE(Program):
    r"""A VAE made of three functions that return distributions: :math:`p(z)`, :math:`p(x|z)` and :math:`q(z|x)`.

    It makes a program of any PyTorch VAE with continuous latents, trained or not. The distributions are those of torch
    or Pyro. All dimensions after the first are those of one datum, so that ``Independent`` or ``to_event`` may be
    left out: ``Normal(loc, scale)`` of shape ``(B, D)`` is a distribution of B vectors. Functions are called with one
    batch dimension only: K samples of each of B data come to the decoder as ``(K * B, D)``.

    Not covered are likelihoods that depend on x itself, such as autoregressive decoders, and several groups of latents:
    write these as a :class:`~pyrovae.Program`.

    Args:
        prior: p(z), a distribution, or a function or module that returns it when called without arguments.
        likelihood: p(x|z), a function or module that is given z, ``(B, *latent_shape)``, and returns a distribution.
        posterior: q(z|x), a function or module that is given x, ``(B, *data_shape)``, and returns a distribution.
        x: a few data, ``(B, *data_shape)``, to check the functions with; samples of the model if not given.

    Attributes:
        data_shape: shape of one datum.
        latent_shape: shape of the latents of one datum.

    Raises:
        ValueError: if one of the three does not return a distribution, or their shapes do not fit; the sentence says
            which, and how to mend it.

    Example:
        >>> encoder, decoder = torch.nn.Linear(6, 4), torch.nn.Linear(2, 6)
        >>> def posterior(x):
        ...     mean, log_variance = encoder(x).chunk(2, -1)
        ...     return torch.distributions.Normal(mean, (0.5 * log_variance).exp())
        >>> vae = FunctionalVAE(
        ...     prior=torch.distributions.Normal(torch.zeros(2), 1.0),
        ...     likelihood=lambda z: torch.distributions.Bernoulli(logits=decoder(z)),
        ...     posterior=posterior,
        ... )
        >>> log_marginal(vae.model, vae.guide, torch.ones(3, 6), num_samples=100).log_prob.shape
        torch.Size([3])
    """

    def __init__(
        self,
        prior: Distribution | Conditional,
        likelihood: Conditional,
        posterior: Conditional,
        x: Tensor | None = None,
    ) -> None:
        super().__init__()
        for name, function in (("likelihood", likelihood), ("posterior", posterior)):
            if not callable(function):
                raise checks.InputError(f"{name} must be a function or a module, but {function!r} was given")
        if not callable(prior) and not isinstance(prior, Distribution):
            raise checks.InputError(f"prior must be a distribution or a function, but {prior!r} was given")
        self.modules_used = nn.ModuleList(modules_of(*filter(callable, (prior, likelihood, posterior))))
        # In a tuple, so that modules are not registered a second time.
        self._functions = (prior, likelihood, posterior)
        with evaluating(self.model, self.guide), forked_rng(torch.device("cpu")):
            self.latent_shape, self.data_shape = self._shapes(x)

    def model(self, x: Tensor) -> Tensor:
        """Sample ``z`` from the prior and observe ``x``, of shape ``(B, *data_shape)``."""
        check_data(x, self.data_shape)
        pyro.module("vae", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self._prior())  # (B, *latent_shape)
            return pyro.sample("x", self._likelihood(z), obs=x)  # (B, *data_shape)

    def guide(self, x: Tensor) -> Tensor:
        """Sample ``z`` of shape ``(B, *latent_shape)`` from the posterior given ``x`` of shape ``(B, *data_shape)``."""
        check_data(x, self.data_shape)
        pyro.module("vae", self)
        with pyro.plate("data", len(x)):
            return pyro.sample("z", self._posterior(x))  # (B, *latent_shape)

    def __deepcopy__(self, memo: dict[int, Any]) -> FunctionalVAE:
        """Copy the modules too. Functions would go on using those of the original, so that these are refused."""
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        if {*modules_of(*filter(callable, twin._functions))} != {*twin.modules_used}:
            raise checks.InputError(
                "a program of functions cannot be copied, because the functions refer to the modules of the original: "
                "give modules or their methods instead, or copy the state_dict"
            )
        return twin

    def _prior(self) -> TorchDistribution:
        prior = self._functions[0]
        fn = to_pyro(prior if isinstance(prior, Distribution) else _distribution("prior", prior, ()))
        return fn.to_event(len(fn.batch_shape))

    def _likelihood(self, z: Tensor) -> TorchDistribution:
        batch = z.shape[: z.dim() - len(self.latent_shape)]
        fn = _conditional("likelihood", self._functions[1], z.flatten(0, len(batch) - 1))
        return fn if len(batch) == 1 else FlattenedBatch(fn, batch)

    def _posterior(self, x: Tensor) -> TorchDistribution:
        return _conditional("posterior", self._functions[2], x)

    def _shapes(self, x: Tensor | None) -> tuple[torch.Size, torch.Size]:
        """Return the shapes of the latents and of a datum, once the three functions fit."""
        prior = self._prior()
        self.latent_shape = prior.event_shape
        for count in _TRIED if x is None else [min(len(x), count) for count in _TRIED]:
            z = prior.expand((count,)).sample()
            likelihood = self._likelihood(z)
            data_shape = likelihood.event_shape
            given = likelihood.sample() if x is None else x[:count]
            if given.shape[1:] != data_shape:
                raise checks.InputError(
                    f"likelihood must return a distribution over data of shape {tuple(given.shape[1:])}, but given z "
                    f"of shape {tuple(z.shape)} it returns one over {tuple(data_shape)}"
                )
            dtype = parameter_dtype(self.guide)
            posterior = self._posterior(given if dtype is None else given.to(dtype))
            if posterior.event_shape != self.latent_shape:
                raise checks.InputError(
                    f"posterior and prior must be distributions over latents of one shape, but given x of shape "
                    f"{tuple(given.shape)} the posterior has {tuple(posterior.event_shape)} and the prior "
                    f"{tuple(self.latent_shape)}"
                )
        return self.latent_shape, data_shape


def _conditional(name: str, function: Conditional, given: Tensor) -> TorchDistribution:
    """Call a likelihood or posterior with ``(N, ...)``, and return its distribution, of batch shape ``(N,)``."""
    fn = to_pyro(_distribution(name, function, (given,)))
    if fn.batch_shape[:1] != (len(given),):
        is_event = (fn.batch_shape + fn.event_shape)[:1] == (len(given),)
        raise checks.InputError(
            f"{name} must return a distribution of batch shape ({len(given)}, ...) given {len(given)} data, but "
            f"returns {type(fn).__name__} of batch shape {tuple(fn.batch_shape)} and event shape "
            f"{tuple(fn.event_shape)}"
            + (": leave the first dimension out of to_event or Independent" if is_event else "")
        )
    return fn.to_event(len(fn.batch_shape) - 1)


def _distribution(name: str, function: Conditional, arguments: tuple[Tensor, ...]) -> Distribution:
    try:
        found = function(*arguments)
    except Exception as error:  # a network may raise anything
        of = f" given a tensor of shape {tuple(arguments[0].shape)}" if arguments else ""
        raise checks.InputError(f"{name} cannot be called{of}: {checks.reason(error)}") from error
    return found if isinstance(found, Distribution) else _refuse(name, found)


def _refuse(name: str, found: Any) -> NoReturn:
    """Refuse what is no distribution, and say how to make one of it."""
    what = f"a {type(found).__name__}"
    remedy = ""
    if isinstance(found, Tensor):
        what = f"a tensor of shape {tuple(found.shape)}"
        if name == "likelihood" and bool(((found >= 0) & (found <= 1)).all()):
            remedy = ", such as Bernoulli(probs) if these are probabilities, or Normal(mean, sigma) of means"
        elif name == "likelihood":
            remedy = ", such as Bernoulli(logits=logits), or Normal(mean, sigma) of means with a sigma of your choice"
    elif isinstance(found, tuple | list) and len(found) == 2 and name == "posterior":
        remedy = ", such as Normal(mean, (0.5 * log_variance).exp()) of mean and log-variance"
    raise checks.InputError(f"{name} must return a distribution of torch or Pyro{remedy}, but returned {what}")
