"""Compare variants of annealing at equal decoder runs: how far their estimates are below exact values or long runs.

``python scripts/benchmarks/annealing.py --root DIR`` trains small VAEs, writes ``docs/annealing.json`` and the table
of ``docs/performance.md`` from it. Results that exist are not measured again.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from pathlib import Path

import page_section
import torch
from annealing_settings import SETTINGS, Setting
from annealing_variants import Variant
from jsonargparse.typing import PositiveInt
from torch import Tensor

from pyrovae import checks
from pyrovae.cli import script
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.files import write_text

VARIANTS: dict[str, Variant] = {
    "as before": Variant(),
    "refined by 3 rounds": Variant(num_rounds=3),
    "refined by 3 rounds, guide kept": Variant(num_rounds=3, keep_guide=True),
    "resampled (SMC)": Variant(resampled=True),
    "temperatures spaced": Variant(spaced=True),
    "refined, resampled": Variant(num_rounds=3, resampled=True),
    "refined, temperatures spaced": Variant(num_rounds=3, spaced=True),
    "refined by Adam, 50 steps": Variant(adam_steps=50),
    "step sizes tuned at 25 temperatures": Variant(coarse=True),
    "4 leapfrogs": Variant(num_leapfrogs=4),
    "8 chains": Variant(num_chains=8),
    "from the prior": Variant(start="prior"),
}
LONG = Variant(num_rounds=6), Variant()


def main(
    root: str,
    folder: str = "runs/annealing",
    out: str = "docs/annealing.json",
    page: str = "docs/performance.md",
    names: list[str] | None = None,
    variants: list[str] | None = None,
    num_data: PositiveInt = 10,
    budget: PositiveInt = 4000,
    long: PositiveInt = 20_000,
    seed: int = 0,
) -> None:
    """Compare variants of annealing at equal decoder runs.

    Args:
        root: folder that holds MNIST.
        folder: folder of the trained weights.
        out: file of the results.
        page: page whose table is written from them.
        names: some of the settings; all if not given.
        variants: some of the variants; all if not given.
        num_data: number of data of each setting.
        budget: decoder runs for each datum.
        long: decoder runs for each datum of the long runs.
        seed: seed of the chains.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    for name in names or ():
        checks.choice("names", name, SETTINGS)
    for variant in variants or ():
        checks.choice("variants", variant, VARIANTS)
    recipe = {"num_data": num_data, "budget": budget, "seed": seed}
    results = json.loads(Path(out).read_text(encoding="utf-8")) if Path(out).exists() else {}
    if results.get("recipe") != recipe:
        results = {"recipe": recipe, "settings": {}}
    settings = {name: SETTINGS[name](root, Path(folder), num_data) for name in names or SETTINGS}
    for variant in variants or VARIANTS:
        for name, setting in settings.items():
            kept = results["settings"].setdefault(name, {"reference": None, "kind": "", "gaps": {}})
            if kept["reference"] is None:
                kept["reference"], kept["kind"] = reference(setting, long, seed)
            if variant not in kept["gaps"]:
                kept["gaps"][variant] = gap(setting, VARIANTS[variant], torch.tensor(kept["reference"]), budget, seed)
                print(name, variant, kept["gaps"][variant], flush=True)
                write_text(out, json.dumps(results, indent=1, allow_nan=False) + "\n")
    page_section.write(page, "annealing", f"\n{table(results)}\n")


def reference(setting: Setting, long: int, seed: int) -> tuple[list[float], str]:
    """Return log p(x) of each datum, exactly or by a long run from the refined start, and what it is."""
    if setting.log_prob is not None:
        return setting.log_prob.tolist(), "exact"
    refined, plain = (estimated(setting, variant, long, seed + 1)[0] for variant in LONG)
    error = (refined - plain).std().item() / math.sqrt(len(plain))
    return (
        refined.tolist(),
        f"{long:,} runs; as many, not refined, are {(refined - plain).mean():.3f} ± {error:.3f} below",
    )


def gap(setting: Setting, variant: Variant, exact: Tensor, budget: int, seed: int) -> dict[str, float]:
    """Return the mean shortfall of a variant with its error over data, its root mean square, and the decoder runs."""
    log_prob, runs = estimated(setting, variant, budget, seed)
    short = exact - log_prob
    rms = short.square().mean().sqrt().item()
    return {"gap": short.mean().item(), "error": short.std().item() / math.sqrt(len(short)), "rms": rms, "runs": runs}


def estimated(setting: Setting, variant: Variant, budget: int, seed: int) -> tuple[Tensor, float]:
    torch.manual_seed(seed)
    return variant.log_prob(BatchedPrograms(setting.model, setting.guide, (setting.x,)), budget)


def table(results: dict) -> str:
    """Return the gaps in Markdown, a row for each variant, with the medians of the ratios to the first."""
    settings = {name: results["settings"][name] for name in SETTINGS if name in results["settings"]}
    heads = [*settings, "median ratio of gaps", "of root mean squares"]
    lines = [["", *heads], ["---"] * (len(heads) + 1)]
    base = next(iter(VARIANTS))
    for name in VARIANTS:
        found = [(kept["gaps"].get(name), kept["gaps"].get(base)) for kept in settings.values()]
        pairs = [(one, first) for one, first in found if one is not None and first is not None]
        if pairs:
            cells = ["" if one is None else f"{one['gap']:.4f} ± {one['error']:.4f}" for one, _ in found]
            ratios = [[abs(one[key] / first[key]) for one, first in pairs] for key in ("gap", "rms")]
            lines.append([name, *cells, *(f"{statistics.median(ratio):.2f}" for ratio in ratios)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    sys.exit(script(main))
