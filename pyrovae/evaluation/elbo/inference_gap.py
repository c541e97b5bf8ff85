"""Amortization gap: the ELBO of the guide refined for each datum minus the ELBO of the guide itself."""

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
from pyrovae.programs import Batch, PyroFunction, arguments_of, count_data
from pyrovae.progress import bar as progress_bar
from pyrovae.reprs import short_repr
from pyrovae.tensors import is_data

__all__ = ["Refinement", "refine"]

# Adam's options are set by hand, for 200 steps.
_SAMPLES_PER_STEP = 8  # number of samples for each datum and step
_LEARNING_RATE = 0.2  # initial learning rate, in units of the guide's coordinates
_EPSILON = 0.03  # epsilon of Adam, in nats, so that far smaller gradients, such as rounding, cause only tiny steps
_LEARNING_RATE_BELOW = 0.03  # initial learning rate of elements below the diagonal, which are far more


@dataclass(frozen=True)
class Refinement:
    r"""ELBOs of a guide itself and refined for each datum; all are float64 of shape ``(N,)``, in nats.

    Attributes:
        elbo: ELBO of the guide itself.
        elbo_error: its Monte Carlo error.
        refined_elbo: ELBO of the refined guide, also a bound of log p(x), from samples that were not used to refine it.
        refined_elbo_error: its Monte Carlo error.
        amortization_gap: ``refined_elbo`` minus ``elbo``, from common noise.
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
    progress: bool = True,
) -> Refinement:
    r"""Maximise the ELBO of each datum over an affine map of the guide's coordinates.

    Samples of the guide are made from noise u; for a normal guide, :math:`z = \mu(x) + \sigma(x) u`. For each datum,

    .. math:: u' = a + e^b u, \qquad
        \log w' = \log w(u') + \log r(u') - \log r(u) + \textstyle\sum b ,

    and :math:`\mathrm{E} \log w'` is maximised over a and b, so that a diagonal normal guide becomes the best one for
    that datum. The gain is the amortization gap; the remaining distance to log p(x) is the approximation gap (Cremer
    et al., 2018, arXiv:1801.03558). The optimizer is Adam, with fresh noise in each step, along the path derivative if
    the noise is normal (Roeder et al., 2017, arXiv:1703.09194). The guide of a datum is not changed if a second set of
    samples shows no gain. The results are from a third set.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(N, *data_shape)``, or the tuple ``(x, y)`` for programs that are called with labels, or a list or
            generator of such batches.
        num_steps: number of steps of refinement.
        num_samples: number of samples for each datum and ELBO, at least 2.
        full_covariance: True to replace :math:`e^b` by a triangular matrix, so that a normal guide becomes the best
            one of any covariance.
        chunk_size: number of latents to run the model on at a time, which bounds the memory. Chosen by the program's
            size if not given, and on a GPU by its free memory.
        progress: whether to show a progress bar.

    Raises:
        ValueError: if a latent site is discrete, or has no transform to all reals; if the programs do not match, or the
            guide draws values that the prior does not.

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
    with progress_bar("refinement", count_data(x), "datum", hidden=not progress) as chunks.bar:
        for batch in [cast("Batch", x)] if is_data(x) else x:
            arguments = arguments_of(batch, model, guide)
            if len(arguments[0]) > 0:
                chunks.choose(model, arguments)
                parts += chunks.in_parts(refined, arguments, lambda size: min(250, size // _SAMPLES_PER_STEP))
    if not parts:
        raise checks.InputError("x must hold at least one datum, but is empty")
    return Refinement(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _refine(
    target: AnnealingTarget, num_steps: int, num_samples: int, full_covariance: bool, chunk_size: int
) -> tuple[Tensor, ...]:
    """Return the fields of a :class:`Refinement` of one batch."""
    with target.running():
        affine = _AffineMap(target.draw(_SAMPLES_PER_STEP)[0], full_covariance)
        optimizer = torch.optim.Adam(affine.groups(), eps=_EPSILON)  # elementwise, so that data do not interact
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)  # to zero
        for _ in range(num_steps):
            affine.set_gradients(target, target.draw(_SAMPLES_PER_STEP))
            optimizer.step()
            scheduler.step()
        gain = torch.sub(*_log_weights(target, affine, num_samples, chunk_size)).mean(0)
        affine.reset(~(gain > 0))  # including a gain that is NaN
        refined, plain = _log_weights(target, affine, num_samples, chunk_size)
    pairs = ((values.mean(0), values.std(0) / math.sqrt(num_samples)) for values in (plain, refined, refined - plain))
    return tuple(figure for pair in pairs for figure in pair)


def _log_weights(
    target: AnnealingTarget, affine: _AffineMap, num_samples: int, chunk_size: int
) -> tuple[Tensor, Tensor]:
    """Draw log weights of the refined guide and of the guide itself, from the same noise, float64 ``(K, B)`` each."""
    found = []
    size = max(1, chunk_size // target.programs.count)
    for start in range(0, num_samples, size):
        u = target.draw(min(size, num_samples - start))  # (k, B, n)
        plain, changed = target.evaluate(u), target.evaluate(affine(u))
        extra = target.log_start(affine(u)) - plain.log_start + affine.log_volume
        found.append(torch.stack((changed.log_weight.double() + extra, plain.log_weight.double())))
    refined, unrefined = torch.cat(found, 1)
    return refined, unrefined


class _AffineMap:
    """An affine map :math:`u' = a + L u` of the coordinates of each of B data, with diagonal or lower triangular L.

    Args:
        like: coordinates of the data, ``(B, n)``, for their shape and type.
        full_covariance: True if L is triangular.
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
        """Return the parameters with their initial learning rates, for an optimizer."""
        groups: list[dict[str, Any]] = [{"params": [self.shift, self.log_scale], "lr": _LEARNING_RATE}]
        return groups if self.below is None else [*groups, {"params": [self.below], "lr": _LEARNING_RATE_BELOW}]

    def set_gradients(self, target: AnnealingTarget, u: Tensor) -> None:
        """Set the gradients of the parameters to those of the negative mean log weight."""
        _, grad_weight, grad_start = target.gradients(self(u))
        gradient = grad_weight + grad_start  # with respect to u', (k, B, n)
        entropy = torch.ones_like(self.log_scale)
        if target.is_noise:
            # Add the gradient of minus the refined guide's log-density along the samples. The omitted part, with
            # respect to the guide's parameters, has mean zero; the rest is zero if the guide is the posterior.
            gradient, entropy = gradient + self._solve_transposed(u), torch.zeros_like(entropy)
        self.shift.grad = -gradient.mean(0)
        self.log_scale.grad = -((gradient * u).mean(0) * self.log_scale.exp() + entropy)
        if self.below is not None:
            self.below.grad = -torch.einsum("kbi,kbj->bij", gradient / len(u), u).tril(-1)

    def _solve_transposed(self, u: Tensor) -> Tensor:
        """Return the product of the transposed inverse of L and u."""
        if self.below is None:
            return u / self.log_scale.exp()
        L = torch.diag_embed(self.log_scale.exp()) + self.below
        return torch.linalg.solve_triangular(L.mT, u.movedim(0, -1), upper=True).movedim(-1, 0)

    def reset(self, which: Tensor) -> None:
        """Reset the maps of some of the data, ``(B,)``, to the identity."""
        for parameter in (self.shift, self.log_scale, self.below):
            if parameter is not None:
                parameter[which] = 0.0
