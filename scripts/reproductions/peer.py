"""Evaluate the same weights by ``log_marginal``, by hand in float64, by Pyro and by pythae: the same number comes out.

``python scripts/reproductions/peer.py --root DIR`` takes some seven minutes of one core. It leaves ``peer.json`` and
``peer.csv``. pythae is left out where it is not installed.
"""

from __future__ import annotations

import copy
import math
import sys
from typing import Any

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from numpy_estimator import Array, ByHand
from peer_estimators import contenders, ours, shift
from setting import Options, Setting, iwae_networks
from typing_extensions import Unpack

from pyrovae import Importance, checks, progress
from pyrovae.cli import script
from pyrovae.evaluation import pareto_threshold

EPOCHS, LEARNING_RATE = 20, 1e-3
WATCHED = 10  # images of which an estimator's own samples are weighed by hand too


def main(
    num_data: PositiveInt = 100,
    num_samples: int = 5000,
    repetitions: int = 10,
    **options: Unpack[Options],
) -> None:
    """Train a VAE, and evaluate its weights by several estimators that share as little as can be.

    Args:
        num_data: number of test images, from the first.
        num_samples: number K of importance samples, at least two.
        repetitions: of every estimator, at least two, with fresh noise: their spread is its Monte Carlo error.
        options: options of every reproduction.
    """
    K, R = checks.integer("num_samples", num_samples, 2), checks.integer("repetitions", repetitions, 2)
    setting = Setting("peer", **options)
    setting.begin(num_data=num_data)
    words = [*setting.data(validation_size=1000), *iwae_networks(1), *setting.cosine(LEARNING_RATE, EPOCHS)]
    run = setting.train("vae", [*words, "--batch_size", "128"], EPOCHS)
    evaluated = setting.evaluate(run, Importance(K), num_data=num_data).result
    _, vae = run.load("best")
    x = evaluated.x[:num_data].float()  # it is kept in bytes
    reference = ByHand.read(run.folder / "weights.safetensors")
    torch.manual_seed(setting.seed)
    estimators = contenders(vae.eval(), reference, K, np.random.default_rng(setting.seed))

    estimates: dict[str, list[Array]] = {name: [] for name in estimators}
    for _ in progress.over(range(R), "estimating", "repetition"):  # in turn, from generators that go on
        for name, (estimate, _) in estimators.items():
            estimates[name].append(estimate(x))
    found = {name: np.stack(parts) for name, parts in estimates.items()}  # (R, N, 2) each
    rows = compared(found)
    for entry, (estimate, decoder) in zip(rows, estimators.values(), strict=True):
        if decoder is not None:
            entry["shift"] = float(np.abs(shift(estimate, decoder, reference, x[:WATCHED], K)).max())

    findings = agreements(rows)
    double = copy.deepcopy(vae).double()
    apart = shift(ours(double, K), double.likelihood, reference, x[:WATCHED].double(), K)
    most = float(np.abs(apart).max())
    told = f"log_marginal in float64 and the one by hand are within {most:.1e} nats on the same samples."
    findings.append((told, most < 1e-9))
    share = (evaluated.pareto_k > pareto_threshold(K)).double().mean().item()
    setting.keep("peer", record(rows, findings, len(x), K, R, share), {"vae": run})


def compared(found: dict[str, Array]) -> list[dict[str, Any]]:
    """Compare estimators' repetitions, ``(R, N, 2)``, with those of the first; errors are from their spread."""
    rows: list[dict[str, Any]] = []
    for name, part in found.items():
        R, N, _ = part.shape
        nll = -float(part[..., 0].mean())
        # Images are independent, so that the spread of each says more than that of the mean over them.
        spread = math.sqrt(part[..., 0].var(0, ddof=1).sum()) / N
        claimed = float(np.sqrt((part[..., 1] ** 2).sum(1)).mean()) / N
        row = {"estimator": name, "nll": nll, "error": spread / math.sqrt(R), "spread": spread}
        row |= {"claimed": None if math.isnan(claimed) else claimed, "shift": None}
        if rows:
            by, error = nll - rows[0]["nll"], math.hypot(spread, rows[0]["spread"]) / math.sqrt(R)
            row |= {"difference": by, "difference_error": error, "errors": by / error}
        rows.append(row)
    return rows


def agreements(rows: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    """Say of each row but the first whether it agrees with the first."""
    found = []
    for row in rows[1:]:
        by = f"by {row['difference']:+.4f} ± {row['difference_error']:.4f} nats"
        agrees = abs(row["errors"]) <= 3
        verb = "agree within three standard errors" if agrees else "do not agree"
        found.append((f"{row['estimator']}, and log_marginal {verb}: they differ {by}.", agrees))
    return found


def record(
    rows: list[dict[str, Any]], findings: list[tuple[str, bool]], N: int, K: int, R: int, share: float
) -> dict[str, Any]:
    """Return what is kept: how each was evaluated, the table, and whether they agree."""
    notes = [
        f"NLL in nats per image, of {N:,} test images, K = {K:,}, the mean of {R} repetitions with fresh noise. Errors "
        "are from the spread over repetitions, image by image; at one K all estimate the same expectation, the bias of "
        "a finite K included, so that nothing but noise may be between them.",
        f"Pareto k̂ is above its threshold for {100 * share:.0f} % of the images, for which the error that the weights "
        "themselves tell (by the delta method) is too small.",
        "On the same samples: how far the NLL is from that by hand in float64 of the very samples that the estimator "
        f"drew, at most, of {min(N, WATCHED)} images: its rounding, without noise.",
        "This command estimates again whenever it is given.",
    ]
    if not any("pythae" in row["estimator"] for row in rows):
        notes.append("pythae was not installed, and is left out.")
    return {
        "title": "The same weights by other estimators",
        "source": "No publication: the estimators of Pyro and pythae, and one written by hand with NumPy alone",
        "theirs": "the others",
        "protocol": [
            ("weights", "the same", "784-200-200-50, tanh; of the best validation ELBO of a short training"),
            ("test images", "the same", f"the first {N:,}, binarised once"),
            ("samples", f"{K:,} of the posterior, each its own", "likewise"),
            ("estimator", "logarithm of the mean weight, image by image", "the same"),
            (
                "precision",
                "float32 (Pyro, pythae), float64 (by hand)",
                "networks in float32, weights summed in float64",
            ),
            (
                "p(x given z)",
                "of logits (Pyro, by hand); of probabilities, logarithms cut at -100 (pythae)",
                "of logits",
            ),
        ],
        "deviations": [],
        "columns": [
            ("estimator", "", ""),
            ("nll", "NLL", ".3f"),
            ("error", "± samples", ".3f"),
            ("difference", "difference to ours", "+.3f"),
            ("difference_error", "±", ".3f"),
            ("errors", "in standard errors", "+.1f"),
            ("shift", "on the same samples", ".1e"),
            ("spread", "± of one repetition", ".3f"),
            ("claimed", "as its weights tell", ".3f"),
        ],
        "rows": rows,
        "notes": notes,
        "findings": findings,
    }


if __name__ == "__main__":
    sys.exit(script(main))
