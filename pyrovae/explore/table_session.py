"""Computations of the page of a table: a map of its rows, the cells of one of them, and marginals of samples."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae import checks
from pyrovae.columns import Column
from pyrovae.data import DataSet
from pyrovae.evaluation import ColumnReport, report_columns
from pyrovae.explore.chart import Chart, chart_of
from pyrovae.explore.session import Session
from pyrovae.figures import marginals
from pyrovae.html import table
from pyrovae.programs import schema_of

if TYPE_CHECKING:
    import pandas

__all__ = ["TableSession"]

_HEAD = ["column", "value", "decoded", "loss"]
_DRAWS = 10  # of z, that the log-probability of a cell is an average over


class TableSession(Session):
    """A session of a program of the rows of a table.

    Args:
        data: the table.
        program: a module with ``model`` and ``guide``, made for the table.
        num_data: number of test rows that can be chosen.
        num_samples: number of importance samples per row.
        seed: seed of all noise.

    Attributes:
        schema: the columns.
        colours: what the map can be coloured by: the label, if rows have one, and the columns.

    Raises:
        ValueError: if the program has no site of vectors, or there are fewer than 2 test rows.

    Example:
        >>> import pandas
        >>> frame = pandas.DataFrame(torch.randn(60, 3).numpy(), columns=["a", "b", "c"])
        >>> table = Table(frame)
        >>> likelihood = TableLikelihood((3,), 2, schema=table.schema)
        >>> session = TableSession(table, VAE(StandardNormal(2), likelihood, DiagonalNormal((3,), 2)))
        >>> words, cells = session.row(0)
        >>> cells.count("<tr>"), session.colours
        (4, ['a', 'b', 'c'])
    """

    def __init__(
        self, data: DataSet, program: Any, *, num_data: int = 1000, num_samples: int = 100, seed: int = 0
    ) -> None:
        schema = schema_of(program.model)
        if schema is None:
            raise checks.InputError("program must have the columns of its table to be explored, as TableLikelihood has")
        self.schema = schema
        super().__init__(data, program, num_data=num_data, num_samples=num_samples, seed=seed)
        label = None if self.labels is None else schema.label or Column("label")
        self._label = label
        self.colours = [*([] if label is None else [label.name]), *schema.names]
        self._plane = self.axes.get("principal directions", self.axes["latents"])
        self._maps: dict[str, Chart] = {}
        self._drawn: tuple[Any, NDArray[np.uint8]] = None, np.zeros((1, 1, 3), np.uint8)  # the latest marginals

    @cached_property
    def report(self) -> ColumnReport:
        """Densities, errors and ranks of the cells of all rows."""
        batch = self._batch(self.x, self._labels(self.labels))
        with self._exclusive():
            return report_columns(self.program.model, self.program.guide, batch, _DRAWS)

    def map(self, colour: str) -> Chart:
        """Return the map of the rows' codes, coloured by the label or a column."""
        if colour not in self._maps:
            checks.choice("colour", colour, self.colours)
            up = min(1, len(self._plane.names) - 1)
            points = self._plane.coordinates(self.codes)[:, [0, up]]
            names, reach = (self._plane.names[0], self._plane.names[up]), (self._plane.reach[0], self._plane.reach[up])
            if self._label is not None and colour == self.colours[0]:
                chart = chart_of(points, self.labels, names, reach, categories=self._label.categories)
            else:
                i = self.schema.names.index(colour)
                column, values = self.schema.columns[i], self.x[:, i]
                codes = values.nan_to_num(-1).long() if column.levels else None
                numbers = None if column.levels else values
                chart = chart_of(points, codes, names, reach, categories=column.categories, values=numbers)
            self._maps[colour] = chart
        return self._maps[colour]

    def marked(self, colour: str, index: int) -> NDArray[np.uint8]:
        """Return the map with a mark at the code of a row."""
        place = self._plane.coordinates(self.codes[self._index(index)][None])[0]
        return self.map(colour).marked((place[0].item(), place[min(1, len(place) - 1)].item()))

    def nearest(self, colour: str, pixel: tuple[float, float]) -> int:
        """Return the row whose code is nearest to a pixel of the map."""
        chart = self.map(colour)
        places = self._plane.coordinates(self.codes)[:, [0, min(1, len(self._plane.names) - 1)]].tolist()
        pixels = torch.tensor([chart.pixel((across, up)) for across, up in places])
        return int((pixels - torch.tensor(pixel)).norm(dim=1).argmin())

    def row(self, index: int) -> tuple[str, str]:
        """Return a row in words, and as a table in HTML: column, value, decoded value, and loss.

        The loss of a cell is by how many nats its log-probability is below the mean of its column. The column with the
        largest loss is to blame, and comes first.
        """
        i = self._index(index)
        excess = self.report.excess[i].nan_to_num(-torch.inf)
        found = self.explain(self.datum(i), self.label(i) if self.classes else None)
        own, mean, losses = self._texts(self.x[i]), self._texts(found.reconstruction), excess.tolist()
        names, order = self.schema.names, excess.argsort(descending=True).tolist()
        cells = [[names[j], own[j], mean[j], f"{losses[j]:.2f}" if math.isfinite(losses[j]) else ""] for j in order]
        return (
            f"{found} {cells[0][0]} takes most: its log p is {cells[0][3]} nats below the mean of the column.",
            table(_HEAD, cells),
        )

    def view(self, x: Tensor) -> str:
        """Return a decoded row, ``(C,)``, as a table in HTML."""
        return table(["column", "mean"], list(zip(self.schema.names, self._texts(x), strict=True)))

    def marginals(self, label: int | None = None, seed: int = 0, count: int = 1000) -> NDArray[np.uint8]:
        """Return a picture of the marginal distribution of each column, of test rows and of samples of the model."""
        key = label, seed, count
        if self._drawn[0] != key:
            self._drawn = key, self._marginals(*key)
        return self._drawn[1]

    def _marginals(self, label: int | None, seed: int, count: int) -> NDArray[np.uint8]:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        drawn = self.sample(count, label, noise=True, seed=seed)
        canvas = FigureCanvasAgg(marginals(self._frame(self.x), self._frame(drawn)))
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def _frame(self, x: Tensor) -> pandas.DataFrame:
        return self.schema.to_frame(x)

    def _texts(self, x: Tensor) -> list[str]:
        """Return the values of a row ``(C,)`` as texts; empty if missing."""
        values = self._frame(x[None]).iloc[0]
        return [
            "" if math.isnan(number) else str(value) if column.levels else f"{number:.4g}"
            for column, value, number in zip(self.schema.columns, values, x.tolist(), strict=True)
        ]
