"""Base class of objectives, and the log weights of samples that they are computed from."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer import ELBO
from pyro.infer.enum import get_importance_trace
from pyro.infer.util import is_validation_enabled
from pyro.poutine import Trace
from pyro.util import check_if_enumerated
from torch import Tensor

from pyrovae import checks
from pyrovae.execution import check_sites, latents_of, observed_of
from pyrovae.programs import Arguments, PyroFunction

__all__ = ["Objective", "Weights", "scaled_log_prob", "weights_of"]


class Objective(ELBO):
    """Base class of pyrovae's objectives; a subclass defines ``losses``.

    All K samples of all B data of a batch are drawn and weighted in one run of the programs, in a plate of samples to
    the left of the data plate.

    Args:
        num_particles: number K of samples per datum.
        vectorize_particles: True to draw them in one run, False for K runs, for programs that do not broadcast.
    """

    needs_rsample: bool = True
    """True if samples must be reparametrised, because gradients flow through them."""

    warms_up: bool = True
    """True if the weight of the KL grows at the start of training by default; False if a posterior cannot collapse."""

    def __init__(self, num_particles: int = 1, vectorize_particles: bool = True) -> None:
        checks.integer("num_particles", num_particles)
        in_one = vectorize_particles and num_particles > 1
        super().__init__(num_particles=num_particles, vectorize_particles=in_one, max_plate_nesting=2 if in_one else 1)

    @abstractmethod
    def losses(self, model: PyroFunction, guide: PyroFunction, arguments: Arguments) -> tuple[Tensor, Tensor]:
        """Return the loss on a batch in nats, and the scalar to differentiate (a surrogate).

        Args:
            model: program of p(x, z).
            guide: program of q(z|x).
            arguments: their arguments, x of shape ``(B, *data_shape)`` first.
        """

    def loss(self, model: PyroFunction, guide: PyroFunction, *arguments: Tensor) -> float:
        """Return the loss on a batch, in nats."""
        with torch.no_grad():
            return float(self.losses(model, guide, arguments)[0].detach())

    def differentiable_loss(self, model: PyroFunction, guide: PyroFunction, *arguments: Tensor) -> Tensor:
        """Return the scalar to differentiate, whose value may differ from the loss."""
        return self.losses(model, guide, arguments)[1]

    def loss_and_grads(self, model: PyroFunction, guide: PyroFunction, *arguments: Tensor) -> float:
        """Return the loss on a batch, in nats, and add its gradients to the parameters."""
        loss, surrogate = self.losses(model, guide, arguments)
        surrogate.backward()
        return float(loss.detach())

    def _get_trace(self, model: PyroFunction, guide: PyroFunction, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        traces = get_importance_trace("flat", self.max_plate_nesting, model, guide, args, kwargs)
        self._check(traces[1])
        return traces

    def _check(self, guide_trace: Trace) -> None:
        for name in latents_of(guide_trace):
            site = guide_trace.nodes[name]
            if self.needs_rsample and not site["fn"].has_rsample:
                raise checks.InputError(
                    f"objective {type(self).__name__} needs a guide whose samples are reparametrised, "
                    f"but those of site {name!r} are not"
                )
        if is_validation_enabled():
            check_if_enumerated(guide_trace)


class Weights(NamedTuple):
    """Log-probabilities of K samples of B data, each ``(K, B)``, in nats, with the KL scaled by beta.

    Attributes:
        log_likelihood: log p(x|z), minus the log-probability of sites that the guide observes, such as factors.
        log_prior: log p(z).
        log_posterior: log q(z|x).
        beta: scale of the KL, which is contained in ``log_prior`` and ``log_posterior``.
        plate_scale: factor of each datum's bound: the number of data that one datum of a subsampled plate stands for; 1
            without subsampling.
    """

    log_likelihood: Tensor
    log_prior: Tensor
    log_posterior: Tensor
    beta: Tensor | float
    plate_scale: float

    @property
    def log_weight(self) -> Tensor:
        """log p(x, z) - log q(z|x), ``(K, B)``."""
        return self.log_likelihood + self.log_prior - self.log_posterior


def scaled_log_prob(site: dict[str, Any]) -> Tensor:
    r"""Return a site's log-probability for each sample and datum, with its mask and scale, but not that of the plate.

    A subsampled plate scales its sites by the ratio of all data to those of the batch. This factor belongs outside of
    :math:`\log \sum_k w_k`, but the scale of a tempered site inside, so the two are separated here.

    Args:
        site: a node of a trace with computed log-probabilities.
    """
    return scale_and_mask(site["unscaled_log_prob"], scale=site["scale"] / _plate_scale(site), mask=site["mask"])


def _plate_scale(site: dict[str, Any]) -> float:
    factor = 1.0
    for frame in site["cond_indep_stack"]:
        factor *= (frame.full_size or frame.size) / frame.size
    return factor


def weights_of(traces: list[tuple[Trace, Trace]]) -> Weights:
    """Collect the weights of all samples, from one pair of traces with a plate of samples or from one pair each."""
    rows = []
    for model_trace, guide_trace in traces:
        check_sites(model_trace, guide_trace)
        latents = latents_of(guide_trace)
        # A site that the guide observes, such as a factor with a classifier's loss, is a separate term as in Pyro's
        # ELBOs: it has its full gradient, even if an estimator omits the score of the latents.
        added = (scaled_log_prob(guide_trace.nodes[name]) for name in observed_of(guide_trace))
        observed = (scaled_log_prob(model_trace.nodes[name]) for name in observed_of(model_trace))
        sums = (
            sum(observed, torch.zeros(())) - sum(added, torch.zeros(())),
            sum((scaled_log_prob(model_trace.nodes[name]) for name in latents), torch.zeros(())),
            sum((scaled_log_prob(guide_trace.nodes[name]) for name in latents), torch.zeros(())),
        )
        shape = torch.broadcast_shapes(*(term.shape for term in sums))
        rows.append([term.expand(shape).reshape(-1, shape[-1]) for term in sums])  # (K, B) or (1, B) each
        site = guide_trace.nodes[latents[0]]
    log_likelihood, log_prior, log_posterior = (torch.cat(parts) for parts in zip(*rows, strict=True))
    return Weights(log_likelihood, log_prior, log_posterior, site["scale"] / _plate_scale(site), _plate_scale(site))
