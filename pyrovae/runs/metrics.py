"""Training history as CSV."""

from __future__ import annotations

import csv
import io

from pyrovae.training import Epoch, History

__all__ = ["history_from_csv", "history_to_csv"]


def history_to_csv(history: History) -> str:
    """Return a history as CSV, one line per epoch.

    Example:
        >>> history = History([Epoch(1, -3.0, -2.0, 1.0, -3.5, -2.5, 1.0, 0.1, 1e-3)])
        >>> history_from_csv(history_to_csv(history)).best_value
        -3.5
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(history.columns())
    table.writerows(history.rows())
    return text.getvalue()


def history_from_csv(text: str) -> History:
    """Read a history from the result of :func:`history_to_csv`.

    Raises:
        ValueError: if it is not such a table.
    """
    table = csv.reader(io.StringIO(text, newline=""))
    if next(table, None) != History().columns():
        raise ValueError("its first line does not name the columns")
    rows = list(table)
    if not rows or any(len(row) != len(History().columns()) for row in rows):
        raise ValueError("it must have a row of as many numbers as there are columns for each epoch")
    epochs = [Epoch(int(row[0]), *map(float, row[1:])) for row in rows]
    if [row.epoch for row in epochs] != list(range(1, len(rows) + 1)):
        raise ValueError("its epochs must be numbered from 1")
    return History(epochs)
