"""A run's folder on disk: configuration, weights, checkpoint, metrics, evaluations; atomic and versioned.

Loading a folder unpickles nothing. It imports only the modules of the classes that the configuration names, and calls
only these classes, each of which must be a subclass of the base class of its component. If the folder was not made on
this machine, they must be classes of trusted packages (:mod:`pyrovae.runs.trust`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import yaml
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.arviz_import import groups_of, read_inference_data, write_inference_data
from pyrovae.data import DataSet, Digits
from pyrovae.evaluation import LogMarginal
from pyrovae.files import atomic_write, check_writable, describe_path, path_of, write_error, write_text
from pyrovae.parsing import imports_from
from pyrovae.runs.configuration import DataFactory, components_of, make_program, program_for, with_schema
from pyrovae.runs.data_record import DataRecord
from pyrovae.runs.json_fields import Fields, check_fields
from pyrovae.runs.lock import locked
from pyrovae.runs.metrics import history_from_csv, history_to_csv
from pyrovae.runs.result_fields import DIAGNOSIS, EVALUATION, check_values
from pyrovae.runs.trust import SIGNATURE, check_links, check_size, is_signed, package_names, sign, trusted_packages
from pyrovae.runs.weights import load_weights, save_weights
from pyrovae.training import History, State

if TYPE_CHECKING:
    from pyrovae.arviz_import import InferenceData

__all__ = ["FORMAT", "Run"]

FORMAT = 1
"""Version of the folder's layout; folders of other versions are refused."""


class Run:
    """The folder of a run.

    Args:
        folder: path of the folder.
        trust: packages from which the classes of the run may be imported, besides pyrovae, Pyro, torch and torchvision,
            if it was not made on this machine.

    Raises:
        ValueError: if a file that is read is missing, truncated, modified, or of another version.

    Example:
        >>> Run("runs/none-such").load()
        Traceback (most recent call last):
        ...
        pyrovae.checks.InputError: run must be a folder that pyrovae train made, but there is no config.yaml in ...
    """

    def __init__(self, folder: str | os.PathLike[str], trust: str | Iterable[str] = ()) -> None:
        self.folder = path_of("run", folder)
        self.trust = package_names(trust)

    @property
    def exists(self) -> bool:
        """True if the folder contains a run."""
        return (self.folder / "config.yaml").exists()

    @property
    def is_own(self) -> bool:
        """True if the configuration was written by this user on this machine, and not changed since."""
        try:
            return self.exists and is_signed(self.folder, self.config_text())
        except (OSError, ValueError):  # it is no text
            return False

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Import only from trusted packages in the ``with`` block, if the run was not made on this machine.

        Raises:
            ValueError: if the configuration names a class of another package, or a link leads out of the folder.
        """
        packages = None
        if self.exists and not self.is_own:
            check_links(self.folder)
            packages = trusted_packages(self.trust)
        with imports_from(packages, self._refusal):
            yield

    @contextlib.contextmanager
    def _enough_memory(self) -> Iterator[None]:
        """Say in a sentence that the program does not fit into memory, where torch has several errors."""
        try:
            yield
        except (MemoryError, RuntimeError, ValueError) as error:
            if isinstance(error, MemoryError) or re.search(
                "not enough memory|can't allocate|overflow|alloc_cpu", str(error)
            ):
                raise checks.InputError(f"the program of {self.folder} is too large for this machine") from error
            raise

    def _refusal(self, path: str) -> str:
        package = path.partition(".")[0]
        return (
            f"{path} is named by {self.folder / 'config.yaml'}, which was not written on this machine, or was changed "
            f"since: if you trust the package {package}, whose code would run, say so by --trust {package} (in Python "
            f'trust="{package}")'
        )

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Lock the folder against other trainings; see :func:`pyrovae.runs.lock.locked`."""
        return locked(self.folder)

    def create(self, config: str, data: DataRecord | None = None, *, own: bool = True) -> None:
        """Create a run from its configuration as YAML and the record of its data; raise an error if there is one.

        Args:
            config: the configuration.
            data: the record.
            own: False if the configuration is taken from a run that was made elsewhere.
        """
        self.refuse_existing("run must be a new folder, or go on with --resume true")
        if data is not None:
            self.save_data_record(data)
        self.rewrite_config(config, own=own)

    def save_data_record(self, data: DataRecord) -> None:
        """Write the record of the data that the run is trained on."""
        data.write(self.folder / "data.json")

    def refuse_existing(self, accepted: str) -> None:
        """Raise an error that starts with ``accepted`` if the folder contains a run."""
        if self.exists:
            raise checks.InputError(f"{accepted}, but {self.folder} holds a run already")

    def discard(self) -> None:
        """Delete a run that failed before its first epoch, so that its folder is free again."""
        if not (self.folder / "weights.safetensors").exists():
            for name in ("config.yaml", SIGNATURE, "data.json", "refitted.json", "saved.json", "logger.json"):
                (self.folder / name).unlink(missing_ok=True)
            for folder in (self.folder / "checkpoint", self.folder):
                with contextlib.suppress(OSError):  # it contains other files
                    folder.rmdir()

    def rewrite_config(self, config: str, *, own: bool = True) -> None:
        """Replace the configuration; a resumed run can change options that do not affect its weights.

        Args:
            config: the configuration.
            own: False if it is that of a run that was made elsewhere, and stays so.
        """
        if own:
            sign(self.folder, config)
        write_text(self.folder / "config.yaml", config)

    def config_text(self) -> str:
        """Read the text of the configuration."""
        return (self.folder / "config.yaml").read_text(encoding="utf-8")

    def config(self) -> dict[str, Any]:
        """Read the configuration."""
        path = self.folder / "config.yaml"
        if not path.exists():
            raise checks.InputError(
                "run must be a folder that pyrovae train made, but there is no config.yaml in "
                f"{describe_path(self.folder)}"
            )
        with _reading(path):
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
            if not isinstance(config, dict):
                raise ValueError("it is not a mapping")
            check_size(config)
        return _with_present_options(config)

    def load(self, weights: Literal["best", "last"] = "best", data: DataFactory | None = None) -> tuple[DataSet, Any]:
        """Make the data set and the trained program, of trusted classes if the run was not made on this machine.

        Args:
            weights: weights of the best validation ELBO, or of the last epoch.
            data: function that makes a data set to use in place of the run's own, which may differ from it; see
                :func:`pyrovae.runs.other_data`.

        Raises:
            ValueError: if the run's own data are no longer those that it was trained on, or others are of another
                shape, kind or number of levels.
        """
        with self.guarded(), self._enough_memory():
            return self._load(weights, data)

    def _load(self, weights: Literal["best", "last"], data: DataFactory | None) -> tuple[DataSet, Any]:
        chosen = self._components()
        own, own_record = chosen.pop("data", Digits), self.data_record()
        schema = None if own_record is None else own_record.schema
        try:
            dataset = checks.make("data", with_schema(own if data is None else data, schema), DataSet, like="Digits")
        except checks.InputError as error:
            if data is not None:
                raise
            raise checks.InputError(
                f"the data of {self.folder} cannot be loaded: {error}; if they are elsewhere now, say so, as with "
                "--data.path or --data.root"
            ) from error
        record = DataRecord.of(dataset)
        if own_record is not None and data is None and (difference := own_record.difference(record)) is not None:
            raise checks.InputError(
                f"data must be those that {self.folder} was trained on, but they are not: {difference}; other data are "
                "taken where --data says which"
            )
        if own_record is not None and (mismatch := own_record.mismatch(record)) is not None:
            raise checks.InputError(f"data must be like those that {self.folder} was trained on, but {mismatch}")
        program = program_for(dataset, **chosen)
        self._load_weights(program, weights)
        return dataset, program

    def load_program(self, weights: Literal["best", "last"] = "best") -> Any:
        """Make the trained program alone, which needs no data unless the run has no record of them.

        Args:
            weights: weights of the best validation ELBO, or of the last epoch.
        """
        if self.data_record() is None:
            return self.load(weights)[1]
        with self.guarded(), self._enough_memory():
            chosen = self._components({"data"})
            described = self.describe_data()
            program = make_program(
                described.data_shape, levels=described.observed_levels, schema=described.schema, **chosen
            )
            self._load_weights(program, weights)
        return program

    def data_record(self) -> DataRecord | None:
        """Read the record of the data that the run was trained on; None for an older run."""
        return DataRecord.read(self.folder / "data.json")

    def describe_data(self) -> DataRecord:
        """Describe the data that the run was trained on; for an older run, they are loaded."""
        return self.data_record() or DataRecord.of(self.load()[0])

    def _components(self, skip: set[str | int] | None = None) -> dict[str, Any]:
        config = self.config()
        try:
            return components_of(config, skip or set())
        except checks.InputError as error:
            raise checks.InputError(f"{self.folder / 'config.yaml'} cannot be used: {error}") from error

    def save_epoch(
        self, weights: dict[str, Tensor], best: dict[str, Tensor] | None, history: History, state: State
    ) -> None:
        """Write the weights, metrics and state after an epoch.

        Args:
            weights: weights of the program after the epoch.
            best: weights of the best epoch, if they are not written yet.
            history: history of all epochs until then.
            state: state to resume from.
        """
        if best is not None:
            save_weights(best, self.folder / "weights.safetensors", FORMAT)
        save_weights(weights, self.folder / "checkpoint" / "weights.safetensors", FORMAT)
        self.save_metrics(history)
        with atomic_write(self.folder / "checkpoint" / "state.pt") as file:
            torch.save({"format": FORMAT, **state}, file)

    def save_refitted(self, program: nn.Module, history: History, origin: dict[str, Any]) -> None:
        """Write a program with a refitted prior: weights, the metrics of its original run, and which run that is."""
        with atomic_write(self.folder / "refitted.json") as file:
            file.write(json.dumps({"format": FORMAT, **origin}, indent=2).encode())
        for name in ("weights.safetensors", "checkpoint/weights.safetensors"):
            save_weights(program.state_dict(), self.folder / name, FORMAT)
        self.save_metrics(history)

    def save_program(self, program: nn.Module, history: History | None) -> None:
        """Write the weights of a program that was trained in Python, and its history if there is one."""
        with atomic_write(self.folder / "saved.json") as file:
            file.write(json.dumps({"format": FORMAT}).encode())
        for name in ("weights.safetensors", "checkpoint/weights.safetensors"):
            save_weights(program.state_dict(), self.folder / name, FORMAT)
        self.save_metrics(history or History())

    @property
    def was_saved(self) -> bool:
        """True if the program was trained in Python and saved, so that there is no command that trains it."""
        return (self.folder / "saved.json").exists()

    def save_metrics(self, history: History) -> None:
        """Write ``metrics.csv``, one line per epoch; nothing for a history without epochs."""
        if history.epochs:
            write_text(self.folder / "metrics.csv", history_to_csv(history))

    def state(self) -> State | None:
        """Read the state to resume from, or None if no epoch was finished."""
        path = self.folder / "checkpoint" / "state.pt"
        if self.was_saved:
            raise checks.InputError(f"run must be one of pyrovae train to be resumed, but {self.folder} was saved")
        if (self.folder / "refitted.json").exists():
            raise checks.InputError(
                f"run must be a training to be resumed, but the prior of {self.folder} was refitted"
            )
        if not path.exists():
            if (self.folder / "metrics.csv").exists() and len(self.history().epochs) > 1:
                raise checks.InputError(f"{path} is missing from the run, which cannot be resumed without it")
            return None
        with _reading(path):
            if not zipfile.is_zipfile(path):
                raise ValueError("it is no checkpoint, or cut short")
            state = torch.load(path, map_location="cpu", weights_only=True)
            version = state.pop("format", None) if isinstance(state, dict) else None
            if version != FORMAT:
                raise ValueError(f"it has format {version}, and this pyrovae reads {FORMAT}")
        return state

    def history(self) -> History:
        """Read ``metrics.csv``; a program that was saved without a history has none."""
        path = self.folder / "metrics.csv"
        if not path.exists() and (self.was_saved or (self.folder / "refitted.json").exists()):
            return History()
        with _reading(path):
            return history_from_csv(path.read_text(encoding="utf-8"))

    def save_evaluation(self, name: str, summary: dict[str, Any], result: LogMarginal) -> Path:
        """Write an evaluation as JSON, and its values of each datum as netCDF beside it; return the JSON's path."""
        path, values = self.folder / "evaluation" / f"{name}.nc", result.to_arviz()
        size = sum(group.nbytes for group in groups_of(values).values())
        check_writable(path.parent, size + size // 10 + 2**20)  # HDF5 crashes on a full disk
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as beside:
                write_inference_data(values, f"{beside}/values.nc")
                os.replace(f"{beside}/values.nc", path)
        except (OSError, RuntimeError) as error:
            raise write_error(path, error) from error
        return self._save_json("evaluation", name, summary)

    def save_diagnosis(self, split: str, summary: dict[str, Any]) -> Path:
        """Write a diagnosis of a split as JSON; return its path."""
        return self._save_json("diagnosis", split, summary)

    def _save_json(self, kind: str, name: str, summary: dict[str, Any]) -> Path:
        path = self.folder / kind / f"{name}.json"
        with atomic_write(path) as file:
            file.write(json.dumps({"format": FORMAT, **summary}, indent=2, allow_nan=False).encode())
        return path

    def evaluations(self) -> dict[str, dict[str, Any]]:
        """Read the results of all evaluations, by name."""
        return self._read_json("evaluation", EVALUATION)

    def diagnoses(self) -> dict[str, dict[str, Any]]:
        """Read the results of all diagnoses, by split."""
        return self._read_json("diagnosis", DIAGNOSIS)

    def _read_json(self, kind: str, fields: Fields) -> dict[str, dict[str, Any]]:
        found = {}
        for path in sorted((self.folder / kind).glob("*.json")):
            with _reading(path):
                figures = json.loads(path.read_text(encoding="utf-8"))
                if not isinstance(figures, dict) or figures.get("format") != FORMAT:
                    raise ValueError(f"it does not hold the figures of format {FORMAT}")
                if "num_images" in figures:  # the name in files of version 0.1
                    figures["num_data"] = figures.pop("num_images")
                if kind == "evaluation":
                    figures = _with_estimator(figures)
                check_fields(figures, fields)
                found[path.stem] = figures
        return found

    def values(self, name: str) -> InferenceData:
        """Read an evaluation's values of each datum, its draws and its data, as made by ``LogMarginal.to_arviz``.

        Args:
            name: name of the evaluation, such as ``test-importance-5000``.
        """
        path = self.folder / "evaluation" / f"{name}.nc"
        with _reading(path):
            values = read_inference_data(path)
            check_values(values)
        return values

    def _load_weights(self, program: nn.Module, which: Literal["best", "last"]) -> None:
        path = self.folder / ("weights.safetensors" if which == "best" else "checkpoint/weights.safetensors")
        if not path.exists():
            raise checks.InputError(f"{path} does not exist: no epoch of the run was finished")
        with _reading(path):
            load_weights(program, path, FORMAT)


def _with_present_options(config: dict[str, Any]) -> dict[str, Any]:
    """Return a training's configuration with options that came later, and in place of one that is gone."""
    if "epochs" not in config:
        return config  # it was saved, or refitted
    logger = {"class_path": "pyrovae.tracking.TensorBoard"} if config.get("tensorboard") else None
    present = {name: value for name, value in config.items() if name != "tensorboard"}
    return {"kl_cycles": 1, "ema_decay": None, "logger": logger, **present}


def _with_estimator(figures: dict[str, Any]) -> dict[str, Any]:
    """Add the estimator to the results of an evaluation of version 0.1, which has its options one by one."""
    if "estimator" in figures:
        return figures
    method, count = str(figures.get("method", "importance")), figures.get("num_samples")
    if method == "annealed":
        options = {"num_chains": count, **(figures.get("annealing") or {})}
    else:
        options = {"num_samples": count, **{key: figures.get(key) for key in ("proposal_scale", "prior_share")}}
    options = {key: value for key, value in options.items() if value is not None}
    annealed = {"share_annealed": float(method == "annealed")}
    return {**annealed, **figures, "estimator": {"class": method.capitalize(), **options}}


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise checks.InputError(f"{path} is missing from the run") from error
    except Exception as error:
        raise checks.InputError(f"{path} cannot be read: {checks.reason(error)}") from error
