"""Page of a sweep: its trials, what was searched, and the comparison of the best, in one HTML file."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from pyrovae import figures, html
from pyrovae.evaluation.comparison_table import join_names
from pyrovae.files import write_text
from pyrovae.runs import RunComparison
from pyrovae.sweeps.trial import Trial, described, short

__all__ = ["write_page"]

_STYLE = (
    ":root{color-scheme:light dark} body{font:16px/1.5 system-ui,sans-serif;max-width:64em;margin:2em auto}"
    " body{padding:0 1em} figure{margin:0} img{max-width:100%;background:white}"
)


def write_page(folder: Path, trials: Sequence[Trial], comparison: RunComparison | None, why: str | None) -> Path:
    """Write ``sweep.html``, which needs no other file, and return its path.

    Args:
        folder: folder of the sweep.
        trials: the trials that ended, the best first.
        comparison: the comparison of the best; None if there is none.
        why: why there is no comparison.
    """
    counts = {state: sum(trial.state == state for trial in trials) for state in ("complete", "pruned", "failed")}
    told = [f"{len(trials)} trials: " + ", ".join(f"{count} {state}" for state, count in counts.items()) + "."]
    told += conclusions(trials, comparison)
    parts = [f"<h1>Sweep {escape(folder.resolve().name)}</h1>", html.sentences(told)]
    parts += ["<h2>The best runs on validation data</h2>"]
    parts += [html.sentences([why or ""]) if comparison is None else comparison.result._repr_html_()]
    parts += ["<h2>What was searched</h2>", _picture(trials), "<h2>All trials</h2>", _table(trials)]
    head = f'<meta charset="utf-8"><title>{escape(folder.resolve().name)} · pyrovae</title><style>{_STYLE}</style>'
    path = folder / "sweep.html"
    write_text(path, f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n')
    return path


def conclusions(trials: Sequence[Trial], comparison: RunComparison | None) -> list[str]:
    """Return in sentences which run is the best, and which cannot be told apart from it."""
    if comparison is None:
        complete = [trial for trial in trials if trial.state == "complete"]
        return [f"{_described(complete[0])} has the largest validation ELBO."] if complete else []
    best, *others = comparison.result.rows
    described = next(_described(trial) for trial in trials if trial.run == best.name)
    close = [row.name for row in others if not row.distinguishable]
    alike = f"{join_names(close)} cannot be told apart from it" if close else "All others compared are worse than it"
    return [f"{described} has the lowest NLL on validation data.", f"{alike} by these data (95 % intervals)."]


def _described(trial: Trial) -> str:
    return f"{trial.run} ({described(trial.options)})"


def _table(trials: Sequence[Trial]) -> str:
    names = list(trials[0].options) if trials else []
    rows = [
        [
            trial.run,
            trial.state if trial.error is None else f"failed: {trial.error}",
            "" if math.isnan(trial.elbo) else f"{trial.elbo:.2f}",
            str(trial.epochs),
            *(short(trial.options[name]) for name in names),
        ]
        for trial in trials
    ]
    return html.table(["run", "state", "validation ELBO, nats", "epochs", *names], rows)


def _picture(trials: Sequence[Trial]) -> str:
    shown = [trial for trial in trials if math.isfinite(trial.elbo)]
    if not shown:
        return html.sentences(["No trial finished an epoch."])
    values = {name: [_plotted(trial.options[name]) for trial in shown] for name in shown[0].options}
    figure = figures.search(values, [trial.elbo for trial in shown], [trial.state == "complete" for trial in shown])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    told = "Validation ELBO of each trial over each option that was searched; pruned trials are hollow"
    source = base64.b64encode(buffer.getvalue()).decode()
    return f'<figure><img alt="{told}" src="data:image/png;base64,{source}"><figcaption>{told}.</figcaption></figure>'


def _plotted(value: Any) -> float | str:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else short(value)
