"""Judge VAEs of tables with missing values against scikit-learn's densities and imputers.

``python scripts/benchmarks/tables.py`` writes ``docs/tables/*.json``, a file a table, and from them a section of
``docs/tables.md``. What is in the files is not measured again, unless the code that measured it has changed.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import tables_page
import tables_vae
import torch
from jsonargparse.typing import PositiveInt
from numpy.typing import NDArray
from tables_contenders import DENSITIES, IMPUTERS, best_mixture, mixture
from tables_data import OF_STATSMODELS, PATTERNS, TABLES, Rows, Task, task

from pyrovae import checks
from pyrovae.cli import script
from pyrovae.files import write_text
from pyrovae.rng import forked_rng

SOURCES = "tables_data.py", "tables_contenders.py", "tables_vae.py"


def main(
    out: str = "docs/tables",
    page: str = "docs/tables.md",
    names: list[str] | None = None,
    seeds: PositiveInt = 5,
    steps: PositiveInt = 1500,
    only_page: bool = False,
) -> None:
    """Judge VAEs of tables with missing values against scikit-learn's densities and imputers.

    Args:
        out: folder of the results.
        page: page whose section is written from them.
        names: some of the tables; all if not given.
        seeds: number of seeds, each with its own split and gaps.
        steps: number of steps of a VAE's training.
        only_page: True to write the page, and measure nothing.
    """
    for name in names or ():
        checks.choice("names", name, TABLES)
    if not only_page:
        Path(out).mkdir(parents=True, exist_ok=True)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with forked_rng(torch.device("cpu")), pyro.validation_enabled(False):
                for name in names or installed():
                    measure(name, Path(out), seeds, steps)
        finally:
            torch.set_num_threads(threads)
    tables_page.write(page, Path(out))


def installed() -> list[str]:
    """Return the names of the tables that are there, and print which are not."""
    if find_spec("statsmodels") is not None:
        return list(TABLES)
    print(f"without statsmodels, its tables are left out: {', '.join(OF_STATSMODELS)}", file=sys.stderr)
    return [name for name in TABLES if name not in OF_STATSMODELS]


def measure(name: str, folder: Path, seeds: int, steps: int) -> None:
    """Measure what the file of a table lacks, and write it after each contender."""
    path = folder / f"{''.join(letter if letter.isalnum() else '-' for letter in name).strip('-')}.json"
    recipe = {"table": name, "steps": steps, "code": digest()}
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if kept.get("recipe") != recipe:
        kept = {"recipe": recipe, "results": []}
    table = TABLES[name]()
    known = {(row["pattern"], row["seed"], row["contender"]) for row in kept["results"]}
    for row in judged(table, seeds, steps, known):
        place = {"pattern", "seed", "contender"}
        others = [old for old in kept["results"] if any(old[key] != row[key] for key in place)]
        kept["results"] = [*others, row]
        kept |= {
            "command": f"python scripts/benchmarks/tables.py --names '[\"{name}\"]' --seeds {seeds} --steps {steps}",
            "rows": len(table.x),
            "columns": len(table.kinds),
            "kinds": {kind: table.kinds.count(kind) for kind in sorted(set(table.kinds))},
            "date": date.today().isoformat(),
            "versions": {package: version(package) for package in ("pyrovae", "torch", "scikit-learn")},
        }
        write_text(path, json.dumps(kept, indent=1, allow_nan=False) + "\n")
        print(name, row, flush=True)


def digest() -> str:
    """Return a digest of the code that measures, so that results of two versions are not mixed."""
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / name).read_bytes() for name in SOURCES)).hexdigest()[:16]


def judged(table: Rows, seeds: int, steps: int, known: set[tuple[str, int, str]]) -> Iterator[dict[str, Any]]:
    """Yield the results of each contender that are not known, a dictionary for each pattern and seed.

    VAEs of all patterns and seeds are trained together, and so measured again if one of them lacks.
    """
    cells = [(pattern, seed) for seed in range(seeds) for pattern in PATTERNS]
    for pattern, seed in cells:
        given = task(table, pattern, seed)
        for contender, rows in contenders(given, seed, {name for p, s, name in known if (p, s) == (pattern, seed)}):
            yield {"pattern": pattern, "seed": seed, "contender": contender, **rows}
    if all((*cell, "VAE") in known for cell in cells):
        return
    start = time.process_time()
    how = tables_vae.Training(steps=steps)
    outcomes = tables_vae.judge(table, [task(table, *cell) for cell in cells], how, seed=0)
    for (pattern, seed), outcome in zip(cells, outcomes, strict=True):
        given = task(table, pattern, seed)
        seconds, start = time.process_time() - start, time.process_time()
        yield {
            "pattern": pattern,
            "seed": seed,
            "contender": "VAE",
            "log_prob": float(outcome.log_prob.mean()),
            "mc_error": outcome.error,
            "reliable": outcome.reliable,
            **imputation(given, outcome.filled, outcome.draws),
            "chosen": outcome.names,
            "seconds": seconds,
        }


def contenders(given: Task, seed: int, known: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the results of each contender of scikit-learn that is not known."""
    train, validation, test = (given.observed(part) for part in ("train", "validation", "test"))
    for name, density in DENSITIES.items():
        if name not in known:
            start = time.process_time()
            chosen = best_mixture(density(train, validation, test, seed))
            log_prob = float((mixture(chosen, "test") + given.log_units("test")).mean())
            names = [scores.name for scores in chosen]
            yield name, {"log_prob": log_prob, "chosen": names, "seconds": time.process_time() - start}
    for name, make in IMPUTERS.items():
        if name not in known:
            start = time.process_time()
            found = make(train, validation, seed)
            fills = _as_codes(given, found.fill(test))
            draws = None
            if found.draw is not None:
                draws = np.stack([_as_codes(given, found.draw(test)) for _ in range(tables_vae.NUM_IMPUTATIONS)])
            yield name, {**imputation(given, fills, draws), "seconds": time.process_time() - start}


def _as_codes(given: Task, filled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return standardised rows with the codes of categories without an order, the nearest ones."""
    last = np.maximum(np.array(given.table.levels) - 1, 0)
    codes = np.floor(filled * given.std + given.mean).clip(0, last)
    return np.where(given.table.nominal, codes, filled)


def imputation(given: Task, filled: NDArray[np.float64], draws: NDArray[np.float64] | None) -> dict[str, float | None]:
    """Return the error of imputed values, and the coverage and width of 90 % intervals from multiple imputations.

    Args:
        given: the task.
        filled: standardised test rows, codes in columns of categories without an order, ``(n, C)``.
        draws: multiple imputations, ``(39, n, C)``.
    """
    nominal, gaps, truth = given.table.nominal, given.gaps("test"), given.complete("test")
    numbers, codes = gaps & ~nominal, gaps & nominal
    category = np.floor(given.table.x[given.parts["test"]])
    found: dict[str, float | None] = {"rmse": None, "accuracy": None, "coverage": None, "width": None}
    if numbers.any():
        found["rmse"] = math.sqrt(np.square(filled - truth)[numbers].mean())
    if codes.any():
        found["accuracy"] = float((filled == category)[codes].mean())
    if draws is not None and numbers.any():
        ordered = np.sort(draws, 0)  # the truth lies between the second of 39 and the last but one in 36 of 40 cases
        low, high = ordered[1], ordered[-2]
        found["coverage"] = float(((low <= truth) & (truth <= high))[numbers].mean())
        found["width"] = float((high - low)[numbers].mean())
    return found


if __name__ == "__main__":
    sys.exit(script(main))
