"""Report page of a run, and the files of its figures."""

from __future__ import annotations

import base64
import copy
import io
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import torch
import yaml

from pyrovae import checks, progress
from pyrovae.data import DataSet, SplitName
from pyrovae.files import atomic_write
from pyrovae.programs import arguments_of
from pyrovae.report import diagnosis, evaluations, program, summary
from pyrovae.report.explorer import colours, explorer
from pyrovae.report.gallery import batch_at, chosen, evaluated_values, gallery
from pyrovae.report.image_sheet import PixelScale
from pyrovae.report.plane import Latents
from pyrovae.report.skipped import attempt
from pyrovae.runs import DataFactory, Run, log_to_tracker, other_data
from pyrovae.tracking import Logger

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from tqdm import tqdm

__all__ = ["write_report"]

_BYTES = 1_200_000  # size of the gallery's images before compression
_DPI = 120

_FIRST = (
    "manifold",
    "marginals",
    "samples",
    "reconstructions",
)  # the page begins with the first of these that could be drawn


def write_report(
    folder: str | Path,
    *,
    data: DataFactory | None = None,
    split: SplitName = "test",
    latents: Latents = None,
    num_data: int = 400,
    seed: int = 0,
) -> Path:
    """Draw a run's figures into ``figures/``, and write ``report.html``, which needs no other file.

    If the run's data are missing or have changed, the page leaves out what needs them, and says so.

    Args:
        folder: the run's folder.
        data: makes the run's data set from its present place, or another data set.
        split: part of the data that is shown; ``all`` for all of them in the order in which they are stored.
        latents: the interactive plane of codes: two latents by their numbers from 0; ``pca`` for the first two
            principal directions of the codes; or None for the two latents if there are no more, else ``pca``.
        num_data: largest number of test data in the gallery.
        seed: seed of the samples.

    Returns:
        path of the page.

    Raises:
        ValueError: if the folder does not contain a trained run, its results cannot be read, or it has no such
            latents.
    """
    run = Run(folder)
    checks.integer("num_data", num_data)
    with progress.bar("report", 4, "part") as parts:
        page = _page(run, data, split, latents, num_data, seed, parts)
    with atomic_write(run.folder / "report.html") as file:
        file.write(page.encode())
    log_to_tracker(run, partial(_log, run))
    return run.folder / "report.html"


def _log(run: Run, logger: Logger) -> None:
    """Log the page and the figures that were drawn for it."""
    logger.log_file(run.folder / "report.html")
    for path in sorted((run.folder / "figures").glob("*.png")):
        logger.log_picture(path.stem, path.read_bytes())


def _page(
    run: Run,
    given: DataFactory | None,
    split: SplitName,
    latents: Latents,
    num_data: int,
    seed: int,
    parts: tqdm[Any],
) -> str:
    """Draw all figures and return the page."""
    config, history, entries = run.config(), run.history(), run.evaluations()
    config.pop("logger", None)  # its options are its user's alone: they may hold a password
    evaluated = [evaluations.section(run, name, entries) for name in entries]
    diagnosed = [diagnosis.section(run, split, entry) for split, entry in run.diagnoses().items()]
    best = summary.best_evaluation(entries)
    skipped: list[str] = []
    parts.update()
    with torch.random.fork_rng(devices=[]):
        trained, described = run.load_program(), run.describe_data()
        data: DataSet | None = None
        other = None
        with attempt("test data", skipped):
            data = run.load(data=given)[0]
            other = None if given is None else other_data(run, data, split)
            skipped += [] if other is None else [other.sentence]
            data = _showing(data, split)
        torch.manual_seed(seed)
        drawn = program.pictures(data, described, trained, history, skipped)
        parts.update()
        evaluation = summary.best_evaluation(entries, other, split)
        known = {} if evaluation is None else _evaluated(run, evaluation, data)
        interactive: dict[str, Any] = {"gallery": None, "plane": None}
        if data is not None and described.schema is None:  # rows of a table are no images
            interactive = _interactive(data, trained, latents, num_data, known, skipped)
        health = summary.health(
            trained, data if other is None else None, history, None if best is None else entries[best]
        )
        parts.update()
    pictures = _saved(run, drawn)
    first = next((pictures.pop(list(drawn).index(name)) for name in _FIRST if name in drawn), None)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pyrovae.report"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("report.html").render(
        name=run.folder.resolve().name,
        summary=summary.trained(described, trained, history, saved=run.was_saved)
        + ("" if data is None else summary.accuracy(data, trained)),
        likelihood=None if best is None else summary.likelihood(entries[best]),
        health=health,
        following=summary.next_steps(run, described, trained, history, None if best is None else entries[best]),
        interactive=interactive,
        evaluations=[
            {**section, "pictures": _saved(run, section["pictures"], f"{section['name']}-")} for section in evaluated
        ],
        diagnoses=[
            {**section, "pictures": _saved(run, section["pictures"], f"diagnosis-{section['name']}-")}
            for section in diagnosed
        ],
        first=first,
        pictures=pictures,
        skipped=skipped,
        repeated=summary.reproduction_steps(run),
        config=yaml.safe_dump(config, sort_keys=False),
        version=version("pyrovae"),
    )
    parts.update()
    return page


def _evaluated(run: Run, name: str, data: DataSet | None) -> dict[str, torch.Tensor]:
    """Return the values of an evaluation of the data that are shown, for each datum."""
    known = evaluated_values(run.values(name))
    count, most = len(known["log_prob"]), None if data is None else len(data.test)
    if most is not None and count > most:
        raise checks.InputError(
            f"{run.folder / 'evaluation' / name}.nc must be of the data that are shown, of which there are {most}, but "
            f"holds values of {count}"
        )
    return known


def _showing(data: DataSet, split: SplitName) -> DataSet:
    """Return a data set whose test split, which is shown, is a given split."""
    shown = copy.copy(data)
    shown.test = getattr(data, split).with_fixed_noise()
    return shown


def _interactive(
    data: DataSet, trained: Any, latents: Latents, num_data: int, known: dict[str, torch.Tensor], skipped: list[str]
) -> dict[str, Any]:
    """Return the data of the page's scripts."""
    x = arguments_of(batch_at(trained, data, torch.arange(min(500, len(data.test)))))[0]
    pixels = PixelScale.of(x)
    fitting = max(20, _BYTES // pixels(x[:1]).numel())
    positions = chosen(known, len(data.test), min(num_data, fitting))
    plane = explorer(trained, data, latents, positions, pixels, skipped)
    shown = gallery(trained, data, positions, known, pixels, skipped)
    labels = set(shown["classes"]) | (
        {label for label in plane["point_labels"] or () if label >= 0} if plane else set()
    )
    classes = sorted(labels)
    return {
        "gallery": shown,
        "plane": plane,
        "classes": classes,
        "colours": {"light": colours(len(classes)), "dark": colours(len(classes), dark=True)},
    }


def _saved(run: Run, figures: dict[str, tuple[Figure, str]], prefix: str = "") -> list[dict[str, str]]:
    """Write figures to the run's ``figures/``, and return them encoded for the page."""
    saved = []
    for name, (figure, caption) in figures.items():
        png = _png(figure)
        figure.set_layout_engine(None)  # the layout is found now, and would be found again at the next saving
        with atomic_write(run.folder / "figures" / f"{prefix}{name}.png") as file:
            file.write(png)
        kind = "plot"
        if any(axes.images for axes in figure.axes):
            kind, png = "picture", _png_for_any_paper(figure)
        saved.append({"kind": kind, "caption": caption, "base64": base64.b64encode(png).decode()})
    return saved


def _png(figure: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, **options)
    return buffer.getvalue()


def _png_for_any_paper(figure: Figure) -> bytes:
    """Return a figure of images without its white paper, and with grey text.

    The page inverts plots where it is dark, but not images of data: they would be negatives.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_color("#808080")
    return _png(figure, facecolor="none")
