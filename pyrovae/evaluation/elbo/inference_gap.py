"""The amortization gap: the ELBO of the guide, refined for each datum, less the ELBO of the guide as it is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from pyrovae import checks
from pyrovae.evaluation.likelihood.annealing_target import AnnealingTarget
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.execution.chunking import Chunks
from pyrovae.programs import Batch, PyroFunction, arguments_of
from pyrovae.reprs import short_repr
from pyrovae.tensors import is_data

__all__ = ["Refinement", "refine"]

_SAMPLES = 8  # of each datum in a step
_RATE = 0.2  # of the first step, in units of the guide's own coordinates
_EPSILON = 0.03  # of Adam, in nats: what is far smaller than it, such as rounding, is followed by no step to speak of
_RATE_BELOW = 0.03  # likewise, below the diagonal, of which there are n times as many


@dataclass(frozen=True)
class Refinement:
    r"""Hold the ELBO of a guide as it is and refined for each datum; all are float64 of shape ``(N,)``, in nats.

    Attributes:
        elbo: that of the guide as it is.
        elbo_error: its Monte Carlo error.
        refined_elbo: that of the refined guide: a bound of log p(x) too, from samples that it was not refined by.
        refined_elbo_error: its Monte Carlo error.
        amortization_gap: the difference of the two, from common noise.
        amortization_gap_error: its Monte Carlo error.
    """

    elbo: Tensor
    elbo_error: Tensor
    refined_elbo: Tensor
    refined_elbo_error: Tensor
    amortization_gap: Tensor
    amortization_gap_error: Tensor

    def __repr__(self) -> str:
        names = ("elbo", "refined_elbo", "amortization_gap")
        means = {name: getattr(self, name).mean().item() for name in names}
        return short_repr(self, num_data=len(self.elbo), **means)


def refine(
    model: PyroFunction,
    guide: PyroFunction,
    x: Batch | Iterable[Batch],
    num_steps: int = 200,
    num_samples: int = 100,
    *,
    full_covariance: bool = False,
    chunk_size: int | None = None,
) -> Refinement:
    r"""Maximise the ELBO of each datum over an affine change of the guide's own coordinates.

    Samples of the guide are made of noise u, normal ones by :math:`z = \mu(x) + \sigma(x) u`. Of each datum,

    .. math:: u' = a + e^b u, \qquad
        \log w' = \log w(u') + \log r(u') - \log r(u) + \textstyle\sum b ,

    and :math:`\mathrm{E} \log w'` is maximised over a and b, so that a diagonal normal guide becomes the best one for
    that datum. What it gains is the amortization gap; what then is left to log p(x), the approximation gap (Cremer et
    al., 2018, arXiv:1801.03558). The steps are Adam's, with fresh noise in each, along the path derivative where the
    noise is normal (Roeder et al., 2017, arXiv:1703.09194). Where other samples do not show that it helped, the guide
    stays as it is; those that are reported are fresh again.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(N, *data_shape)``, or the tuple ``(x, y)`` for programs that are called with labels, or a list or
            generator of such batches.
        num_steps: steps of refinement.
        num_samples: samples of each datum for the two ELBOs, at least 2.
        full_covariance: put a triangular matrix in the place of :math:`e^b`, so that a normal guide becomes the best
            one of any covariance.
        chunk_size: how many latents go through the model at a time, which bounds the memory; chosen by the program's
            size if not given, and on a GPU by its free memory.

    Raises:
        ValueError: if a latent site is discrete, or has no transform to all reals; if the programs do not match, or the
            guide draws what the prior does not.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> found = refine(vae.model, vae.guide, torch.ones(3, 4), num_steps=50)
        >>> bool((found.amortization_gap > -4 * found.amortization_gap_error).all())
        True
    """
    checks.integer("num_steps", num_steps)
    checks.integer("num_samples", num_samples, minimum=2)
    chunks = Chunks(chunk_size)

    def refined(*arguments: Tensor) -> tuple[Tensor, ...]:
        target = AnnealingTarget(BatchedPrograms(model, guide, arguments))
        for name in (name for name, transform in target.transforms.items() if not transform.has_density):
            raise checks.InputError(
                f"latents must have coordinates with a density to be refined, but {name!r} is an angle"
            )
        found = _refine(target, num_steps, num_samples, full_covariance, chunks.size)
        if bool((found[0] == -math.inf).any()):
            raise checks.InputError(
                "guide must sample where the prior has a density, or its ELBO is minus infinity, but it does not always"
            )
        return found

    parts: list[tuple[Tensor, ...]] = []
    for batch in [cast("Batch", x)] if is_data(x) else x:
        arguments = arguments_of(batch, model, guide)
        if len(arguments[0]) > 0:
            chunks.choose(model, arguments)
            parts += chunks.in_parts(refined, arguments, lambda size: min(250, size // _SAMPLES))
    if not parts:
        raise checks.InputError("x must hold at least one datum, but is empty")
    return Refinement(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _refine(
    target: AnnealingTarget, num_steps: int, num_samples: int, full_covariance: bool, chunk_size: int
) -> tuple[Tensor, ...]:
    """Return the fields of a :class:`Refinement` of one batch."""
    with target.running():
        change = _Change(target.draw(_SAMPLES)[0], full_covariance)
        optimizer = torch.optim.Adam(change.groups(), eps=_EPSILON)  # elementwise, so that data do not interact
        # Its rates fall to zero by half a cosine.
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
        for _ in range(num_steps):
            change.take_gradients(target, target.draw(_SAMPLES))
            optimizer.step()
            fall.step()
        gain = torch.sub(*_log_weights(target, change, num_samples, chunk_size)).mean(0)
        change.undo(~(gain > 0))  # a gain that is not a number is none
        refined, plain = _log_weights(target, change, num_samples, chunk_size)
    pairs = ((values.mean(0), values.std(0) / math.sqrt(num_samples)) for values in (plain, refined, refined - plain))
    return tuple(figure for pair in pairs for figure in pair)


def _log_weights(target: AnnealingTarget, change: _Change, num_samples: int, chunk_size: int) -> tuple[Tensor, Tensor]:
    """Draw log weights of the changed guide, and of the guide from the same noise, ``(K, B)`` each, float64."""
    found = []
    size = max(1, chunk_size // target.programs.count)
    for start in range(0, num_samples, size):
        u = target.draw(min(size, num_samples - start))  # (k, B, n)
        plain, changed = target.at(u), target.at(change(u))
        extra = target.log_start(change(u)) - plain.log_start + change.log_volume
        found.append(torch.stack((changed.log_weight.double() + extra, plain.log_weight.double())))
    refined, unrefined = torch.cat(found, 1)
    return refined, unrefined


class _Change:
    """Change the coordinates of B data by :math:`u' = a + L u`, L being diagonal, or lower triangular.

    Args:
        like: coordinates of the data, ``(B, n)``.
        full_covariance: whether L is triangular.
    """

    def __init__(self, like: Tensor, full_covariance: bool) -> None:
        self.shift = torch.zeros_like(like)  # a
        self.log_scale = torch.zeros_like(like)  # b, the logarithm of the diagonal of L
        self.below = like.new_zeros(*like.shape, like.shape[-1]) if full_covariance else None  # (B, n, n)

    @property
    def log_volume(self) -> Tensor:
        return self.log_scale.sum(-1)  # (B,)

    def __call__(self, u: Tensor) -> Tensor:
        changed = self.shift + self.log_scale.exp() * u  # (k, B, n)
        return changed if self.below is None else changed + torch.einsum("bij,kbj->kbi", self.below, u)

    def groups(self) -> list[dict[str, Any]]:
        """Return the parameters with their first learning rates, for an optimizer."""
        groups: list[dict[str, Any]] = [{"params": [self.shift, self.log_scale], "lr": _RATE}]
        return groups if self.below is None else [*groups, {"params": [self.below], "lr": _RATE_BELOW}]

    def take_gradients(self, target: AnnealingTarget, u: Tensor) -> None:
        """Set the parameters' gradients to those of minus the mean log weight."""
        _, of_weight, of_start = target.gradients(self(u))
        gradient = of_weight + of_start  # with respect to u', (k, B, n)
        entropy = torch.ones_like(self.log_scale)
        if target.is_noise:
            # Add the gradient of minus the changed guide's own log-density: the part of it that is left out, with
            # respect to the guide's parameters, has mean zero; if the guide is the posterior, what is left is zero.
            gradient, entropy = gradient + self._pulled(u), torch.zeros_like(entropy)
        self.shift.grad = -gradient.mean(0)
        self.log_scale.grad = -((gradient * u).mean(0) * self.log_scale.exp() + entropy)
        if self.below is not None:
            self.below.grad = -torch.einsum("kbi,kbj->bij", gradient / len(u), u).tril(-1)

    def _pulled(self, u: Tensor) -> Tensor:
        """Return what the transposed inverse of L makes of u."""
        if self.below is None:
            return u / self.log_scale.exp()
        L = torch.diag_embed(self.log_scale.exp()) + self.below
        return torch.linalg.solve_triangular(L.mT, u.movedim(0, -1), upper=True).movedim(-1, 0)

    def undo(self, which: Tensor) -> None:
        """Forget the change of some of the data, ``(B,)``."""
        for parameter in (self.shift, self.log_scale, self.below):
            if parameter is not None:
                parameter[which] = 0.0
