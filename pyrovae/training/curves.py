"""Checks of the curves of a training: functions of its epochs that return a sentence, or None if nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from pyrovae.evaluation.health import COLLAPSED

if TYPE_CHECKING:
    from pyrovae.training.history import Epoch

__all__ = ["AFTER", "DURING", "CurveCheck", "findings"]

_OVERFIT = 0.5  # nats per datum, and 1 % of the bound
_CLIMBS = 0.2  # nats per datum over the last tenth of the epochs, and 1 % of the bound
_RECENT = 3  # epochs at least, the best of which is taken for the last, because one may be poor by chance
_FEW = 10  # epochs, before which a climb is no news
_SPIKE = 10  # times the median change between epochs, and 5 % of the bound
_DEAD = 3  # successive epochs without information in the codes, from which a running training has collapsed
_WARMUP = "a weight of the KL that grows over more epochs (kl_warmup), or a smaller learning rate, may help"

CurveCheck: TypeAlias = "Callable[[Sequence[Epoch]], str | None]"
"""Returns a sentence with the numbers seen and what to try, or None if nothing is wrong."""


def findings(epochs: Sequence[Epoch], checks: Sequence[CurveCheck]) -> dict[str, str]:
    """Return what is wrong, in sentences, by the name of the check.

    Args:
        epochs: the epochs of a training.
        checks: the checks, such as those of a training that has ended (``AFTER``) or that is under way (``DURING``).
    """
    if len(epochs) < 2:
        return {}
    found = ((check.__name__, check(epochs)) for check in checks)
    return {kind: sentence for kind, sentence in found if sentence is not None}


def collapse(epochs: Sequence[Epoch]) -> str | None:
    """Tell that the best epoch has no KL."""
    best = _best(epochs)
    if best.validation_kl >= COLLAPSED or _is_deterministic(epochs):
        return None
    return (
        f"The posterior has collapsed: the KL on validation data is {max(best.validation_kl, 0.0):.2f} nats per datum "
        f"(epoch {best.epoch}), so that the model uses no latent; {_WARMUP}."
    )


def collapse_so_far(epochs: Sequence[Epoch]) -> str | None:
    """Tell that the last epochs have no KL, while training goes on."""
    if (
        len(epochs) < _DEAD
        or any(row.validation_kl >= COLLAPSED for row in epochs[-_DEAD:])
        or _is_deterministic(epochs)
    ):
        return None
    kl = max(0.0, *(row.validation_kl for row in epochs[-_DEAD:]))
    return (
        f"The posterior is collapsed at epoch {epochs[-1].epoch}: the KL on validation data was at most {kl:.2f} nats "
        f"per datum in the last {_DEAD} epochs, so that the model uses no latent yet; if it stays so, {_WARMUP}."
    )


def overfitting(epochs: Sequence[Epoch]) -> str | None:
    """Tell that the bound falls on validation data while it rises on training data."""
    best, last = _best(epochs), _best(epochs[-max(_RECENT, len(epochs) // 10) :])
    lost, learned = best.validation_elbo - last.validation_elbo, epochs[-1].train_elbo - best.train_elbo
    if not (lost > max(_OVERFIT, 0.01 * abs(best.validation_elbo)) and learned > 0):
        return None
    return (
        f"The model overfits: since epoch {best.epoch} the training ELBO rose by {learned:.2f} nats per datum and the "
        f"validation ELBO fell by {lost:.2f}; the weights of epoch {best.epoch}, a smaller network, dropout or weight "
        "decay generalise better (patience stops in time)."
    )


def climbing(epochs: Sequence[Epoch]) -> str | None:
    """Tell that the bound still rises at the end."""
    best, last = _best(epochs), epochs[-1]
    if len(epochs) < _FEW:
        return None
    before = epochs[-max(2, 1 + len(epochs) // 10)]
    gain = best.validation_elbo - max(row.validation_elbo for row in epochs if row.epoch <= before.epoch)
    rests = last.epoch - best.epoch > len(epochs) // 20
    if rests or gain < max(_CLIMBS, 0.01 * abs(best.validation_elbo)):
        return None
    return (
        f"The validation ELBO still climbs, by {gain:.2f} nats per datum over the last {last.epoch - before.epoch} "
        "epochs: more epochs would improve the model."
    )


def spikes(epochs: Sequence[Epoch]) -> str | None:
    """Tell that the training bound dropped suddenly."""
    elbo = [row.train_elbo for row in epochs]
    late = range(max(1, len(elbo) // 4), len(elbo))  # the first epochs move most
    steps = sorted(abs(elbo[i] - elbo[i - 1]) for i in late)
    if len(steps) < 8:
        return None
    usual = steps[len(steps) // 2]
    falls = {epochs[i].epoch: elbo[i - 1] - elbo[i] for i in late}
    found = [epoch for epoch, fall in falls.items() if fall > max(_SPIKE * usual, 0.05 * abs(elbo[-1]))]
    if not found:
        return None
    worst = max(found, key=lambda epoch: falls[epoch])
    times = "once" if len(found) == 1 else f"{len(found)} times"
    return (
        f"The training ELBO dropped suddenly {times}, by {falls[worst]:.2f} nats per datum in epoch {worst}: a smaller "
        "learning rate or max_norm, a bound on the gradients, may help."
    )


AFTER: tuple[CurveCheck, ...] = (collapse, overfitting, climbing, spikes)
"""Checks of a training that has ended."""

DURING: tuple[CurveCheck, ...] = (collapse_so_far, overfitting, spikes)
"""Checks of a training under way, of its epochs after the KL warm-up."""


def _best(epochs: Sequence[Epoch]) -> Epoch:
    return max(epochs, key=lambda row: row.validation_elbo)


def _is_deterministic(epochs: Sequence[Epoch]) -> bool:
    """Tell whether the encoder is deterministic, which has no KL."""
    return all(row.train_kl == 0 for row in epochs)
