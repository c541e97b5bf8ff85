"""Compare the estimated errors of estimates of log p(x) with their true errors, by quadrature.

``python scripts/benchmarks/error_calibration.py --root DIR`` measures the small VAEs of ``error_calibration_truth.py``,
writes the results of each estimator to ``docs/error_calibration/MODEL_ESTIMATOR.json``, and makes the picture and the
section of ``docs/likelihood.md`` from these files. Existing results are not measured again.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import error_calibration_page as page_of
import error_calibration_truth as truth
import page_section
import torch
from jsonargparse.typing import PositiveFloat, PositiveInt
from torch import Tensor

import pyrovae as pv
from pyrovae import checks
from pyrovae.cli import script
from pyrovae.evaluation.likelihood.concatenation import concatenate
from pyrovae.evaluation.likelihood.result import STATISTICS
from pyrovae.files import write_text

FIXED: dict[str, pv.Estimator] = {
    "importance-256": pv.Importance(256),
    "importance-5000": pv.Importance(5000),
    "narrowed-5000": pv.Importance(5000, proposal_scale=0.6),
    "annealed": pv.Annealed(num_temperatures=50, num_chains=8),
    "annealed-refined": pv.Annealed(num_temperatures=50, num_chains=8, refinement_rounds=3),
}
"""Estimators, by name; the narrowed guide is for comparisons alone."""
WRITTEN = ("set_size", "target", "max_seconds", "seed", "training_seed")  # of a recipe, in its command
EASY, OTHER = (100, 0.02), (40, 0.05)  # data of a set and target of adaptive estimates, of Bernoulli and of the others


def main(
    root: str | None = None,
    folder: str = "runs/error_calibration",
    out: str = "docs/error_calibration",
    page: str = "docs/likelihood.md",
    names: Sequence[str] | None = None,
    estimators: Sequence[str] | None = None,
    num_sets: PositiveInt = 20,
    num_adaptive: PositiveInt = 6,
    set_size: PositiveInt | None = None,
    target: PositiveFloat | None = None,
    max_seconds: PositiveFloat | None = None,
    seed: int = 0,
    training_seed: int = 0,
    again: bool = False,
    only_page: bool = False,
) -> None:
    """Compare the estimated errors of each estimator with the true ones, on random sets of test data.

    Args:
        root: folder that holds MNIST; without it, the model of MNIST is left out.
        folder: folder of the trained weights and the exact values.
        out: folder for the results.
        page: page whose section is written from them.
        names: some of the models; all if not given.
        estimators: some of importance-256, importance-5000, annealed, annealed-refined, comparison and adaptive; all
            if not given.
        num_sets: sets of each model; 200 for a run to publish.
        num_adaptive: sets of adaptive estimates, which take longest; 50 for a run to publish.
        set_size: data of a set, in place of 100 for Bernoulli likelihoods and 40 for others.
        target: target of the adaptive estimates, nats; if not given, 0.02 for Bernoulli likelihoods, 0.05 for others.
        max_seconds: time limit of each adaptive estimate, which then may miss its target; no limit if not given.
        seed: seed of sets and samples.
        training_seed: seed of the models.
        again: repeat measurements whose results exist.
        only_page: measure nothing, and write picture and page from existing results.
    """
    checks.seed(seed)
    checks.seed(training_seed, "training_seed")
    for name in names or ():
        checks.choice("names", name, truth.CASES)
    for name in estimators or ():
        checks.choice("estimators", name, page_of.ESTIMATORS)
    if set_size is not None and not 2 <= set_size <= truth.NUM_IMAGES:
        raise checks.InputError(f"set_size must be 2 to {truth.NUM_IMAGES}, but {set_size} was given")
    page_section.surroundings(page, page_of.NAME)
    torch.set_num_threads(1)
    if not only_page:
        for model in truth.models(Path(folder), None if root is None else Path(root), names, training_seed):
            size, wanted = EASY if truth.CASES[model.name].kind == "binary" else OTHER
            bench = Bench(model, set_size or size, seed)
            for name in page_of.ESTIMATORS if estimators is None else estimators:
                recipe = {
                    "set_size": bench.set_size,
                    "num_sets": num_adaptive if name == "adaptive" else num_sets,
                    "target": (target or wanted) if name == "adaptive" else None,
                    "seed": seed,
                    "training_seed": training_seed,
                    "weights": digest(*(value.numpy().tobytes() for value in model.vae.state_dict().values())),
                }
                if name == "adaptive" and max_seconds is not None:
                    recipe["max_seconds"] = max_seconds
                keep(bench, name, recipe, Path(out) / f"{page_of.stem(model.name)}_{name}.json", again)
    page_of.write(out, page)


@dataclass
class Bench:
    """Estimate one model's log p(x), and compare with the truth.

    Attributes:
        model: with exact log p(x).
        set_size: data of a set.
        seed: seed of sets and samples.
        drawn: estimates of all data, by estimator and repetition.
    """

    model: truth.Model
    set_size: int
    seed: int
    drawn: dict[tuple[str, int], pv.LogMarginal] = field(default_factory=dict)

    def chosen(self, i: int) -> tuple[int, Tensor]:
        """Return the i-th set: of which repetition, and which data. The sets of one repetition share no data."""
        repetition, place = divmod(i, len(self.model.x) // self.set_size)
        self.sow("sets", repetition)
        order = torch.randperm(len(self.model.x))
        return repetition, order[place * self.set_size : (place + 1) * self.set_size].sort().values

    def sow(self, *of: object) -> int:
        """Set and return the seed of what is named."""
        seed = zlib.crc32(repr((self.seed, self.model.name, *of)).encode())
        torch.manual_seed(seed)
        return seed

    def fixed(self, name: str, i: int) -> pv.LogMarginal:
        """Return the i-th set's part of an estimate of all data."""
        repetition, index = self.chosen(i)
        if (name, repetition) not in self.drawn:
            self.sow(name, repetition)
            vae = self.model.vae
            self.drawn[name, repetition] = pv.log_marginal(vae.model, vae.guide, self.model.x, FIXED[name], num_draws=0)
        return subset(self.drawn[name, repetition], index)

    def judge(self, result: pv.LogMarginal, index: Tensor) -> dict[str, float | bool]:
        """Return what an estimate of a set tells, and what is true, in nats."""
        exact = self.model.log_prob[index].mean().item()
        low, high = result.interval
        return {
            "error": exact + result.nll,
            "bias": result.mean_bias + (0.0 if result.check is None else result.check.missing),
            "mc_error": result.monte_carlo_error,
            "covers": low <= -exact <= high,
            "bounded": low > float("-inf"),
            "evaluations": result.num_evaluations.double().mean().item(),
        }

    def measure(
        self, name: str, i: int, target: float | None = None, max_seconds: float | None = None
    ) -> dict[str, float | bool]:
        """Measure an estimator on the i-th set."""
        if name == "comparison":
            return self.compared(i)
        _, index = self.chosen(i)
        if name != "adaptive":
            return self.judge(self.fixed(name, i), index)
        vae = self.model.vae
        self.sow(name, i)
        estimator = pv.Adaptive(0.02 if target is None else target, max_seconds)
        result = pv.log_marginal(vae.model, vae.guide, self.model.x[index], estimator, num_draws=0)
        assert result.adaptive is not None
        reached = {"reached": result.adaptive.reached, "within_target": result.adaptive.within_target}
        return self.judge(result, index) | reached

    def compared(self, i: int) -> dict[str, float | bool]:
        """Compare a decoder with itself, by its guide and by that of 0.6 times the scale."""
        both = {name: self.fixed(name, i) for name in ("importance-5000", "narrowed-5000")}
        *_, worse = pv.compare(both).rows
        return {
            "difference": both["narrowed-5000"].nll - both["importance-5000"].nll,
            "difference_error": worse.difference_error,
            "bias": both["narrowed-5000"].mean_bias,
            "apart": bool(worse.distinguishable),
        }


def subset(result: pv.LogMarginal, index: Tensor) -> pv.LogMarginal:
    """Return an estimate of some of the data, whose biases are told as if there were no others.

    Args:
        result: of all data, without the paths of chains.
        index: of those that are wanted, ``(n,)``.
    """
    curve = result.convergence
    assert curve is not None
    columns = {name: getattr(curve, name)[:, index] for name in ("bound", "standard_error", "jackknife", "halved")}
    check = result.check  # of all data, or none
    if check is not None:
        own = {name: getattr(check, name)[index] for name in ("log_prob", "difference", "standard_error")}
        check = replace(check, index=torch.arange(len(index)), **own)
    part = replace(
        result,
        **{name: getattr(result, name)[index] for name in (*STATISTICS, "log_likelihood", "x")},
        tail=result.tail[:, index],
        draws={site: z[index] for site, z in result.draws.items()},
        convergence=replace(curve, unseen=curve.unseen[index], **columns),
        paths=None,
        check=check,
        prior_found=None if result.prior_found is None else result.prior_found[index],
    )
    return concatenate([part])


def keep(bench: Bench, name: str, recipe: dict[str, Any], path: Path, again: bool) -> None:
    """Measure an estimator on all sets and write what came out, unless it is there already."""
    code = digest(*(file.read_bytes() for file in sorted(Path(pv.evaluation.__file__).parent.rglob("*.py"))))
    if path.exists() and not again and (known := json.loads(path.read_text(encoding="utf-8")))["recipe"] == recipe:
        changed = "" if known["code"] == code else ", by code that has changed since: --again measures anew"
        print(f"{path.name} is there{changed}", flush=True)
        return
    start = time.perf_counter()
    rows = [bench.measure(name, i, recipe["target"], recipe.get("max_seconds")) for i in range(recipe["num_sets"])]
    minutes = (time.perf_counter() - start) / 60
    record = {
        "model": bench.model.name,
        "estimator": name,
        "command": command(bench.model.name, name, recipe),
        "recipe": recipe,
        "date": date.today().isoformat(),
        "minutes": round(minutes, 2),
        "versions": {package: version(package) for package in ("pyrovae", "torch", "pyro-ppl")},
        "code": code,
        "sets": {key: [rounded(row[key]) for row in rows] for key in rows[0]},
    }
    write_text(path, json.dumps(record, allow_nan=False).replace('], "', '],\n "') + "\n")
    print(f"{path.name}: {minutes:.1f} minutes", flush=True)


def command(model: str, estimator: str, recipe: dict[str, Any]) -> str:
    """Return the command that makes one file."""
    words = ["python", "scripts/benchmarks/error_calibration.py"]
    words += ["--names", json.dumps([model]), "--estimators", f"[{estimator}]"]
    words += ["--root", "DIR"] if model.startswith("MNIST") else []
    options = {"num_adaptive" if estimator == "adaptive" else "num_sets": recipe["num_sets"]}
    options |= {key: recipe[key] for key in WRITTEN if recipe.get(key) is not None}
    return shlex.join([*words, *(word for key, value in options.items() for word in (f"--{key}", str(value)))])


def rounded(value: float | bool) -> float | bool:
    """Return a number with five digits."""
    return value if isinstance(value, bool) else float(f"{value:.5g}")


def digest(*parts: bytes) -> str:
    """Return a short name of some bytes."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


if __name__ == "__main__":
    sys.exit(script(main))
