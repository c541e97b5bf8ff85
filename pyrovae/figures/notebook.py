"""Figure that notebooks show without pyplot."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

__all__ = ["NotebookFigure"]


class NotebookFigure(Figure):
    """A figure without a backend that a notebook shows as the last value of a cell.

    If pyplot was imported, the notebook shows any figure and does not use this method.
    """

    def _repr_png_(self) -> bytes:
        """Return the figure as PNG, as Jupyter asks for it."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()
