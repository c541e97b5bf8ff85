"""``Resemblance``, a test whether log p(x) of real data is as hard to estimate as that of simulated data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pyrovae.evaluation.likelihood.result import LogMarginal
from pyrovae.reprs import json_number

__all__ = ["Resemblance", "resemblance"]

_SIGNIFICANT = 0.01
_FEWEST = 8  # data of each kind


@dataclass(frozen=True)
class Resemblance:
    """A comparison of how hard real and simulated data are for one estimator.

    Attributes:
        measure: what is compared: k̂ of importance weights, or the variance of the log weights of annealed chains.
        real: its median over the real data.
        simulated: its median over the simulated data.
        p_value: probability of a difference as large as theirs if the two do not differ (Mann & Whitney, 1947).
    """

    measure: str
    real: float
    simulated: float
    p_value: float

    @property
    def differs(self) -> bool:
        """True if the two differ significantly, at 1 %."""
        return self.p_value < _SIGNIFICANT

    @property
    def sentence(self) -> str:
        """A sentence on the difference and its consequence for a bound on simulated data."""
        figures = f"{self.measure} has the median {self.real:.2g}, and {self.simulated:.2g} on the simulated data"
        if not self.differs:
            return f"On the real data {figures}: no difference in difficulty is seen (p = {self.p_value:.2g})."
        harder = self.real > self.simulated
        so = "the gap on simulated data says too little of them" if harder else "their own gap should be smaller"
        return f"The real data are {'harder' if harder else 'easier'} than the simulated ones: {figures}; {so}."

    def summary(self) -> dict[str, Any]:
        """Return the figures and the sentence."""
        return {
            "measure": self.measure,
            "real": json_number(self.real),
            "simulated": json_number(self.simulated),
            "p_value": json_number(self.p_value),
            "sentence": self.sentence,
        }


def resemblance(real: LogMarginal, simulated: LogMarginal) -> Resemblance | None:
    r"""Test whether real data are as hard as simulated ones, from the weights of the same estimator on both.

    The measure is k̂ for importance samples, and :math:`\log(K / \mathrm{ESS})`, the variance of log-normal weights, for
    annealed chains. None if there are fewer than eight data of one kind for which it is known.

    Args:
        real: result on real data.
        simulated: result of the same estimator on simulated data, such as ``estimate`` of a :class:`Sandwich`.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> x = torch.eye(4).repeat(3, 1)
        >>> results = [log_marginal(vae.model, vae.guide, x, Annealed(10)) for _ in range(2)]
        >>> resemblance(*results).measure
        'the variance of the log weights of chains'
    """
    from scipy.stats import mannwhitneyu

    annealed = bool((~simulated.acceptance.isnan()).all())
    measure = "the variance of the log weights of chains" if annealed else "k̂"

    def hardness(result: LogMarginal) -> Tensor:
        found = (result.num_samples / result.ess).log() if annealed else result.pareto_k
        return found[~found.isnan()].cpu()

    of_real, of_simulated = hardness(real), hardness(simulated)
    if min(len(of_real), len(of_simulated)) < _FEWEST:
        return None
    p_value = float(mannwhitneyu(of_real.numpy(), of_simulated.numpy()).pvalue)
    return Resemblance(measure, of_real.median().item(), of_simulated.median().item(), p_value)
