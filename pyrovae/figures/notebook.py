"""A figure that a notebook shows, whether matplotlib's pyplot was imported or not."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

__all__ = ["ShownFigure"]


class ShownFigure(Figure):
    """Be a figure of no backend that a notebook shows where it is the last value of a cell.

    Where pyplot was imported, the notebook knows how to show any figure, and does not ask this one.
    """

    def _repr_png_(self) -> bytes:
        """Return the figure as PNG, as Jupyter asks for it."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()
