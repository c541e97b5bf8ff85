"""TensorBoard log of a training, as a callback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyrovae import checks
from pyrovae.files import write_error
from pyrovae.training.history import History

__all__ = ["tensorboard_writer"]


def tensorboard_writer(folder: str | Path) -> Callable[[History, Callable[[], dict[str, Any]]], None]:
    """Return a callback of ``fit`` that writes each epoch's results for TensorBoard.

    Args:
        folder: folder of the log.

    Raises:
        ValueError: if TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise checks.InputError(
            "tensorboard must be installed for its log: pip install pyrovae[tensorboard]"
        ) from error
    try:
        writer = SummaryWriter(folder)
    except OSError as error:
        raise write_error(folder, error) from error

    def write(history: History, state: Callable[[], dict[str, Any]]) -> None:
        row = history.epochs[-1]
        try:
            for name in history.columns()[1:]:
                part, _, term = name.partition("_")
                tag = f"{term}/{part}" if part in ("train", "validation") else name
                writer.add_scalar(tag, getattr(row, name), row.epoch)
            writer.flush()
        except OSError as error:
            raise write_error(folder, error) from error

    return write
