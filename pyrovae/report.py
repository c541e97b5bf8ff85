"""A run's page: its numbers and pictures in one self-contained HTML file."""

from __future__ import annotations

import base64
import io
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import torch
import yaml
from matplotlib.figure import Figure
from torch import Tensor

from pyrovae import checks, figures
from pyrovae.data import DataSet
from pyrovae.evaluation import encode, generate, prior_grid, reconstruct
from pyrovae.evaluation.tracing import evaluating
from pyrovae.files import writing
from pyrovae.handlers import arguments_of
from pyrovae.likelihoods import Likelihood
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from pyrovae.runs import Run, some_of, template_of
from pyrovae.training import History

__all__ = ["write_report"]


def write_report(folder: str | Path, *, seed: int = 0) -> Path:
    """Draw a run's pictures into ``figures/`` and write ``report.html``, which needs no other file.

    Args:
        folder: the run's folder.
        seed: of the samples that are drawn.

    Returns:
        the page's path.

    Raises:
        ValueError: if the folder does not hold a trained run.
    """
    run = Run(folder)
    config = run.config()
    history = run.history()
    evaluations = [_evaluation_rows(run, name, entry) for name, entry in run.evaluations().items()]
    with torch.random.fork_rng(devices=[]):
        data, program = run.load()
        torch.manual_seed(seed)
        drawn = _draw(data, program, history)
    pictures = []
    for name, (figure, caption) in drawn.items():
        png = _png(figure)
        with writing(run.folder / "figures" / f"{name}.png") as file:
            file.write(png)
        pictures.append({"caption": caption, "base64": base64.b64encode(png).decode()})
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pyrovae"), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("report.html").render(
        name=run.folder.resolve().name,
        folder=str(run.folder),
        summary=_summary(data, program, history),
        evaluations=evaluations,
        pictures=pictures,
        config=yaml.safe_dump(config, sort_keys=False),
        version=version("pyrovae"),
    )
    with writing(run.folder / "report.html") as file:
        file.write(page.encode())
    return run.folder / "report.html"


def _draw(data: DataSet, program: Any, history: History) -> dict[str, tuple[Figure, str]]:
    few = some_of(program, data.test, 20)
    shown = some_of(program, data.test, 5000)
    template = template_of(program, data)
    x = arguments_of(few)[0]
    codes = _codes(encode(program.guide, shown))  # (N, D)
    labels = None if data.test.labels is None else data.test.labels[: len(codes)]
    classes = len(template[1]) if isinstance(template, tuple) else None
    drawn = {
        "training_curves": (
            figures.training_curves(history),
            "The bound and its two terms during training, in nats per image.",
        ),
        "reconstructions": (
            figures.reconstructions(x, reconstruct(program.model, program.guide, few)),
            "Test images above, their reconstructions through the mean code below.",
        ),
        "samples": (
            figures.samples(generate(program.model, 8 * (classes or 8), template), classes),
            f"Codes drawn from the prior, decoded{', a class in each column' if classes else ''}: the means of p(x|z).",
        ),
        "latent_map": (
            figures.latent_map(codes, labels),
            "Where the encoder puts the test images"
            + (", coloured by class." if labels is not None else ".")
            + ("" if codes.shape[1] <= 2 else " The first two principal components of the means."),
        ),
    }
    if codes.shape[1] == 2 and classes is None and _has_a_plane(program, x):
        drawn["manifold"] = (
            figures.manifold(prior_grid(program.model, x, columns=20), columns=20),
            "What the decoder makes of the plane of codes, at evenly spaced percentiles of the prior.",
        )
    return drawn


def _codes(latents: dict[str, Tensor]) -> Tensor:
    """Return the codes that a map shows, ``(N, D)``: of several sites, the narrowest, which is the most abstract."""
    vectors = [z.flatten(1) for z in latents.values() if z.dim() > 1 and z.is_floating_point()]
    if not vectors:
        raise checks.InputError(f"program must have a latent site of vectors, but has {', '.join(latents)}")
    return min(vectors, key=lambda z: z.shape[1])


def _has_a_plane(program: Any, x: Tensor) -> bool:
    try:
        prior_grid(program.model, x, columns=1)
    except checks.InputError:
        return False
    return True


def _summary(data: DataSet, program: Any, history: History) -> str:
    conditionals = [
        type(part).__name__ for part in program.children() if isinstance(part, Prior | Likelihood | Posterior)
    ]
    latent_dim = getattr(getattr(program, "prior", None), "latent_dim", None)
    return (
        f"A {type(program).__name__}"
        + (f" of {latent_dim} latents" if latent_dim is not None else "")
        + (f" ({', '.join(conditionals)})" if conditionals else "")
        + f", trained on {len(data.train)} images of {type(data).__name__} "
        f"({data.kind}, shape {' x '.join(map(str, data.data_shape))}) for {len(history.epochs)} epochs. "
        f"The best validation ELBO, {history.best_value:.2f} nats per image, came after epoch {history.best_epoch}; "
        "the weights are those of that epoch." + _accuracy(data, program)
    )


def _accuracy(data: DataSet, program: Any) -> str:
    if data.test.labels is None or not callable(getattr(program, "classify", None)):
        return ""
    with evaluating(program.guide):
        told = torch.cat([program.classify(x).argmax(-1) for x in data.test.batches(1000)])
    known = data.test.labels >= 0
    right = (told == data.test.labels)[known].double().mean().item()
    return f" It names the class of {right:.1%} of the test images." if bool(known.any()) else ""


def _evaluation_rows(run: Run, name: str, entry: dict[str, Any]) -> dict[str, Any]:
    def nats(key: str, digits: int) -> str:
        return "unknown" if entry[key] is None else f"{entry[key]:.{digits}f} nats"

    try:
        rows = [
            ("negative log-likelihood, per image", nats("nll", 2)),
            ("standard error over test images", nats("standard_error", 2)),
            ("Monte Carlo error", nats("mc_error", 4)),
            ("ELBO, per image", nats("elbo", 2)),
            ("images", str(entry["num_images"])),
            ("Pareto k̂: share above threshold", f"{entry['pareto_k']['share_above']:.1%}"),
            ("effective samples, median", "unknown" if entry["ess"]["50%"] is None else f"{entry['ess']['50%']:.0f}"),
            ("seed", str(entry["seed"])),
        ]
        if entry["bits_per_dim"] is not None:
            rows.insert(3, ("bits per dimension", f"{entry['bits_per_dim']:.4f}"))
        shown = {key: entry[key] for key in ("verdict", "caveats")}
    except (KeyError, TypeError, ValueError) as error:
        path = run.folder / "evaluation" / f"{name}.json"
        raise checks.InputError(
            f"{path} must hold an evaluation's figures, but one is missing or no number: {checks.reason(error)}"
        ) from error
    return {**entry, **shown, "name": name, "rows": rows}


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
