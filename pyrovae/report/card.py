"""Model card of a run: what was trained, its likelihood with errors, and what to trust, as Markdown."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from pyrovae.report import summary
from pyrovae.runs import TRUSTED, Run

__all__ = ["model_card"]

_HEADER = """\
---
library_name: pyrovae
tags:
- variational-autoencoder
- density-estimation
- pyro
- pytorch
---
"""


def model_card(folder: str | Path, source: str = "SOURCE") -> str:
    """Return the model card of a run as Markdown, with the header of the Hugging Face Hub.

    Args:
        folder: the run's folder.
        source: where it can be pulled from.

    Raises:
        ValueError: if the folder contains no trained run.
    """
    run = Run(folder)
    config, history, entries = run.config(), run.history(), run.evaluations()
    config.pop("logger", None)  # its options are its user's alone: they may hold a password
    program, data = run.load_program(), run.describe_data()
    best = summary.best_evaluation(entries)
    entry = None if best is None else entries[best]
    name = run.folder.resolve().name
    parts = [f"{_HEADER}\n# {name}", summary.trained(data, program, history, saved=run.was_saved)]
    parts += ["## Likelihood", *_likelihood(entry, entries)]
    found = summary.health(program, None, history, entry)
    if found:
        parts += ["## What is wrong with it", _bullets(found)]
    packages = _packages(config)
    trust = f", trust={packages!r}" if packages else ""
    option = f" --trust {','.join(packages)}" if packages else ""
    parts += ["## Use"]
    if packages:
        parts.append(
            f"It is made of classes of {', '.join(f'`{package}`' for package in packages)}, which must be installed. "
            "Loading the run executes their code, so read it before you trust it."
        )
    parts += [
        f"```sh\npip install 'pyrovae[hub]'\npyrovae pull {source} runs/{name}\n"
        f"pyrovae sample runs/{name}{option}\n```",
        f'```python\nimport pyrovae\n\nrun = pyrovae.load("runs/{name}"{trust})\nx = run.generate(16)\n```',
        "## Configuration",
        f"```yaml\n{yaml.safe_dump(config, sort_keys=False).strip()}\n```",
        f"Written by pyrovae {version('pyrovae')}.",
    ]
    return "\n\n".join(parts) + "\n"


def _likelihood(entry: dict[str, Any] | None, entries: dict[str, dict[str, Any]]) -> list[str]:
    if entry is None:
        return ["It was not evaluated."]
    told = summary.likelihood(entry)
    rows = [
        [name, _number(each["nll"]), _number(each["standard_error"]), _number(each["mc_error"]), each["num_data"]]
        for name, each in entries.items()
    ]
    head = ["evaluation", "NLL, nats per datum", "standard error over the data", "Monte Carlo error", "data"]
    lines = [head, ["---", *["---:"] * 4], *rows]
    table = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
    return [told["sentence"], _bullets(told["trust"]), table]


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|")


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _bullets(sentences: list[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _packages(value: Any) -> list[str]:
    """Return the packages whose classes a configuration names, except those that are always trusted."""
    if isinstance(value, list):
        return sorted({package for part in value for package in _packages(part)})
    if not isinstance(value, dict):
        return []
    found = {package for part in value.values() for package in _packages(part)}
    if isinstance(value.get("class_path"), str):
        found.add(value["class_path"].partition(".")[0])
    return sorted(found - {*TRUSTED})
