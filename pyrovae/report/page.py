"""The page itself, and the files of its pictures."""

from __future__ import annotations

import base64
import io
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import torch
import yaml

from pyrovae.files import writing
from pyrovae.report import diagnosis, evaluations, program
from pyrovae.runs import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["write_report"]


def write_report(folder: str | Path, *, seed: int = 0) -> Path:
    """Draw a run's pictures into ``figures/`` and write ``report.html``, which needs no other file.

    Args:
        folder: the run's folder.
        seed: of the samples that are drawn.

    Returns:
        the page's path.

    Raises:
        ValueError: if the folder does not hold a trained run, or what is known of it cannot be read.
    """
    run = Run(folder)
    config = run.config()
    history = run.history()
    entries = run.evaluations()
    evaluated = [evaluations.section(run, name, entries) for name in entries]
    diagnosed = [diagnosis.section(run, split, entry) for split, entry in run.diagnoses().items()]
    with torch.random.fork_rng(devices=[]):
        data, trained = run.load()
        torch.manual_seed(seed)
        drawn = program.pictures(data, trained, history)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pyrovae"), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("report.html").render(
        name=run.folder.resolve().name,
        folder=str(run.folder),
        summary=program.summary(data, trained, history),
        evaluations=[
            {**section, "pictures": _saved(run, section["pictures"], f"{section['name']}-")} for section in evaluated
        ],
        diagnoses=[
            {**section, "pictures": _saved(run, section["pictures"], f"diagnosis-{section['name']}-")}
            for section in diagnosed
        ],
        pictures=_saved(run, drawn),
        config=yaml.safe_dump(config, sort_keys=False),
        version=version("pyrovae"),
    )
    with writing(run.folder / "report.html") as file:
        file.write(page.encode())
    return run.folder / "report.html"


def _saved(run: Run, drawn: dict[str, tuple[Figure, str]], prefix: str = "") -> list[dict[str, str]]:
    """Write pictures to the run's ``figures/``, and return them as the page holds them."""
    saved = []
    for name, (figure, caption) in drawn.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120)
        with writing(run.folder / "figures" / f"{prefix}{name}.png") as file:
            file.write(buffer.getvalue())
        saved.append({"caption": caption, "base64": base64.b64encode(buffer.getvalue()).decode()})
    return saved
