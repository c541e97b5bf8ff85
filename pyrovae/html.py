"""HTML of results for notebooks: text, tables and small SVG plots in the colours of the page, light or dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["card", "histogram", "intervals", "line_plot", "sentences", "staircase", "table"]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#999999")  # of Okabe & Ito; each can be seen on white and on black
_WIDTH, _HEIGHT = 560, 170  # pixels of a plot
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 22, 36  # margins around its axes
_ROW, _NAMES, _NUMBERS = 22, 190, 60  # height of a row, and widths of the columns beside its bars
_BINS = 30
_FONT = "font-family:system-ui,sans-serif;font-size:12px"


def card(title: str, *parts: str) -> str:
    """Return HTML with a title in bold and parts below it.

    Args:
        title: text of the title.
        parts: HTML, as the other functions return it; empty ones are left out.

    Example:
        >>> card("a < b", sentences(["Fine."]))
        '<div style="max-width:48em"><div><strong>a &lt; b</strong></div><div>Fine.</div></div>'
    """
    return f'<div style="max-width:48em"><div><strong>{escape(title)}</strong></div>{"".join(parts)}</div>'


def sentences(texts: Sequence[str]) -> str:
    """Return one line of HTML for each text.

    Args:
        texts: the texts.
    """
    return "".join(f"<div>{escape(text.strip())}</div>" for text in texts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; the first column is aligned to the left, the others to the right.

    Args:
        head: names of the columns.
        rows: texts of the cells.
    """

    def line(cells: Sequence[str], tag: str) -> str:
        sides = ["left"] + ["right"] * (len(cells) - 1)
        found = (
            f'<{tag} style="text-align:{side};padding:2px 8px">{escape(cell)}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        )
        return f"<tr>{''.join(found)}</tr>"

    body = "".join(line(cells, "td") for cells in rows)
    return (
        '<div style="overflow-x:auto;margin:4px 0"><table style="border-collapse:collapse">'
        f"<thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table></div>"
    )


def histogram(groups: Mapping[str, Sequence[float]], label: str) -> str:
    """Return a histogram of numbers, with a colour for each group; groups are stacked.

    Args:
        groups: numbers by the name of their group; those that are not finite are left out.
        label: name of the quantity, with its unit.
    """
    kept = {name: [value for value in values if math.isfinite(value)] for name, values in groups.items()}
    kept = {name: values for name, values in kept.items() if values}
    values = [value for group in kept.values() for value in group]
    if len(set(values)) < 2:
        return ""
    low, high = min(values), max(values)
    width = (high - low) / _BINS
    counts = {name: [0] * _BINS for name in kept}
    for name, group in kept.items():
        for value in group:
            counts[name][min(_BINS - 1, int((value - low) / width))] += 1
    highest = max(sum(column) for column in zip(*counts.values(), strict=True))
    x, y = _Scale(low, high, _LEFT, _WIDTH - _RIGHT), _Scale(0, highest, _HEIGHT - _BOTTOM, _TOP)
    bars, below = [], [0] * _BINS
    for colour, group_counts in zip(_COLOURS, counts.values(), strict=False):
        for i, count in enumerate(group_counts):
            if count:
                start, top = x(low + i * width), y(below[i] + count)
                bars.append(_rectangle(start, top, x(low + (i + 1) * width) - start - 1, y(below[i]) - top, colour))
            below[i] += count
    return _svg(_HEIGHT, f"Histogram of {label}", [*bars, *_axes(x, y, label, "data"), *_legend(list(counts))])


def line_plot(x: Sequence[float], lines: Mapping[str, Sequence[float]], x_label: str, y_label: str) -> str:
    """Return a plot of lines over a common quantity.

    Args:
        x: values of the quantity.
        lines: values of each line by its name, as many as x; those that are not finite are left out.
        x_label: name of the quantity.
        y_label: name of the values, with their unit.
    """
    known = [value for values in lines.values() for value in values if math.isfinite(value)]
    if len(x) < 2 or not known:
        return ""
    across = _Scale(min(x), max(x), _LEFT, _WIDTH - _RIGHT)
    up = _Scale(min(known), max(known), _HEIGHT - _BOTTOM, _TOP)
    drawn = []
    for colour, values in zip(_COLOURS, lines.values(), strict=False):
        points = (
            f"{across(at):.1f},{up(value):.1f}" for at, value in zip(x, values, strict=True) if math.isfinite(value)
        )
        drawn.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
    parts = [*_axes(across, up, x_label, y_label), *drawn, *_legend(list(lines))]
    return _svg(_HEIGHT, f"{y_label} by {x_label}", parts)


def staircase(rows: Sequence[tuple[str, float, float]], label: str) -> str:
    """Return a bar for each row, between two values, with the difference as a number.

    Args:
        rows: name, start and end of each bar.
        label: name of the quantity, with its unit.
    """
    rows = [row for row in rows if math.isfinite(row[1]) and math.isfinite(row[2])]
    if not rows:
        return ""
    ends = [0.0, *(end for row in rows for end in row[1:])]
    x = _Scale(min(ends), max(ends), _NAMES, _WIDTH - _NUMBERS)
    parts = [*_rows([name for name, *_ in rows]), *_row_axis(x, len(rows), label), *_vertical(x(0), len(rows))]
    for row, (_, start, end) in enumerate(rows):
        left, right = sorted((x(start), x(end)))
        colour = _COLOURS[0] if start == 0 else _COLOURS[1]
        parts.append(_rectangle(left, _middle(row) - 7, max(1.0, right - left), 14, colour))
        parts.append(_text(_WIDTH - 2, _middle(row) + 4, _signed(f"{end - start:.2f}"), "end"))
    return _svg(_ROW * len(rows) + 44, label, parts)


def intervals(rows: Sequence[tuple[str, float, float, float]], label: str) -> str:
    """Return a point with its interval for each row, and a line at zero.

    Args:
        rows: name, value, lower and upper end of each row; an interval that is not finite is not drawn.
        label: name of the quantity, with its unit.
    """
    known = [0.0, *(value for row in rows for value in row[1:] if math.isfinite(value))]
    if len(set(known)) < 2:
        return ""
    x = _Scale(min(known), max(known), _NAMES, _WIDTH - _RIGHT)
    parts = [*_rows([name for name, *_ in rows]), *_row_axis(x, len(rows), label), *_vertical(x(0), len(rows))]
    for row, (_, value, low, high) in enumerate(rows):
        y = _middle(row)
        if math.isfinite(low) and math.isfinite(high):
            parts.append(_line(x(low), y, x(high), y, _COLOURS[0], 2))
        if math.isfinite(value):
            parts.append(f'<circle cx="{x(value):.1f}" cy="{y}" r="4" fill="{_COLOURS[0]}"/>')
    return _svg(_ROW * len(rows) + 44, label, parts)


class _Scale:
    """A linear map from values to pixels, and the ticks of an axis.

    Args:
        low: smallest value.
        high: largest value.
        start: pixel of the smallest.
        end: pixel of the largest.
    """

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        if high <= low:
            low, high = low - 1.0, high + 1.0
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Return two to seven round values and their texts."""
        rough = (self.high - self.low) / 6
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        digits = max(0, -math.floor(math.log10(step)))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(i * step, _signed(f"{i * step + 0.0:.{digits}f}")) for i in range(first, last + 1)]


def _axes(x: _Scale, y: _Scale, x_label: str, y_label: str) -> list[str]:
    bottom = _HEIGHT - _BOTTOM
    parts = [_line(_LEFT, bottom, _WIDTH - _RIGHT, bottom), _line(_LEFT, _TOP, _LEFT, bottom)]
    for value, text in x.ticks():
        parts += [_line(x(value), bottom, x(value), bottom + 4), _text(x(value), bottom + 16, text, "middle")]
    for value, text in y.ticks():
        parts += [_line(_LEFT - 4, y(value), _LEFT, y(value)), _text(_LEFT - 7, y(value) + 4, text, "end")]
    return [*parts, _text(_WIDTH - _RIGHT, _HEIGHT - 4, x_label, "end"), _text(4, 12, y_label)]


def _legend(names: Sequence[str]) -> list[str]:
    """Return the names with their colours from right to left, nothing for a single one."""
    parts: list[str] = []
    at = float(_WIDTH - _RIGHT)
    for name, colour in reversed(list(zip(names, _COLOURS, strict=False)) if len(names) > 1 else []):
        parts += [_text(at, 12, name, "end"), _rectangle(at - 6.6 * len(name) - 16, 3, 10, 10, colour)]
        at -= 6.6 * len(name) + 36
    return parts


def _rows(names: Sequence[str]) -> list[str]:
    return [_text(_NAMES - 8, _middle(i) + 4, _shortened(name), "end") for i, name in enumerate(names)]


def _row_axis(x: _Scale, count: int, label: str) -> list[str]:
    bottom = _middle(count) - _ROW / 2 + 4
    parts = [_line(x.start, bottom, x.end, bottom), _text(x.end, bottom + 30, label, "end")]
    for value, text in x.ticks():
        parts += [_line(x(value), bottom, x(value), bottom + 4), _text(x(value), bottom + 16, text, "middle")]
    return parts


def _vertical(at: float, count: int) -> list[str]:
    return [_line(at, _middle(0) - _ROW / 2, at, _middle(count) - _ROW / 2 + 4)]


def _middle(row: int) -> float:
    return _ROW / 2 + 4 + row * _ROW


def _shortened(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:27]}…"


def _signed(number: str) -> str:
    return number.replace("-", "−")


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = "currentColor", width: float = 1) -> str:
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-width="{width}"/>'


def _rectangle(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {_WIDTH} {height:.0f}" style="width:100%;max-width:{_WIDTH}px;{_FONT};margin-top:6px"'
    return f'<svg role="img" aria-label="{escape(title)}" {size}>{"".join(parts)}</svg>'
