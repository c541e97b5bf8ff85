"""Log in MLflow."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pyrovae.tracking.base import Logger, missing_package, tags
from pyrovae.training import History

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["MLflow"]

_LONGEST = 6000  # characters of a parameter's value that every store takes
_MOST = 100  # parameters in a call


class MLflow(Logger):
    """A log in MLflow: options are parameters, curves and results metrics, figures and files artifacts.

    MLflow's own global run is neither used nor changed.

    Args:
        tracking_uri: address of the server or the store, such as ``sqlite:///mlflow.db``; if not given, as MLflow
            chooses it, by the environment variable ``MLFLOW_TRACKING_URI``.
        experiment: name of the experiment, which is made if there is none.
        name: name of the run in MLflow; the name of the run's folder if not given.

    Raises:
        ValueError: if MLflow is not installed.
    """

    _client: MlflowClient

    def __init__(self, tracking_uri: str | None = None, experiment: str = "pyrovae", name: str | None = None) -> None:
        super().__init__()
        try:
            from mlflow.tracking import MlflowClient  # noqa: F401
        except ImportError as error:
            raise missing_package("MLflow", "mlflow") from error
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self.name = name
        self._id = ""

    def _start(self, run: Path | None, identifier: str | None) -> str:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=self.tracking_uri)
        if identifier is not None:
            self._id = identifier
            self._client.update_run(identifier, status="RUNNING")
            return identifier
        found = self._client.get_experiment_by_name(self.experiment)
        experiment = self._client.create_experiment(self.experiment) if found is None else found.experiment_id
        name = self.name or (None if run is None else run.resolve().name)
        self._id = self._client.create_run(experiment, run_name=name).info.run_id
        return self._id

    def _options(self, options: dict[str, str]) -> None:
        from mlflow.entities import Param

        known = self._client.get_run(self._id).data.params  # which cannot be changed when a training is resumed
        new = [Param(name, value[:_LONGEST]) for name, value in options.items() if name not in known]
        for start in range(0, len(new), _MOST):
            self._client.log_batch(self._id, params=new[start : start + _MOST])

    def _epoch(self, history: History) -> None:
        row = history.epochs[-1]
        self._metrics(tags(row), row.epoch)

    def _results(self, numbers: dict[str, float]) -> None:
        self._metrics(numbers, 0)

    def _picture(self, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.png"
            path.write_bytes(content)
            self._client.log_artifact(self._id, str(path), "figures")

    def _file(self, path: Path) -> None:
        self._client.log_artifact(self._id, str(path))

    def _finish(self, failed: bool) -> None:
        self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")

    def _metrics(self, numbers: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._id, metrics=[Metric(name, value, now, step) for name, value in numbers.items()])
