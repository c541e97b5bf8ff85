"""Log for TensorBoard."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pyrovae.files import write_error
from pyrovae.tracking.base import Logger, missing_package, tags
from pyrovae.training import History

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["TensorBoard"]


class TensorBoard(Logger):
    """A log for TensorBoard: ``tensorboard --logdir FOLDER`` shows it.

    Options and the paths of files are texts, results are scalars of step 0.

    Args:
        folder: the folder; if not given, ``tensorboard`` in the run's folder, or in the current one.

    Raises:
        ValueError: if TensorBoard is not installed, or the folder cannot be written.
    """

    _writer: SummaryWriter

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError as error:
            raise missing_package("TensorBoard", "tensorboard") from error
        self.folder = None if folder is None else Path(folder)

    def _start(self, run: Path | None, identifier: str | None) -> str:
        from torch.utils.tensorboard import SummaryWriter

        folder = self.folder or (run or Path()) / "tensorboard"
        with self._writing(folder):
            self._writer = SummaryWriter(folder)
        return str(folder)

    def _options(self, options: dict[str, str]) -> None:
        with self._writing():
            self._writer.add_text("options", "\n".join(f"- {name}: `{value}`" for name, value in options.items()))

    def _epoch(self, history: History) -> None:
        row = history.epochs[-1]
        with self._writing():
            for name, value in tags(row).items():
                self._writer.add_scalar(name, value, row.epoch)

    def _results(self, numbers: dict[str, float]) -> None:
        with self._writing():
            for name, value in numbers.items():
                self._writer.add_scalar(name, value, 0)

    def _picture(self, name: str, content: bytes) -> None:
        from PIL import Image

        with self._writing(), Image.open(io.BytesIO(content)) as picture:
            self._writer.add_image(name, np.asarray(picture.convert("RGB")), dataformats="HWC")

    def _file(self, path: Path) -> None:
        with self._writing():
            self._writer.add_text(path.name, f"`{path.resolve()}`")

    def _finish(self, failed: bool) -> None:
        with self._writing():
            self._writer.close()

    @contextmanager
    def _writing(self, folder: Path | None = None) -> Iterator[None]:
        try:
            yield
            if folder is None:
                self._writer.flush()
        except OSError as error:
            raise write_error(folder or self._writer.log_dir, error) from error
