"""``pyrovae sweep``."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import yaml

from pyrovae import checks, sweeps
from pyrovae.files import describe_path, write_text
from pyrovae.runs import watched_trainings
from pyrovae.sweeps.page import conclusions
from pyrovae.training import Callback
from pyrovae.training.warmup import DEFAULT_SHARE

__all__ = ["sweep"]


def sweep(
    file: str,
    trials: int = 20,
    folder: str = "runs/sweep",
    first_pruned: int | None = None,
    top: int = 10,
    num_samples: int = 500,
    seed: int = 0,
) -> None:
    """Search options of a training by Optuna, prune poor trials, and rank the runs with intervals.

    The file is a configuration of train with one more key, search: a range or a list of choices for each option that
    is searched. The same command goes on with a sweep that was stopped, and may run in several processes at a time.

    Args:
        file: a YAML file of options of train, and the search space under the key search.
        trials: number of trials, with those that are done already.
        folder: folder of the sweep; each trial is a run in it.
        first_pruned: first epoch after which a trial may be pruned; by default the last one of the KL warm-up.
        top: number of the best trials whose NLL is estimated and compared.
        num_samples: number of importance samples of the comparison, per datum.
        seed: seed of the search.
    """
    config, search = _read(Path(file))
    base = Path(folder) / "base.yaml"
    _keep(base, config)
    found = sweeps.sweep(
        lambda options, run, callback: _train(base, options, run, callback),
        search,
        folder,
        trials=trials,
        first_pruned=_warmup(config) if first_pruned is None else first_pruned,
        top=top,
        num_samples=num_samples,
        seed=seed,
    )
    if found.comparison is not None:
        print(found.comparison)
    for sentence in (*conclusions(found.trials, found.comparison), found.not_compared):
        if sentence is not None:
            print(sentence)
    print(f"the page is {found.page}")


def _read(path: Path) -> tuple[dict[str, Any], Any]:
    """Read the options of training and the search space."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise checks.InputError(f"file must exist, but there is no {describe_path(path)}") from error
    except (OSError, RecursionError, ValueError, yaml.YAMLError) as error:
        raise checks.InputError(f"{path} cannot be read as YAML: {checks.reason(error)}") from error
    if not isinstance(content, dict) or "search" not in content:
        raise checks.InputError(f"{path} must hold options of train and the key search, but has no search")
    search = content.pop("search")
    refused = sorted({"run", "resume"} & {*content, *(search if isinstance(search, dict) else ())})
    if refused:
        raise checks.InputError(f"{path} must leave out {refused[0]}: each trial has a run of its own")
    return content, search


def _warmup(config: dict[str, Any]) -> int:
    """Return the number of epochs of the KL warm-up, at least 1."""
    epochs, given = config.get("epochs", 20), config.get("kl_warmup")
    if given is None and isinstance(epochs, int):
        given = round(DEFAULT_SHARE * epochs)
    return max(1, given) if isinstance(given, int) else 1  # others are refused by the first trial


def _keep(base: Path, config: dict[str, Any]) -> None:
    """Write the options that are not searched; refuse others than those of a sweep that goes on."""
    begun = any(base.parent.glob("trial-*/metrics.csv"))
    try:
        same = not begun or not base.exists() or yaml.safe_load(base.read_text(encoding="utf-8")) == config
    except (OSError, RecursionError, ValueError, yaml.YAMLError) as error:
        raise checks.InputError(f"{base} cannot be read: {checks.reason(error)}") from error
    if not same:
        raise checks.InputError(f"the options must stay as they were when a sweep goes on, but {base} has others")
    write_text(base, yaml.safe_dump(config, sort_keys=False))


def _train(base: Path, options: dict[str, Any], run: Path, callback: Callback) -> None:
    """Run ``pyrovae train`` with the options of a trial."""
    from pyrovae.cli import commands
    from pyrovae.cli.dispatch import call

    words = [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in options.items()]
    arguments = ["train", "--config", str(base), *words, "--run", str(run), "--resume", "true", "--quiet"]
    with watched_trainings(callback), contextlib.redirect_stdout(io.StringIO()):
        call("train", commands.train, arguments)
