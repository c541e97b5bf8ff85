"""Log in Weights & Biases."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any, Literal

from pyrovae.tracking.base import Logger, missing_package, tags
from pyrovae.training import History

__all__ = ["WandB"]


class WandB(Logger):
    """A log in Weights & Biases: options are its config, results its summary, figures and pages its media.

    Offline, the log is in ``wandb`` in the run's folder, or in the current one, until ``wandb sync`` uploads it.

    Args:
        project: name of the project.
        name: name of the run there; the name of the run's folder if not given.
        entity: user or team; that of the account if not given.
        mode: ``online``, ``offline``, or None as W&B chooses it, by the environment variable ``WANDB_MODE``.

    Raises:
        ValueError: if W&B is not installed.
    """

    def __init__(
        self,
        project: str = "pyrovae",
        name: str | None = None,
        entity: str | None = None,
        mode: Literal["online", "offline"] | None = None,
    ) -> None:
        super().__init__()
        try:
            import wandb  # noqa: F401
        except ImportError as error:
            raise missing_package("WandB", "wandb") from error
        self.project = project
        self.name = name
        self.entity = entity
        self.mode = mode
        self._run: Any = None

    def _start(self, run: Path | None, identifier: str | None) -> str:
        import wandb

        settings = wandb.Settings(console="off", silent=True)  # otherwise it replaces standard output
        offline = (self.mode or settings.mode) == "offline"
        self._run = wandb.init(
            project=self.project,
            entity=self.entity,
            name=self.name or (None if run is None else run.resolve().name),
            dir=None if run is None else str(run),
            mode=self.mode,
            id=identifier,
            resume=None if identifier is None or offline else "allow",  # offline, an upload joins those of one id
            reinit="create_new",
            settings=settings,
        )
        self._run.define_metric("*", step_metric="epoch")
        return str(self._run.id)

    def _options(self, options: dict[str, str]) -> None:
        self._run.config.update(options, allow_val_change=True)

    def _epoch(self, history: History) -> None:
        row = history.epochs[-1]
        step = max(row.epoch, self._run.step)  # figures count as steps, and W&B drops what comes with a step of before
        self._run.log({**tags(row), "epoch": row.epoch}, step=step)

    def _results(self, numbers: dict[str, float]) -> None:
        self._run.summary.update(numbers)

    def _picture(self, name: str, content: bytes) -> None:
        import wandb
        from PIL import Image

        with Image.open(io.BytesIO(content)) as picture:
            self._run.log({f"figures/{name}": wandb.Image(picture.convert("RGB"))})

    def _file(self, path: Path) -> None:
        import wandb

        if path.suffix == ".html":
            self._run.log({path.stem: wandb.Html(path.read_text(encoding="utf-8"), inject=False)})
        else:
            shutil.copy2(path, self._run.dir)  # what is there at the end is uploaded

    def _finish(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))
        self._run = None
