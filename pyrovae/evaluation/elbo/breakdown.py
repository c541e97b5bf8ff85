"""Breakdown of log p(x) into the ELBO's terms and the guide's inference gaps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae import checks, html
from pyrovae.evaluation.calibration import Calibration, calibration
from pyrovae.evaluation.elbo.aggregate_posterior import Estimate
from pyrovae.evaluation.elbo.inference_gap import Refinement, refine
from pyrovae.evaluation.elbo.rate_distortion import RateDistortion, rate_distortion
from pyrovae.evaluation.health import findings
from pyrovae.evaluation.likelihood.annealed import Annealed
from pyrovae.evaluation.likelihood.annealing_target import AnnealingTarget
from pyrovae.evaluation.likelihood.estimator import Estimator
from pyrovae.evaluation.likelihood.importance import Importance
from pyrovae.evaluation.likelihood.log_marginal import log_marginal
from pyrovae.evaluation.likelihood.result import LogMarginal
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.execution.enumerated import sum_over_discrete
from pyrovae.missing import same_values
from pyrovae.programs import Arguments, Batch, PyroFunction, arguments_of
from pyrovae.reprs import json_number, short_repr

if TYPE_CHECKING:
    import pandas

__all__ = ["Diagnosis", "diagnose"]


@dataclass(frozen=True)
class Diagnosis:
    r"""A breakdown of log p(x) into inference gaps, distortion and rate; as a string, it is a table.

    .. math::
        \log p(x) - \text{approximation gap} - \text{amortization gap} = \mathrm{ELBO}
        = -\text{distortion} - \text{rate}, \qquad \text{rate} = I(x; z) + \mathrm{KL}(q(z) \| p(z))

    Attributes:
        rate_distortion: rate and distortion, and the parts of the rate.
        refinement: ELBO with the guide refined for each datum; None if unknown.
        evidence: estimates of log p(x).
        unknown: the reason why there is no refinement; None if there is one.
        health: what is wrong with the model, in sentences by kind; see :func:`check_health`.
        calibration: ranks of the true latents of simulated data among draws of the guide; None if unknown.
        uncalibrated: the reason why there is no calibration; None if there is one.
    """

    rate_distortion: RateDistortion = field(repr=False)
    refinement: Refinement | None = field(repr=False)
    evidence: LogMarginal = field(repr=False)
    unknown: str | None = None
    health: dict[str, str] = field(default_factory=dict, repr=False)
    calibration: Calibration | None = field(default=None, repr=False)
    uncalibrated: str | None = None

    def __repr__(self) -> str:
        counts = [active for active in self.rate_distortion.active.values() if active.numel() > 0]
        return short_repr(
            self,
            num_data=len(self.rate_distortion.rate),
            **{name: figure.value for name, figure in self.figures.items()},
            active_units=sum(int(active.sum()) for active in counts) if counts else None,
            unknown=self.unknown,
        )

    def per_datum(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the quantities of each datum and their Monte Carlo errors, by name, ``(N,)`` each, in nats."""
        found = self.rate_distortion
        marginal = self.evidence.log_prob, self.evidence.standard_error
        elbo = found.elbo, found.elbo_error
        figures = {"log_prob": marginal, "inference_gap": _difference(marginal, elbo)}
        if self.refinement is not None:
            refined = self.refinement.refined_elbo, self.refinement.refined_elbo_error
            figures["approximation_gap"] = _difference(marginal, refined)
            figures["refined_elbo"] = refined
            figures["amortization_gap"] = _difference(refined, elbo)
        figures["elbo"] = elbo
        figures["distortion"] = found.distortion, found.distortion_error
        figures["rate"] = found.rate, found.rate_error
        return figures

    @property
    def figures(self) -> dict[str, Estimate]:
        """The known means over the set with their Monte Carlo errors, by name."""
        known = {
            name: Estimate(values.mean().item(), errors.square().sum().sqrt().item() / len(errors))
            for name, (values, errors) in self.per_datum().items()
        }
        for name in ("mutual_information", "marginal_kl"):
            figure = getattr(self.rate_distortion, name)
            if figure is not None:
                known[name] = figure
        return known

    @property
    def notes(self) -> list[str]:
        """Remarks about the results, in sentences."""
        found, figures = self.rate_distortion, self.figures
        sentences = [f"log p(x): {self.evidence.verdict}"]
        gap = figures.get("approximation_gap", figures["inference_gap"])
        if gap.value < (-2 * gap.error if math.isfinite(gap.error) else 0.0):
            sentences.append("A gap is negative: log p(x) is estimated too small, by as much or more.")
        if self.unknown is not None:
            sentences.append(f"The two gaps are not told apart: {self.unknown}.")
        if found.saturated:
            sentences.append(
                "The mutual information is within a tenth of its largest possible value, log N = "
                f"{found.max_mutual_information:.2f} for N = {len(found.rate)} data: with more data it grows, and the "
                "marginal KL falls."
            )
        if found.unknown is not None:
            which = "The marginal KL is" if found.mutual_information is not None else "What the rate is made of is"
            sentences.append(f"{which} unknown: {found.unknown}.")
        if self.calibration is not None:
            sentences.append(self.calibration.sentence)
        elif self.uncalibrated is not None:
            sentences.append(f"Whether the posterior is calibrated is unknown: {self.uncalibrated}.")
        return sentences

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        table = self.to_dataframe()
        cells = [
            [_LABELS[name].strip(), *(_rounded(value, digits) for value, digits in zip(row, (2, 4, 2), strict=True))]
            for name, *row in table.itertuples()
        ]
        head = ["nats per datum", "mean", "Monte Carlo error", "standard error over data"]
        title = f"Breakdown of log p(x), {len(self.rate_distortion.rate)} data"
        plot = html.staircase(self._steps(), "nats per datum")
        return html.card(title, plot, html.table(head, cells), html.sentences(self.notes))

    def _steps(self) -> list[tuple[str, float, float]]:
        """Return -log p(x) with the guide's gaps, and distortion with the rate, as bars that end at -ELBO."""
        value = {name: figure.value for name, figure in self.figures.items()}
        gaps = ["inference_gap"] if self.refinement is None else ["approximation_gap", "amortization_gap"]
        rates = ["mutual_information", "marginal_kl"] if "marginal_kl" in value else ["rate"]
        steps = [("−log p(x)", 0.0, -value["log_prob"])]
        for name in gaps:
            steps.append((f"+ {_LABELS[name].strip()}", steps[-1][2], steps[-1][2] + value[name]))
        steps += [("= −ELBO", 0.0, -value["elbo"]), ("distortion", 0.0, value["distortion"])]
        for name in rates:
            steps.append((f"+ {_LABELS[name].strip()}", steps[-1][2], steps[-1][2] + value[name]))
        return steps

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a table with a row for each known quantity of :attr:`figures`, in nats per datum.

        Its columns are the mean, its Monte Carlo error, and its standard error over the data, which is NaN for the
        parts of the rate.
        """
        import pandas

        each = self.per_datum()
        rows = {
            name: (*self.figures[name], _sampling_error(each[name][0]) if name in each else math.nan)
            for name in _LABELS
            if name in self.figures
        }
        columns = ["mean", "monte_carlo_error", "standard_error"]
        return pandas.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("quantity")

    def table(self) -> str:
        """Return the results as text: means in nats per datum, Monte Carlo errors, standard errors over the data."""
        each, figures = self.per_datum(), self.figures
        lines = [f"{'nats per datum':24} {'':>9} {'Monte Carlo':>12} {'over data':>10}"]
        for name, label in _LABELS.items():
            if name == "inference_gap" and self.refinement is not None:
                continue
            if name not in figures:
                lines.append(f"{label:24} {'unknown':>9}")
                continue
            value, error = figures[name]
            line = f"{label:24} {round(value, 2) + 0.0:9.2f} {_rounded(error, 4):>12}"
            if name in each:
                line += f" {_rounded(_sampling_error(each[name][0]), 2):>10}"
            elif name == "mutual_information":
                line += f"  at most {self.rate_distortion.max_mutual_information:.2f}"
            lines.append(line)
        for site, active in self.rate_distortion.active.items():
            label = "active units" if len(self.rate_distortion.active) == 1 else f"active units of {site}"
            lines.append(f"{label:24} {int(active.sum()):>9} of {active.numel()}")
        return "\n".join(lines)

    def summary(self) -> dict[str, Any]:
        """Return the results, in nats per datum, as plain numbers; None for unknown values."""
        each, figures = self.per_datum(), self.figures
        found: dict[str, Any] = {"num_data": len(self.rate_distortion.rate)}
        for name in [*_LABELS, "refined_elbo"]:
            value, error = figures.get(name, (None, None))
            over = _sampling_error(each[name][0]) if name in each else None
            found[name] = json_number(value)
            found[f"{name}_mc_error"] = json_number(error)
            found[f"{name}_standard_error"] = json_number(over)
        found["largest_mutual_information"] = self.rate_distortion.max_mutual_information
        counts = {site: [int(active.sum()), active.numel()] for site, active in self.rate_distortion.active.items()}
        sums = [sum(count) for count in zip(*counts.values(), strict=True)]
        found["active_units"], found["num_units"] = sums or (None, None)
        found["active_units_of"] = {
            site: {"active": active, "total": total} for site, (active, total) in counts.items()
        }
        found["method"] = self.evidence.method
        found["calibration"] = None if self.calibration is None else self.calibration.summary()
        found["notes"] = self.notes
        found["health"] = self.health
        return found


_LABELS = {
    "log_prob": "log p(x)",
    "inference_gap": "  gap of the guide",
    "approximation_gap": "  approximation gap",
    "amortization_gap": "  amortization gap",
    "elbo": "ELBO",
    "distortion": "  distortion",
    "rate": "  rate",
    "mutual_information": "    mutual information",
    "marginal_kl": "    marginal KL",
}


def _difference(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return first[0] - second[0], torch.hypot(first[1], second[1])


def _sampling_error(values: Tensor) -> float:
    return values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _rounded(error: float, digits: int) -> str:
    return f"{error:.{digits}f}" if math.isfinite(error) else "unknown"


def diagnose(
    model: PyroFunction,
    guide: PyroFunction,
    x: Batch,
    evidence: LogMarginal | None = None,
    *,
    num_samples: int = 100,
    refinement_steps: int = 200,
    full_covariance: bool = False,
    estimator: Estimator | None = None,
    num_simulated: int = 500,
    chunk_size: int | None = None,
    progress: bool = True,
) -> Diagnosis:
    """Break down log p(x) into the guide's two gaps, the distortion, and the two parts of the rate.

    See :func:`rate_distortion` for rate, distortion, mutual information, marginal KL and active units (Alemi et al.,
    2018, arXiv:1711.00464), and :func:`refine` for the gaps (Cremer et al., 2018, arXiv:1801.03558). Quantities
    that are not available for a program are left out: the two separate gaps if a latent is discrete, and the two parts
    of the rate if the guide cannot score codes of other data.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        x: data, ``(N, *data_shape)``, or the tuple ``(x, y)`` for programs that are called with labels.
        evidence: earlier estimates of log p(x) of these data. They are lower bounds, and so is the approximation gap.
        num_samples: number of samples for each datum and ELBO, at least 2.
        refinement_steps: number of steps in which the guide is refined; 0 for no refinement.
        full_covariance: True to refine to any covariance.
        estimator: estimator of log p(x) if ``evidence`` is not given; by default ``Annealed()``, or ``Importance()`` if
            a latent cannot be annealed.
        num_simulated: number of data to simulate for :func:`calibration`, the ranks of true latents among draws of the
            guide; 0 for none.
        chunk_size: number of latents to run the model on at a time, which bounds the memory. Chosen by the program's
            size if not given, and on a GPU by its free memory.
        progress: whether to show progress bars.

    Raises:
        ValueError: if an option is invalid, or the programs do not match or have no density.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> short = Annealed(num_temperatures=10)
        >>> found = diagnose(vae.model, vae.guide, torch.eye(4), refinement_steps=20, estimator=short)
        >>> sorted(found.figures)
        ['amortization_gap', 'approximation_gap', 'distortion', 'elbo', 'inference_gap', 'log_prob', 'marginal_kl',
         'mutual_information', 'rate', 'refined_elbo']
        >>> print(found.table().splitlines()[-1])
        active units                     ... of 2
    """
    checks.integer("num_samples", num_samples, minimum=2)
    checks.integer("refinement_steps", refinement_steps, minimum=0)
    checks.integer("num_simulated", num_simulated, minimum=0)
    arguments = arguments_of(x, model, guide)
    if evidence is not None and not same_values(evidence.x, arguments[0]):
        raise checks.InputError("evidence must be of the data x, but is of other data")
    batches: list[Batch] = list(zip(*(part.split(100) for part in arguments), strict=True))
    found = rate_distortion(model, guide, x, num_samples, chunk_size=chunk_size, progress=progress)
    refinement, unknown, annealable = None, *_obstacle(model, guide, arguments)
    if estimator is None:
        estimator = Annealed() if annealable else Importance()
    elif isinstance(estimator, Annealed) and not annealable:
        raise checks.InputError(f"estimator must not be Annealed, because {unknown}")
    if refinement_steps == 0:
        unknown = unknown or "there was no step of refinement"
    elif unknown is None:
        refinement = refine(
            model,
            guide,
            batches,
            refinement_steps,
            num_samples,
            full_covariance=full_covariance,
            chunk_size=chunk_size,
            progress=progress,
        )
    if evidence is None:
        evidence = log_marginal(model, guide, batches, estimator, num_draws=0, chunk_size=chunk_size, progress=progress)
    health = findings(model, guide, arguments, chunk_size=chunk_size, known=found)
    ranks, uncalibrated = None, None
    if num_simulated > 0:
        try:
            ranks = calibration(model, guide, x, num_simulated=num_simulated, chunk_size=chunk_size)
        except checks.InputError as error:  # such as a model whose data cannot be simulated
            uncalibrated = checks.reason(error)
    return Diagnosis(found, refinement, evidence, unknown, health, ranks, uncalibrated)


def _obstacle(model: PyroFunction, guide: PyroFunction, arguments: Arguments) -> tuple[str | None, bool]:
    """Return the reason why the latents cannot be refined, or None, and whether they can be annealed."""
    some = tuple(part[:1] for part in arguments)
    programs = BatchedPrograms(model, guide, some)
    discrete = [name for name in programs.sites if programs.encoded.nodes[name]["fn"].support.is_discrete]
    try:
        transforms = AnnealingTarget(sum_over_discrete(programs)).transforms
    except checks.InputError as error:
        return checks.reason(error), False
    if discrete:
        return f"latents must be continuous to be refined, but {discrete[0]!r} is discrete", True
    angles = [name for name, transform in transforms.items() if not transform.has_density]
    return (f"an angle, as {angles[0]!r} is, cannot be refined" if angles else None), True
