"""Encoder and decoder of a program as modules of tensors, without sampling or Pyro's state."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.distributions.support_bounds import is_point, unwrap
from pyrovae.execution import find_data_sites
from pyrovae.programs import parameter_dtype

__all__ = ["Decoder", "Encoder"]


class Encoder(nn.Module):
    """The encoder: a map from data to the parameters of q(z|x), each site given the means of those before it.

    For a site ``z``, outputs are ``z_mean`` and ``z_std``, the mean and the standard deviation of each component, and
    further parameters of the family (``z_scale_tril`` of a full covariance; ``z_logits``, ``z_loc`` and ``z_scale`` of
    a mixture). For a point there is only ``z_mean``. For directions, ``z_mean`` is the mean direction, of length 1, and
    there is ``z_concentration``. For a discrete site there is ``z_probs``, and later sites are given the most probable
    value. For a flow, whose mean has no formula, ``z_center`` is the mean of its normal base, mapped by the flow.

    Args:
        program: a module with ``model`` and ``guide``.
        example: arguments of the guide with at least two data: ``(x,)`` or ``(x, y)``.

    Attributes:
        outputs: names of the outputs.
        families: names of the distributions by site.

    Raises:
        ValueError: if a latent site has no mean.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> Encoder(vae, (torch.zeros(3, 4),)).outputs
        ['z_mean', 'z_std']
    """

    program: Any  # nn.Module has no attribute guide

    def __init__(self, program: nn.Module, example: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.program = program
        self.inputs = ["x", "y"][: len(example)]
        sites = self._sites(example)
        self.outputs = [key for name, fn in sites.items() for key in _parameters(name, fn)]
        self.families = {name: type(unwrap(fn)).__name__ for name, fn in sites.items()}

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors that :attr:`outputs` names, for ``(x,)`` or ``(x, y)``."""
        return tuple(value for name, fn in self._sites(arguments).items() for value in _parameters(name, fn).values())

    def _sites(self, arguments: tuple[Tensor, ...]) -> dict[str, Any]:
        with _RecordSites() as described:
            self.program.guide(*arguments)
        return described.sites


class Decoder(nn.Module):
    """The decoder: a map from codes to the mean of p(x|z).

    Its inputs are the latent sites on which the mean depends, given all sites: with several layers, the one next to the
    data.

    Args:
        program: a module with ``model`` and ``guide``.
        latents: at least two codes, by site name, each ``(B, *event_shape)``.
        data_shape: shape of one datum.
        labels: labels, ``(B,)``, for programs that require them.

    Attributes:
        inputs: names of the sites, then ``y`` if labels are given.

    Raises:
        ValueError: if a site has no mean.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> decoder = Decoder(vae, {"z": torch.zeros(3, 2)}, (4,))
        >>> decoder.inputs, decoder(torch.zeros(3, 2)).shape
        (['z'], torch.Size([3, 4]))
    """

    program: Any

    def __init__(
        self,
        program: nn.Module,
        latents: dict[str, Tensor],
        data_shape: tuple[int, ...],
        labels: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.program = program
        self.data_shape = tuple(data_shape)
        self.sites = list(latents)
        given = () if labels is None else (labels,)
        self.data_sites = find_data_sites(self.program.model, (self._zeros(next(iter(latents.values()))), *given))
        if self.data_sites.depends_on_x or self.data_sites.rest:
            raise checks.InputError(
                "program must give x a distribution that depends on nothing but latents and labels to be exported, but "
                f"that of its site {', '.join(map(repr, self.data_sites.entries))} depends on x"
            )
        self.sites = self._needed(latents, given)
        self.inputs = [*self.sites, *("y" for _ in given)]
        self.outputs = ["x_mean"]
        first = self._distributions((*(latents[name] for name in self.sites), *given))[0]
        self.family = type(unwrap(first)).__name__

    def forward(self, *arguments: Tensor) -> Tensor:
        """Return ``x_mean``, ``(B, *data_shape)``, for the tensors that :attr:`inputs` names."""
        means = dict(zip(self.data_sites.entries, map(_mean, self._distributions(arguments)), strict=True))
        if len(means) == 1:
            return next(iter(means.values())).reshape(-1, *self.data_shape)
        return self.data_sites.join(means, self._zeros(arguments[0]))

    def _zeros(self, z: Tensor) -> Tensor:
        return torch.zeros(
            len(z), *self.data_shape, dtype=parameter_dtype(self.program.model), device=z.device
        )  # torch's default if None

    def _distributions(self, arguments: tuple[Tensor, ...]) -> list[Any]:
        codes, labels = arguments[: len(self.sites)], arguments[len(self.sites) :]
        model = poutine.condition(self.program.model, dict(zip(self.sites, codes, strict=True)))
        with _RecordSites():
            traced = poutine.trace(model).get_trace(self._zeros(codes[0]), *labels)
        return [traced.nodes[name]["fn"] for name in self.data_sites.entries]

    def _needed(self, latents: dict[str, Tensor], labels: tuple[Tensor, ...]) -> list[str]:
        codes = [z.detach().requires_grad_(z.is_floating_point()) for z in latents.values()]
        with torch.enable_grad():
            mean = self(*codes, *labels)
        floats = [z for z in codes if z.requires_grad]
        gradients = torch.autograd.grad(mean.sum(), floats, allow_unused=True) if mean.requires_grad and floats else ()
        unused = {id(z) for z, gradient in zip(floats, gradients, strict=False) if gradient is None}
        return [name for name, z in zip(latents, codes, strict=True) if id(z) not in unused]


class _RecordSites(Messenger):
    """A handler that sets each latent site to its mean, keeps its distribution, and reads parameters directly."""

    def __init__(self) -> None:
        super().__init__()
        self.sites: dict[str, Any] = {}

    def _pyro_sample(self, msg: Message) -> None:
        if not msg["is_observed"] and not site_is_subsample(msg):
            name = str(msg["name"])
            try:
                self.sites[name], msg["value"] = msg["fn"], _center(msg["fn"])
            except NotImplementedError as error:
                raise checks.InputError(
                    f"program must have means to be exported, but its site {name!r} has a "
                    f"{type(unwrap(msg['fn'])).__name__}, which has none"
                ) from error
            msg["done"] = True

    def _pyro_param(self, msg: Message) -> None:
        # Pyro's store would keep tensors that exist only in a recording.
        name, *init = msg["args"]
        store = pyro.get_param_store()
        msg["value"] = store[name] if not init or name in store else init[0]() if callable(init[0]) else init[0]
        msg["done"] = msg["stop"] = True


def _mean(fn: Any) -> Tensor:
    """Return the mean of x; for classes, the most probable one."""
    base = unwrap(fn)
    return base.logits.argmax(-1) if isinstance(base, torch.distributions.Categorical) else fn.mean


def _center(fn: Any) -> Tensor:
    """Return the value of a latent on which other sites depend: its mean, or a value close to it."""
    base = unwrap(fn)
    if fn.support is constraints.sphere and hasattr(base, "loc"):
        return base.loc
    if fn.support.is_discrete:
        return fn.mode
    if isinstance(base, torch.distributions.TransformedDistribution):
        z = base.base_dist.mean
        for transform in base.transforms:
            z = transform(z)
        return z
    return fn.mean


def _parameters(name: str, fn: Any) -> dict[str, Tensor]:
    """Return the parameters of a latent site, by the name of each tensor."""
    base = unwrap(fn)
    center = _center(fn)
    if fn.support.is_discrete and hasattr(base, "probs"):
        return {f"{name}_probs": base.probs}
    if is_point(fn):
        return {f"{name}_mean": center}
    if isinstance(base, torch.distributions.TransformedDistribution):
        return {f"{name}_center": center}
    on_sphere = fn.support is constraints.sphere
    known = {"mean": center if on_sphere else base.mean} | ({} if on_sphere else {"std": base.stddev})
    for key, value in vars(base).items():
        is_new = isinstance(value, Tensor) and all(value is not other for other in known.values())
        if key in base.arg_constraints and is_new:
            known[key] = value
    return {f"{name}_{key}": value.to(center.dtype) for key, value in known.items()}
