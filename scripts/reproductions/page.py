"""Write the page of the reproductions from the results of their scripts: no number on it is typed by hand.

``python scripts/reproductions/page.py`` reads ``docs/reproductions/*.json`` and ``*.csv``, draws the learning curves
beside them, and writes ``docs/reproductions.md``.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import jinja2
from state_of_the_art import beside

from pyrovae import checks, figures
from pyrovae.cli import script
from pyrovae.figures.base import COLOURS, blank, plain_numbers
from pyrovae.files import write_text

ORDER = ["iwae", "vampprior", "frey_faces", "gradient_estimators", "annealing", "bdmc", "peer"]

PAGE = """\
# The published numbers, reproduced

The likelihoods of a library can be tested against published numbers and orderings. Each table below is
made by one command, which continues an interrupted training. Its results are in `docs/reproductions/`, and
`python scripts/reproductions/page.py` generates this page from them. Published numbers could only be read second-hand,
as each section says; those that we did not find are left out.

Each run is a single one with the given seed. "± images" is the standard error over the choice of test images,
"± samples" that over the choice of samples, estimated from the weights: if k̂ is too large for an image (above 0.7, or
its threshold for fewer samples), this error is too small, and the NLL is too large. Other errors are standard errors,
too; none of them includes the variation between seeds. Findings are what a source found or, if it could not be
read, what we expected. Of two runs, one is better if the difference is more than two standard errors; otherwise
nothing is shown. Minutes are those of the runs' own processes, on a shared machine.
{% if missing %}
Not run yet: {{ missing|join(", ") }}.
{% endif %}
{% for name, record in records.items() %}
## {{ record.title }}

{{ record.source }}.

```sh
{{ record.command }}
```

Of {{ record.data }}: seed {{ record.seed }}, {{ record.threads }} thread{{ "s" if record.threads > 1 }}, \
{{ record.date }}, \
{% for package in record.versions %}{{ package }} {{ record.versions[package] }}, {% endfor -%}
minutes of training: {{ "%.0f"|format(record.runs|sum(attribute="minutes")) }}.

{{ table(record.columns, record.rows) }}
{% for note in record.notes %}
{{ note }}
{% endfor %}
{% for sentence, holds in record.findings %}
- {{ "" if holds else "**Not shown.** " if holds is none else "**Does not hold.** " }}{{ sentence }}
{%- endfor %}
{% for picture, caption in record.get("pictures", []) %}
![{{ caption }}](reproductions/{{ picture }})
{% endfor %}
**The protocol**

| | {{ record.get("theirs", "the paper") }} | here |
|---|---|---|
{% for row in record.protocol -%}
| {{ row|join(" | ") }} |
{% endfor %}
{% if record.deviations -%}
**Differences from the source**
{% for sentence in record.deviations %}
- {{ sentence }}
{%- endfor %}
{% endif %}
{% if record.runs -%}
**The runs** ([learning curves](reproductions/{{ name }}.csv))

| run | epochs | batch | minutes | training ELBO at the end, nats |
|---|---|---|---|---|
{% for run in record.runs -%}
| {{ run.run }} | {{ run.epochs }} | {{ run.batch }} | {{ "%.0f"|format(run.minutes) }} | \
{{ "%.2f"|format(run.train_elbo) }} |
{% endfor %}
![Training ELBO of each run, in nats per image, by epoch: also of runs that maximise another bound]\
(reproductions/{{ name }}_curves.png)
{% endif %}
{%- endfor %}
{%- if beside %}
## The state of the art

Where the models of this page stand on dynamically binarised MNIST, beside deeper ones, most with many layers of latents
or an autoregressive decoder. The published figures were read second-hand; their estimators differ.

{{ table([("model", "model", ""), ("nll", "NLL, nats", ".2f"), ("source", "source", "")], beside) }}
{% endif %}"""


def main(folder: str = "docs/reproductions", page: str = "docs/reproductions.md") -> None:
    """Write the page of the reproductions from the results of their scripts.

    Args:
        folder: folder of the scripts' results.
        page: path of the page.
    """
    if not kept(folder):
        raise checks.InputError(f"folder must hold results of the scripts, but {folder} holds no .json")
    for name in kept(folder):
        with open(f"{folder}/{name}.csv", newline="", encoding="utf-8") as file:
            curves = list(csv.DictReader(file))
        if curves:
            figures.save(drawn(curves), f"{folder}/{name}_curves.png")
    write_text(page, written(folder))


def kept(folder: str) -> dict[str, dict[str, Any]]:
    """Read the records, by name, in the page's order."""
    paths = {path.stem: path for path in Path(folder).glob("*.json")}
    names = [name for name in ORDER if name in paths] + sorted(paths.keys() - set(ORDER))
    return {name: json.loads(paths[name].read_text(encoding="utf-8")) for name in names}


def written(folder: str) -> str:
    """Return the page's text."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.globals["table"] = table
    records = kept(folder)
    missing = [name for name in ORDER if name not in records]
    return (
        environment.from_string(PAGE).render(records=records, missing=missing, beside=beside(records)).rstrip() + "\n"
    )


def table(columns: list[tuple[str, str, str]], rows: list[dict[str, Any]]) -> str:
    """Return rows as a table in Markdown; a figure that is not there leaves its cell empty."""
    lines = [[heading for _, heading, _ in columns], ["---"] * len(columns)]
    lines += [["" if row.get(key) is None else format(row[key], how) for key, _, how in columns] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def drawn(curves: list[dict[str, str]]) -> Any:
    """Draw the training ELBO of each run by epoch."""
    figure = blank(8.2, 3.6)
    axes = figure.add_subplot()
    names = list(dict.fromkeys(row["run"] for row in curves))
    for name, colour in zip(names, COLOURS * len(names), strict=False):
        points = [(int(row["epoch"]), float(row["train_elbo"])) for row in curves if row["run"] == name]
        axes.plot(*zip(*points, strict=True), color=colour, label=name, marker="o", markersize=2.5)
    if max(int(row["epoch"]) for row in curves) > 20:
        axes.set_xscale("log")
        axes.set_xlim(left=4)
        plain_numbers(axes.xaxis)
        last = [float(row["train_elbo"]) for row in curves if int(row["epoch"]) >= 5]
        axes.set_ylim(min(last), max(last) + 0.05 * (max(last) - min(last)) + 0.1)
    axes.set_xlabel("epoch")
    axes.set_ylabel("training ELBO, nats per image")
    figure.legend(fontsize=9, frameon=False, loc="outside right upper")
    return figure


if __name__ == "__main__":
    sys.exit(script(main))
