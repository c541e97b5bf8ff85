"""Take for an anomaly what a VAE of some classes explains badly, by four scores.

"Variational Autoencoders" (2018) takes a new datum whose reconstruction error exceeds a threshold for an anomaly. Here
the threshold is a quantile of the validation images' scores, which nothing but normal images decides, and beside the
reconstruction error stand the ELBO, the importance-weighted log p(x), and the likelihood regret (Xiao et al., 2020,
arXiv:2003.02977). Some digits are normal, all other digits anomalies: these are pictures of the same kind, which is
harder than telling digits from clothes. ``python scripts/examples/anomaly_detection.py --data.root DIR`` writes
``roc.png``, ``scores.png``, ``images.png`` and ``results.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyro
from jsonargparse.typing import PositiveInt

from pyrovae import MNIST, VAE, Bernoulli, DiagonalNormal, StandardNormal, checks, figures, fit, progress
from pyrovae.cli import script
from pyrovae.data import of_classes, or_digits
from pyrovae.evaluation import anomaly_scores, separation
from pyrovae.files import write_text
from pyrovae.runs import DataFactory


def main(
    data: DataFactory = MNIST,
    normal: tuple[int, ...] = (0, 1, 3, 4, 7),
    latent_dim: int = 20,
    epochs: int = 10,
    quantile: float = 0.95,
    num_data: PositiveInt = 1000,
    num_samples: PositiveInt = 200,
    refinement_steps: PositiveInt = 100,
    seed: int = 0,
    out: str = "runs/anomaly_detection",
) -> None:
    """Train a VAE on some classes and let four scores tell test images of the other classes from those.

    Args:
        data: the data set, with labels.
        normal: the classes to train on.
        latent_dim: number of latents.
        epochs: passes over the training images of these classes.
        quantile: share of the validation images that the threshold of each score lets pass.
        num_data: test images of these classes to score, and as many of the others.
        num_samples: importance samples for each.
        refinement_steps: of the guide of each, for the likelihood regret.
        seed: of weights, batches and noise.
        out: folder of the pictures and the figures.
    """
    pyro.set_rng_seed(checks.seed(seed))
    checks.number("quantile", quantile, 0.0, 1.0)
    whole = or_digits(data, labelled=True)
    anomalous = [label for label in whole.train.labels.unique().tolist() if label >= 0 and label not in normal]
    if not normal or not anomalous:
        raise checks.InputError(f"normal must be some of the classes and not all, but {tuple(normal)} were given")
    known = of_classes(whole, normal)
    others = of_classes(whole, anomalous)
    shape = whole.data_shape
    vae = VAE(StandardNormal(latent_dim), Bernoulli(shape, latent_dim), DiagonalNormal(shape, latent_dim))
    vae.initialize(known.train[:])
    fit(vae.model, vae.guide, known, epochs=epochs)

    x = {
        "validation": known.validation[:num_data],
        "normal": known.test[:num_data],
        "others": others.test[:num_data],
    }
    scores = {}
    for part, images in x.items():
        progress.note(f"scoring {len(images):,} images ({part})")
        scores[part] = anomaly_scores(vae.model, vae.guide, images, num_samples, refinement_steps=refinement_steps)
    separations, results = {}, {}
    print(f"{'score':22} {'AUROC':>6} {'95 % interval':>16} {'false alarms':>13} {'caught':>7}")
    for name in scores["normal"]:
        inside, outside = scores["normal"][name], scores["others"][name]
        found = separations[name] = separation(inside, outside)
        threshold = scores["validation"][name].quantile(quantile).item()
        alarms, caught = ((part > threshold).double().mean().item() for part in (inside, outside))
        results[name] = {
            "auroc": found.auroc,
            "interval": [found.low, found.high],
            "threshold": threshold,
            "false_alarms": alarms,
            "caught": caught,
        }
        interval = f"[{found.low:.3f}, {found.high:.3f}]"
        print(f"{name:22} {found.auroc:6.3f} {interval:>16} {alarms:13.1%} {caught:7.1%}")
    Path(out).mkdir(parents=True, exist_ok=True)
    write_text(f"{out}/results.json", json.dumps(results, indent=1))
    figures.save(figures.roc_curves(separations), f"{out}/roc.png")

    best = max(results, key=lambda name: results[name]["auroc"])
    threshold = results[best]["threshold"]
    inside, outside = scores["normal"][best], scores["others"][best]
    figures.save(figures.score_histogram(inside, outside, threshold, best), f"{out}/scores.png")
    rows = {
        "normal, the lowest scores": x["normal"][inside.argsort()[:10]],
        "normal, refused: the highest": x["normal"][inside.argsort(descending=True)[:10]],
        "anomalies, caught: the highest": x["others"][outside.argsort(descending=True)[:10]],
        "anomalies, missed: the lowest": x["others"][outside.argsort()[:10]],
    }
    figures.save(figures.labelled_rows(rows, f"On both sides of the threshold of {best}"), f"{out}/images.png")


if __name__ == "__main__":
    sys.exit(script(main))
