"""History of a training: one row per epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from pyrovae import html
from pyrovae.reprs import short_repr
from pyrovae.training.curves import AFTER, findings

if TYPE_CHECKING:
    import pandas

__all__ = ["Epoch", "History"]


@dataclass(frozen=True)
class Epoch:
    """Results of an epoch: bounds and their terms in nats per datum, untempered.

    Attributes:
        epoch: number of the epoch, from 1.
        train_elbo: mean over the epoch's batches, each before its update.
        train_reconstruction: E_q log p(x|z).
        train_kl: E_q log q(z|x) / p(z).
        validation_elbo: bound on the validation split after the epoch, in evaluation mode, with the same noise
            in every epoch.
        validation_reconstruction: its first term.
        validation_kl: its second term.
        seconds: duration of the epoch, including validation.
        learning_rate: learning rate in the epoch.
    """

    epoch: int
    train_elbo: float
    train_reconstruction: float
    train_kl: float
    validation_elbo: float
    validation_reconstruction: float
    validation_kl: float
    seconds: float
    learning_rate: float


@dataclass
class History:
    """The epochs of a training run.

    Attributes:
        epochs: one row per epoch.

    Example:
        >>> history = History([Epoch(1, -30.0, -28.0, 2.0, -31.0, -29.0, 2.0, 0.1, 1e-3)])
        >>> history.best_epoch, history.best_value
        (1, -31.0)
    """

    epochs: list[Epoch] = field(default_factory=list)

    def __repr__(self) -> str:
        return short_repr(self, epochs=len(self.epochs), best_epoch=self.best_epoch, best_value=self.best_value)

    def _repr_html_(self) -> str:
        title = f"{len(self.epochs)} epochs"
        if self.epochs:
            title += f", best validation ELBO {self.best_value:.2f} nats per datum in epoch {self.best_epoch}"
        return html.card(title, html.sentences(self.health()), self._plot())

    def _plot(self) -> str:
        """Return the ELBO by epoch as SVG."""
        lines = {part: [getattr(row, f"{part}_elbo") for row in self.epochs] for part in ("train", "validation")}
        return html.line_plot([row.epoch for row in self.epochs], lines, "epoch", "ELBO, nats per datum")

    @property
    def best_epoch(self) -> int:
        """The epoch with the largest validation ELBO; 0 before the first."""
        return max(self.epochs, key=lambda row: row.validation_elbo).epoch if self.epochs else 0

    @property
    def best_value(self) -> float:
        """The largest validation ELBO, in nats per datum."""
        return max((row.validation_elbo for row in self.epochs), default=-math.inf)

    def health(self) -> list[str]:
        """Return a sentence for each thing in the curves that should not be there, with the numbers seen.

        A KL near zero (posterior collapse), a validation bound that falls while the training bound rises (overfitting),
        a bound that still climbs at the end, spikes of the loss.

        Example:
            >>> rows = [Epoch(i, -30.0, -30.0, 0.01, -31.0, -31.0, 0.01, 0.1, 1e-3) for i in range(1, 6)]
            >>> print(History(rows).health()[0])
            The posterior has collapsed: the KL on validation data is 0.01 nats per datum ...
        """
        return list(self.findings().values())

    def findings(self) -> dict[str, str]:
        """Return the sentences of :meth:`health` by kind, the name of a function in ``pyrovae.training.curves``."""
        return findings(self.epochs, AFTER)

    def columns(self) -> list[str]:
        """Return the names of the columns of :meth:`rows`."""
        return [column.name for column in fields(Epoch)]

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a table with a row for each epoch and the fields of :class:`Epoch`.

        Example:
            >>> rows = [Epoch(i, -30.0, -28.0, 2.0, -31.0, -29.0, 2.0, 0.1, 1e-3) for i in (1, 2)]
            >>> History(rows).to_dataframe().validation_elbo.tolist()
            [-31.0, -31.0]
        """
        import pandas

        return pandas.DataFrame(self.rows(), columns=self.columns()).set_index("epoch")

    def rows(self) -> list[list[Any]]:
        """Return the epochs as rows of numbers, for a table or a checkpoint."""
        return [[getattr(row, name) for name in self.columns()] for row in self.epochs]
