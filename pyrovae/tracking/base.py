"""Base class of loggers."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pyrovae import checks
from pyrovae.training import Epoch, History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Logger", "LoggerFactory", "flat", "missing_package", "png", "tags"]


class Logger(ABC):
    """Base class of loggers; a subclass says where options, curves, results, figures and files are written.

    A logger is a callback of :func:`pyrovae.fit`, which logs the results of each epoch. ``pyrovae train --logger`` also
    logs the options and a figure of the curves, ``evaluate`` the evaluation, and ``report`` the page and its figures.
    A subclass calls ``super().__init__()``; to go on with a log, it is made again with the same arguments.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyrovae.tracking import CSV
        >>> vae = VAE(StandardNormal(2), Bernoulli((1, 8, 8), 2), DiagonalNormal((1, 8, 8), 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with CSV(folder) as logger:
        ...         history = fit(vae.model, vae.guide, Digits(), epochs=2, progress=False, callback=logger)
        ...     len(Path(folder, "curves.csv").read_text().splitlines())
        3
    """

    def __init__(self) -> None:
        self._identifier: str | None = None

    def start(self, run: Path | None = None, identifier: str | None = None) -> str:
        """Begin a log, or go on with one; by itself, a logger begins one when it is first used.

        Args:
            run: folder of the run that is logged, if there is one.
            identifier: of the log to go on with, as this function returned it.

        Returns:
            the identifier of the log.

        Raises:
            ValueError: if the log cannot be written.
        """
        if self._identifier is None:
            self._identifier = self._start(run, identifier)
        return self._identifier

    def log_options(self, options: Mapping[str, Any]) -> None:
        """Log the options of a training, as in a run's ``config.yaml``."""
        self.start()
        self._options(flat(options))

    def log_epoch(self, history: History) -> None:
        """Log the results of the last epoch."""
        self.start()
        self._epoch(history)

    def log_results(self, name: str, numbers: Mapping[str, float]) -> None:
        """Log numbers that belong to no epoch, such as those of an evaluation.

        Args:
            name: name of all of them, such as ``test-importance-5000``.
            numbers: numbers by name.
        """
        self.start()
        self._results({f"{name}/{key}": float(value) for key, value in numbers.items()})

    def log_figure(self, name: str, figure: Figure) -> None:
        """Log a figure."""
        self.log_picture(name, png(figure))

    def log_picture(self, name: str, content: bytes) -> None:
        """Log a figure that was drawn, as PNG."""
        self.start()
        self._picture(name, content)

    def log_file(self, path: Path) -> None:
        """Log a file, such as a run's page."""
        self.start()
        self._file(path)

    def finish(self, *, failed: bool = False) -> None:
        """End the log; ``failed`` marks it as that of a training that failed."""
        if self._identifier is not None:
            self._finish(failed)
            self._identifier = None

    def __call__(self, history: History, state: Callable[..., Any]) -> None:
        """Log an epoch: the logger as a callback of ``fit``."""
        self.log_epoch(history)

    def __enter__(self) -> Logger:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.finish(failed=kind is not None)

    @abstractmethod
    def _start(self, run: Path | None, identifier: str | None) -> str:
        """Begin a log or go on with one; return its identifier."""

    @abstractmethod
    def _options(self, options: dict[str, str]) -> None:
        """Log options, flat."""

    @abstractmethod
    def _epoch(self, history: History) -> None:
        """Log the last epoch."""

    @abstractmethod
    def _results(self, numbers: dict[str, float]) -> None:
        """Log numbers by name."""

    @abstractmethod
    def _picture(self, name: str, content: bytes) -> None:
        """Log a picture in PNG."""

    @abstractmethod
    def _file(self, path: Path) -> None:
        """Log a file."""

    @abstractmethod
    def _finish(self, failed: bool) -> None:
        """End the log."""


LoggerFactory: TypeAlias = Callable[[], Logger]


def flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested options as text by name; that of a component is its class, and its own options follow with a dot.

    Example:
        >>> flat({"epochs": 3, "prior": {"class_path": "my.Prior", "init_args": {"scale": 2.0}}})
        {'epochs': '3', 'prior': 'my.Prior', 'prior.scale': '2.0'}
    """
    found = {}
    for name, value in options.items():
        if isinstance(value, Mapping) and "class_path" in value:
            found[prefix + name] = str(value["class_path"])
            found |= flat(value.get("init_args") or {}, f"{prefix}{name}.")
        elif isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = str(value)
    return found


def tags(epoch: Epoch) -> dict[str, float]:
    """Return an epoch's numbers by name; training and validation of a quantity share the first part of the name.

    Example:
        >>> tags(Epoch(1, -30.0, -28.0, 2.0, -31.0, -29.0, 2.0, 0.1, 1e-3))["elbo/validation"]
        -31.0
    """
    found = {}
    for name, value in vars(epoch).items():
        part, _, term = name.partition("_")
        if name != "epoch":
            found[f"{term}/{part}" if part in ("train", "validation") else name] = float(value)
    return found


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def missing_package(logger: str, extra: str) -> checks.InputError:
    """Return the error that a logger's package is not installed."""
    return checks.InputError(f"logger {logger} needs a package that is not installed: pip install 'pyrovae[{extra}]'")
