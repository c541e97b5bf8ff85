"""``load``: a run's folder as a trained program with its data and history, in Python."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from pyrovae import html
from pyrovae.data import DataSet
from pyrovae.evaluation import Estimator, Imputation, LogMarginal, impute, log_marginal, score
from pyrovae.prediction import encode, generate, reconstruct
from pyrovae.programs import Batch
from pyrovae.runs.configuration import DataFactory
from pyrovae.runs.folder import Run
from pyrovae.runs.program import first_data, template_of, training_health
from pyrovae.training import History

if TYPE_CHECKING:
    import pandas

__all__ = ["TrainedRun", "load"]


class TrainedRun:
    """A trained run in Python: its program, data, history, and results computed from them.

    Args:
        folder: the run's folder, or a :class:`Run`.
        weights: weights of the best validation ELBO, or of the last epoch.
        data: function that makes a data set to use in place of the run's own.
        trust: packages of the run's classes, see :func:`load`.

    Attributes:
        folder: the run on disk.
        weights: loaded weights, ``best`` or ``last``.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | Run,
        weights: Literal["best", "last"] = "best",
        data: DataFactory | None = None,
        trust: str | Iterable[str] = (),
    ) -> None:
        self.folder = folder if isinstance(folder, Run) else Run(folder, trust)
        self.folder.config()  # raises an error if it is not a run
        self.weights = weights
        self._data = data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder.folder)!r}, program={type(self.program).__name__})"

    def _repr_html_(self) -> str:
        lines = [f"{type(self.program).__name__} trained on {self.folder.describe_data().name}"]
        for name, found in self.folder.evaluations().items():
            nll = "unknown" if found["nll"] is None else f"{found['nll']:.2f} nats per datum"
            lines.append(f"{name}: NLL {nll}")
        return html.card(f"Run {self.folder.folder}", html.sentences(lines), self.history._repr_html_())

    @cached_property
    def _loaded(self) -> tuple[DataSet, Any]:
        return self.folder.load(self.weights, self._data)

    @cached_property
    def program(self) -> Any:
        """The trained program, which needs no data."""
        if "_loaded" in vars(self):
            return self._loaded[1]
        return self.folder.load_program(self.weights)

    @cached_property
    def data(self) -> DataSet:
        """The run's data set, or the data set given in its place."""
        return self._loaded[0]

    @cached_property
    def history(self) -> History:
        """The results of each epoch."""
        return self.folder.history()

    def log_marginal(
        self,
        x: Batch | None = None,
        estimator: Estimator | None = None,
        *,
        num_samples: int | None = None,
        num_draws: int = 10,
        chunk_size: int | None = None,
        progress: bool = True,
    ) -> LogMarginal:
        """Estimate log p(x): :func:`pyrovae.log_marginal` of the run's program.

        Args:
            x: data, ``(B, *data_shape)``, or the tuple ``(x, y)``; all test data if not given.
            estimator: 5,000 importance samples if not given.
            num_samples: short for ``Importance(num_samples)``.
            num_draws: number of posterior draws to keep for each datum.
            chunk_size: number of latents to run the model on at a time; chosen by the program's size if not given.
            progress: whether to show a progress bar.
        """
        batch = first_data(self.program, self.data.test, len(self.data.test)) if x is None else x
        return log_marginal(
            self.program.model,
            self.program.guide,
            batch,
            estimator,
            num_samples=num_samples,
            num_draws=num_draws,
            chunk_size=chunk_size,
            progress=progress,
        )

    def score(
        self,
        x: Batch | None = None,
        estimator: Estimator | None = None,
        *,
        num_samples: int | None = None,
        chunk_size: int | None = None,
    ) -> pandas.DataFrame:
        """Return a table with a row a datum: :func:`pyrovae.evaluation.score` of the run's program.

        Args:
            x: data, ``(B, *data_shape)``, or the tuple ``(x, y)``; all data in their stored order if not given.
            estimator: 5,000 importance samples if not given.
            num_samples: short for ``Importance(num_samples)``.
            chunk_size: number of latents to run the model on at a time; chosen by the program's size if not given.
        """
        batch = first_data(self.program, self.data.all, len(self.data.all)) if x is None else x
        model, guide = self.program.model, self.program.guide
        return score(model, guide, batch, estimator, num_samples=num_samples, chunk_size=chunk_size)

    def encode(self, x: Batch) -> dict[str, Tensor]:
        """Return the means of q(z|x) by site, ``(B, *event_shape)`` each."""
        return encode(self.program.guide, x)

    def impute(
        self,
        x: Batch | None = None,
        estimator: Estimator | None = None,
        *,
        num_samples: int | None = None,
        num_imputations: int = 10,
        progress: bool = True,
    ) -> Imputation:
        """Impute the missing values of data: :func:`pyrovae.impute` of the run's program.

        Args:
            x: data, ``(B, *data_shape)``, or the tuple ``(x, y)``; all data in their stored order if not given.
            estimator: 5,000 importance samples if not given.
            num_samples: short for ``Importance(num_samples)``.
            num_imputations: number of draws of x for each datum.
            progress: whether to show a progress bar.
        """
        batch = first_data(self.program, self.data.all, len(self.data.all)) if x is None else x
        return impute(
            self.program.model,
            self.program.guide,
            batch,
            estimator,
            num_samples=num_samples,
            num_imputations=num_imputations,
            num_draws=max(200, num_imputations),
            progress=progress,
        )

    def reconstruct(self, x: Batch) -> Tensor:
        """Return the means of p(x|z) at the means of q(z|x), ``(B, *data_shape)``."""
        return reconstruct(self.program.model, self.program.guide, x)

    def generate(self, num_samples: int, *, noise: bool = False) -> Tensor:
        """Draw new data from the model, ``(num_samples, *data_shape)``: means of p(x|z), or samples with ``noise``."""
        record = self.folder.data_record()
        like = template_of(self.program, self.data) if record is None else record.template(self.program)
        return generate(self.program.model, num_samples, like, noise=noise)

    def health(self) -> list[str]:
        """Return a sentence for each problem of the curves, or of the program on validation data.

        They are those of :meth:`~pyrovae.training.History.health` and :func:`~pyrovae.evaluation.check_health`.
        """
        return training_health(self.program, self.data, self.history)


def load(
    folder: str | os.PathLike[str],
    *,
    weights: Literal["best", "last"] = "best",
    data: DataFactory | None = None,
    trust: str | Iterable[str] = (),
) -> TrainedRun:
    """Load a run that ``pyrovae train`` made.

    Nothing is unpickled. A run that was not made on this machine can name classes of pyrovae, Pyro, torch and
    torchvision alone, for importing others would run their code.

    Args:
        folder: the run's folder.
        weights: weights of the best validation ELBO, or of the last epoch.
        data: function that makes a data set to use in place of the run's own, such as
            ``functools.partial(ArrayFile, "new.npy")``.
        trust: a package, or several, from which a run that was made elsewhere may import classes, such as
            ``"my_package"``.

    Raises:
        ValueError: if the folder contains no run; at their first use, if program or data cannot be loaded, or if a run
            that was made elsewhere names a class of a package that is not trusted.

    Example:
        >>> load("runs/none-such")
        Traceback (most recent call last):
        ...
        pyrovae.checks.InputError: run must be a folder that pyrovae train made, but there is no config.yaml in ...
    """
    return TrainedRun(folder, weights, data, trust)
