"""Measure what is told of healthy models: small VAEs of several kinds, over seeds.

A setting that is in the file already is not measured again. ``--page`` prints the table of docs/training.md.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits

import pyrovae as pv
from pyrovae.evaluation.health import findings


@dataclass(frozen=True)
class Setting:
    data: Callable[[], pv.DataSet]
    prior: Callable[[int], pv.Prior]
    likelihood: Any
    epochs: int = 40


def settings() -> dict[str, Setting]:
    """Return the settings by name."""

    def counts() -> pv.DataSet:
        return pv.DataSet(load_digits().data.astype(np.float32))

    def table() -> pv.DataSet:
        values = load_breast_cancer().data
        return pv.DataSet(((values - values.mean(0)) / values.std(0)).astype(np.float32))

    threshold, grey = (partial(pv.Digits, binarization=kind) for kind in ("threshold", "none"))
    return {
        "digits, threshold, Bernoulli": Setting(threshold, pv.StandardNormal, pv.Bernoulli),
        "digits, threshold, Bernoulli, GaussianMixture of 5": Setting(
            threshold, partial(pv.GaussianMixture, num_components=5), pv.Bernoulli
        ),
        "digits, threshold, Bernoulli, VampPrior of 20": Setting(
            threshold, partial(pv.VampPrior, num_components=20), pv.Bernoulli
        ),
        "digits, dynamic, Bernoulli": Setting(pv.Digits, pv.StandardNormal, pv.Bernoulli),
        "digits, grey, DiscretizedLogistic": Setting(
            grey, pv.StandardNormal, partial(pv.DiscretizedLogistic, levels=17)
        ),
        "counts, NegativeBinomial": Setting(counts, pv.StandardNormal, pv.NegativeBinomial),
        "table, Gaussian": Setting(table, pv.StandardNormal, pv.Gaussian),
    }


def told(setting: Setting, seed: int) -> dict[str, str]:
    """Train a model for some seconds, and return what is told of it and of its curves, by kind."""
    data = setting.data()
    torch.manual_seed(seed)
    network = partial(pv.MLP, hidden_features=(32,))
    vae = pv.VAE(
        setting.prior(2),
        setting.likelihood(data.data_shape, 2, network=network),
        pv.DiagonalNormal(data.data_shape, 2, network=network),
    )
    vae.initialize(data.train[:])
    history = pv.fit(
        vae.model,
        vae.guide,
        data,
        epochs=setting.epochs,
        batch_size=256,
        optimizer=partial(torch.optim.Adam, lr=1e-2),
        scheduler=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=setting.epochs),
        progress=False,
    )
    return {**findings(vae.model, vae.guide, data.validation[:]), **history.findings()}


def page(results: list[dict[str, Any]]) -> str:
    """Return the table, a line a setting."""
    lines = ["| setting, 2 latents | runs | of which something is told |", "|---|---|---|"]
    for row in results:
        kinds = Counter(kind for found in row["told"] for kind in found)
        some = sum(1 for found in row["told"] if found)
        which = "" if not kinds else f" ({', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))})"
        lines.append(f"| {row['setting']} | {len(row['told'])} | {some}{which} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path("docs/health.json"))
    parser.add_argument("--page", action="store_true", help="print the table of what is in the file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else []
    if not options.page:
        known = {row["setting"] for row in results}
        for name, setting in settings().items():
            if name not in known:
                found = [told(setting, seed) for seed in range(options.seeds)]
                results.append({"setting": name, "told": found, "date": datetime.date.today().isoformat()})
                options.out.write_text(json.dumps(results), encoding="utf-8")
                print(name, found, flush=True)
    print(page(results))


if __name__ == "__main__":
    main()
