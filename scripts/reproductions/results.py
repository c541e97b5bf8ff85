"""The figures of a reproduction's tables, how they are compared, and how they are to be read."""

from __future__ import annotations

import math

import torch

from pyrovae import checks
from pyrovae.evaluation import pareto_threshold, rate_distortion
from pyrovae.runs import Run, StoredEvaluation, first_data


def figures(evaluated: StoredEvaluation) -> dict[str, float]:
    """Return an evaluation's NLL with both of its errors, the ELBO, in nats per image, and the share of k̂ too large."""
    result = evaluated.result
    return {
        "nll": result.nll,
        "standard_error": result.sampling_error,
        "mc_error": result.monte_carlo_error,
        "doubtful": (result.pareto_k > pareto_threshold(result.num_samples)).double().mean().item(),
        "elbo": result.elbo.mean().item(),
    }


def columns_beside_annealing(num_samples: int, num_annealed: int) -> list[tuple[str, str, str]]:
    """Return the columns of :meth:`Setting.judge`, after those of the NLL itself."""
    return [
        ("standard_error", "± images", ".2f"),
        ("mc_error", "± samples", ".3f"),
        ("doubtful", "k̂ too large", ".0%"),
        ("elbo", "ELBO", ".2f"),
        ("annealed", f"by annealing, first {num_annealed:,}", ".2f"),
        ("gap", f"gap of IWAE-{num_samples} there", ".2f"),
        ("gap_error", "±", ".2f"),
        ("bias", "annealing's own bias", ".2f"),
        ("acceptance", "moves accepted", ".2f"),
    ]


def note_on_annealing(num_annealed: int, temperatures: int, num_samples: int) -> str:
    """Return how the figures of :meth:`Setting.judge` are to be read."""
    return (
        f"Annealing ({temperatures} temperatures, 16 chains) has the first {num_annealed:,} test images, whose NLL "
        f"may not be that of all. The gap is how far the NLL by IWAE-{num_samples} of the same images is above it, "
        "image by image. Annealing's NLL is too large as well, by about its own bias, which the spread of its chains "
        "tells. Moves accepted are a median over these images."
    )


def paired(first: StoredEvaluation, second: StoredEvaluation) -> tuple[float, float]:
    """Return by how much the NLL of the first is larger, with the standard error, on the images that both have."""
    count = min(len(first.result.log_prob), len(second.result.log_prob))
    if not torch.equal(first.result.x[:count], second.result.x[:count]):
        raise checks.InputError(
            f"runs must be evaluated on the same images to be compared, but {first.folder} and {second.folder} are not"
        )
    difference = second.result.log_prob[:count] - first.result.log_prob[:count]
    return difference.mean().item(), difference.std().item() / math.sqrt(count)


def ordering(
    claim: str, better: StoredEvaluation, worse: StoredEvaluation, published: float | None = None
) -> tuple[str, bool | None]:
    """Return a claim of which run is better, with by how much, and whether it holds: None within two standard errors.

    Args:
        claim: in words.
        better: by the claim.
        worse: by the claim.
        published: by how much, in nats.
    """
    gain, error = paired(worse, better)
    told = "" if published is None else f" (published {published:+.2f})"
    return f"{claim}: {gain:+.2f} ± {error:.2f} nats{told}.", gain > 0 if abs(gain) > 2 * error else None


def active_units(run: Run, num_data: int, weights: str = "last") -> dict[str, int]:
    """Count the latents whose posterior mean has a variance above 0.01 over test images, by site."""
    data, program = run.load(weights)  # type: ignore[arg-type]
    torch.manual_seed(0)
    x = first_data(program, data.test, num_data)
    found = rate_distortion(program.model, program.guide, x, 50, num_codes=1)
    return {site: int((variance > 0.01).sum()) for site, variance in sorted(found.variances.items())}
