"""A run's folder on disk: configuration, weights, checkpoint, metrics, evaluations; atomic and versioned.

Loading a folder unpickles nothing, imports nothing but the modules of the classes that its configuration names, and
calls nothing but these classes, each of which must be a subclass of the base class of its place.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import safetensors
import torch
import yaml
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.data import DataSet
from pyrovae.evaluation import LogMarginal
from pyrovae.files import check_writable, located, path_of, unwritable, writing
from pyrovae.parsing import Parser
from pyrovae.runs.configuration import assemble, complete
from pyrovae.runs.lock import locked
from pyrovae.training import Epoch, History, State

if TYPE_CHECKING:
    import arviz

__all__ = ["FORMAT", "Run"]

FORMAT = 1
"""Version of the folder's layout; a folder of another version is refused."""


class Run:
    """Read and write one run's folder.

    Args:
        folder: where it is.

    Raises:
        ValueError: if what is read is missing, cut short, tampered with, or of another version.

    Example:
        >>> Run("runs/none-such").load()
        Traceback (most recent call last):
        ...
        pyrovae.checks.InputError: run must be a folder that pyrovae train made, but there is no config.yaml in ...
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = path_of("run", folder)

    @property
    def exists(self) -> bool:
        """Whether the folder holds a run."""
        return (self.folder / "config.yaml").exists()

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """Keep the folder for this process alone to train in; see :func:`pyrovae.runs.lock.locked`."""
        return locked(self.folder)

    def create(self, config: str) -> None:
        """Begin a run with its configuration as YAML; a folder that holds one already is refused."""
        self.refuse_existing("run must be a new folder, or go on with --resume true")
        self.rewrite_config(config)

    def refuse_existing(self, accepted: str) -> None:
        """Raise a sentence that begins with what would be accepted, if the folder holds a run."""
        if self.exists:
            raise checks.InputError(f"{accepted}, but {self.folder} holds a run already")

    def discard(self) -> None:
        """Forget a run that was created but refused before its first epoch, so that its folder is free again."""
        if not (self.folder / "weights.safetensors").exists():
            for name in ("config.yaml", "refitted.json"):
                (self.folder / name).unlink(missing_ok=True)
            for folder in (self.folder / "checkpoint", self.folder):
                with contextlib.suppress(OSError):  # it holds something else
                    folder.rmdir()

    def rewrite_config(self, config: str) -> None:
        """Replace the configuration, which a resumed run may change in what does not touch its weights."""
        with writing(self.folder / "config.yaml") as file:
            file.write(config.encode())

    def config_text(self) -> str:
        """Read the configuration as it stands in the file."""
        return (self.folder / "config.yaml").read_text(encoding="utf-8")

    def config(self) -> dict[str, Any]:
        """Read the configuration."""
        path = self.folder / "config.yaml"
        if not path.exists():
            raise checks.InputError(
                f"run must be a folder that pyrovae train made, but there is no config.yaml in {located(self.folder)}"
            )
        with _reading(path):
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
            if not isinstance(config, dict):
                raise ValueError("it is not a mapping")
        return config

    def load(self, weights: Literal["best", "last"] = "best") -> tuple[DataSet, Any]:
        """Make the data set and the trained program.

        Args:
            weights: those of the best validation ELBO, or of the last epoch.
        """
        config = self.config()
        reader = Parser()
        names = reader.add_function_arguments(assemble)
        try:
            given = reader.parse_object({name: config[name] for name in names if name in config}, defaults=False)
            parser, options = complete(assemble, given)
            chosen = parser.instantiate(options)
        except checks.InputError as error:
            raise checks.InputError(f"{self.folder / 'config.yaml'} cannot be used: {error}") from error
        data, program = assemble(**chosen)
        self._load_weights(
            program, self.folder / ("weights.safetensors" if weights == "best" else "checkpoint/weights.safetensors")
        )
        return data, program

    def save_epoch(self, program: nn.Module, history: History, state: State) -> None:
        """Write what an epoch changes: weights (the best ones apart), metrics, and the state to resume from."""
        self._save_weights(program, best=history.best_epoch == len(history.epochs))
        self.save_metrics(history)
        with writing(self.folder / "checkpoint" / "state.pt") as file:
            torch.save({"format": FORMAT, **state}, file)

    def save_refitted(self, program: nn.Module, history: History, origin: dict[str, Any]) -> None:
        """Write a program whose prior was refitted: weights, the metrics of the run that it comes from, and which."""
        with writing(self.folder / "refitted.json") as file:
            file.write(json.dumps({"format": FORMAT, **origin}, indent=2).encode())
        self._save_weights(program, best=True)
        self.save_metrics(history)

    def save_metrics(self, history: History) -> None:
        """Write ``metrics.csv``, a line an epoch."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(history.columns())
        table.writerows(history.rows())
        with writing(self.folder / "metrics.csv") as file:
            file.write(text.getvalue().encode())

    def state(self) -> State | None:
        """Read the state to resume from, or None if no epoch was finished."""
        path = self.folder / "checkpoint" / "state.pt"
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
        """Read ``metrics.csv``."""
        path = self.folder / "metrics.csv"
        with _reading(path), path.open(newline="", encoding="utf-8") as file:
            table = csv.reader(file)
            if next(table, None) != History().columns():
                raise ValueError("its first line does not name the columns")
            rows = list(table)
            if not rows or any(len(row) != len(History().columns()) for row in rows):
                raise ValueError("it must have a row of as many numbers as there are columns for each epoch")
            return History([Epoch(int(row[0]), *map(float, row[1:])) for row in rows])

    def save_evaluation(self, name: str, summary: dict[str, Any], result: LogMarginal) -> Path:
        """Write an evaluation as JSON, and its per-datum values as netCDF beside it; return the JSON's path."""
        path, values = self.folder / "evaluation" / f"{name}.nc", result.to_arviz()
        size = sum(values[group].nbytes for group in values.groups())
        check_writable(path.parent, size + size // 10 + 2**20)  # HDF5 does not survive a full disk
        try:
            with tempfile.TemporaryDirectory(dir=path.parent) as beside:
                values.to_netcdf(f"{beside}/values.nc", engine="h5netcdf")
                os.replace(f"{beside}/values.nc", path)
        except (OSError, RuntimeError) as error:
            raise unwritable(path, error) from error
        return self._save_figures("evaluation", name, summary)

    def save_diagnosis(self, split: str, summary: dict[str, Any]) -> Path:
        """Write a diagnosis of a split as JSON; return its path."""
        return self._save_figures("diagnosis", split, summary)

    def _save_figures(self, kind: str, name: str, summary: dict[str, Any]) -> Path:
        path = self.folder / kind / f"{name}.json"
        with writing(path) as file:
            file.write(json.dumps({"format": FORMAT, **summary}, indent=2, allow_nan=False).encode())
        return path

    def evaluations(self) -> dict[str, dict[str, Any]]:
        """Read the figures of all evaluations, by name."""
        return self._figures("evaluation")

    def diagnoses(self) -> dict[str, dict[str, Any]]:
        """Read the figures of all diagnoses, by the split that they are of."""
        return self._figures("diagnosis")

    def _figures(self, kind: str) -> dict[str, dict[str, Any]]:
        found = {}
        for path in sorted((self.folder / kind).glob("*.json")):
            with _reading(path):
                found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
                if not isinstance(found[path.stem], dict) or found[path.stem].get("format") != FORMAT:
                    raise ValueError(f"it does not hold the figures of format {FORMAT}")
        return found

    def values(self, name: str) -> arviz.InferenceData:
        """Read an evaluation's figures of each datum, with its draws and data, as ``LogMarginal.to_arviz`` made them.

        Args:
            name: of the evaluation, such as ``test-importance-5000``.
        """
        path = self.folder / "evaluation" / f"{name}.nc"
        with _reading(path), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # ArviZ announces its next version when it is imported
            import arviz

            with arviz.rc_context({"data.load": "eager"}):  # a broken part is found here, and no file is left open
                return arviz.from_netcdf(str(path), engine="h5netcdf")

    def _save_weights(self, program: nn.Module, *, best: bool) -> None:
        weights = save(
            {name: tensor.detach().contiguous() for name, tensor in program.state_dict().items()},
            metadata={"format": f"pyrovae {FORMAT}"},
        )
        for name in (
            ("weights.safetensors", "checkpoint/weights.safetensors") if best else ("checkpoint/weights.safetensors",)
        ):
            with writing(self.folder / name) as file:
                file.write(weights)

    def _load_weights(self, program: nn.Module, path: Path) -> None:
        if not path.exists():
            raise checks.InputError(f"{path} does not exist: no epoch of the run was finished")
        with _reading(path):
            with safetensors.safe_open(path, framework="pt") as file:
                version = (file.metadata() or {}).get("format")
            if version != f"pyrovae {FORMAT}":
                raise ValueError(f"it has format {version!r}, and this pyrovae reads 'pyrovae {FORMAT}'")
            tensors: dict[str, Tensor] = load_file(path)
            learned = {name for name, _ in program.named_parameters()}  # a buffer may say that there is no bound
            if any(name in learned and not bool(tensor.isfinite().all()) for name, tensor in tensors.items()):
                raise ValueError("it holds weights that are not finite")
            _compare(tensors, program.state_dict())
            program.load_state_dict(tensors)


def _compare(tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name in sorted(tensors.keys() | expected.keys()):
        if name not in tensors or name not in expected:
            verb = "lacks" if name in expected else "holds"
            raise ValueError(f"it {verb} {name}, unlike the program that config.yaml describes")
        held, due = tensors[name], expected[name]
        if held.shape != due.shape or held.is_floating_point() != due.is_floating_point():
            raise ValueError(
                f"{name} must have shape {tuple(due.shape)} and type {due.dtype}, by config.yaml, "
                f"but has {tuple(held.shape)} and {held.dtype}"
            )


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise checks.InputError(f"{path} is missing from the run") from error
    except Exception as error:
        raise checks.InputError(f"{path} cannot be read: {checks.reason(error)}") from error
