"""Figure of the trials of a sweep."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pyrovae import checks
from pyrovae.figures.base import COLOURS, blank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["search"]

_COLUMNS = 3


def search(options: Mapping[str, Sequence[float | str]], elbo: Sequence[float], complete: Sequence[bool]) -> Figure:
    """Draw the validation ELBO of each trial over each option that was searched.

    The axis of an option is logarithmic if its values are above 0 and span a factor of 30 or more.

    Args:
        options: values of each trial, by the name of the option; words are drawn as categories.
        elbo: the best validation ELBO of each trial, in nats per datum.
        complete: False for trials that were pruned, which are drawn hollow.

    Raises:
        InputError: if these have different lengths.
    """
    lengths = {len(elbo), len(complete), *map(len, options.values())}
    if len(lengths) != 1 or not options or not elbo:
        raise checks.InputError(f"options must have one value for each of {len(elbo)} trials, at least one")
    rows = math.ceil(len(options) / _COLUMNS)
    figure = blank(4 * min(len(options), _COLUMNS), 3.2 * rows)
    panels = figure.subplots(rows, min(len(options), _COLUMNS), squeeze=False, sharey=True).flatten()
    for axes, (name, values) in zip(panels, options.items(), strict=False):
        numbers = [value for value in values if not isinstance(value, str)]
        if len(numbers) < len(values):
            words = sorted({str(value) for value in values})
            numbers = [float(words.index(str(value))) for value in values]
            axes.set_xticks(range(len(words)), [textwrap.fill(word, 14) for word in words])
            axes.margins(x=0.2)
        elif min(numbers) > 0 and max(numbers) / min(numbers) >= 30:
            axes.set_xscale("log")
        for done in (True, False):
            chosen = [(x, y) for x, y, is_done in zip(numbers, elbo, complete, strict=True) if is_done == done]
            face = COLOURS[0] if done else "none"
            axes.scatter([x for x, _ in chosen], [y for _, y in chosen], facecolor=face, edgecolor=COLOURS[0])
        axes.set(xlabel=name)
        axes.grid(alpha=0.3)
    for axes in panels[:: min(len(options), _COLUMNS)]:
        axes.set_ylabel("validation ELBO, nats")
    for axes in panels[len(options) :]:
        axes.remove()
    return figure
