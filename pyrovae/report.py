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

from pyrovae import checks, figures
from pyrovae.data import DataSet
from pyrovae.evaluation import encode, generate, prior_grid, reconstruct
from pyrovae.files import writing
from pyrovae.runs import Run
from pyrovae.training import History
from pyrovae.vae import VAE

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
        data, vae = run.load()
        torch.manual_seed(seed)
        drawn = _draw(data, vae, history)
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
        summary=_summary(data, vae, history),
        evaluations=evaluations,
        pictures=pictures,
        config=yaml.safe_dump(config, sort_keys=False),
        version=version("pyrovae"),
    )
    with writing(run.folder / "report.html") as file:
        file.write(page.encode())
    return run.folder / "report.html"


def _draw(data: DataSet, vae: VAE, history: History) -> dict[str, tuple[Figure, str]]:
    x = data.test[:20]
    shown = data.test[:5000]
    labels = None if data.test.labels is None else data.test.labels[: len(shown)]
    codes = encode(vae.guide, shown)["z"]  # (N, D)
    drawn = {
        "training_curves": (
            figures.training_curves(history),
            "The bound and its two terms during training, in nats per image.",
        ),
        "reconstructions": (
            figures.reconstructions(x, reconstruct(vae.model, vae.guide, x)),
            "Test images above, their reconstructions through the mean code below.",
        ),
        "samples": (
            figures.samples(generate(vae.model, 64, x)),
            "Codes drawn from the prior, decoded: the means of p(x|z).",
        ),
        "latent_map": (
            figures.latent_map(codes, labels),
            "Where the encoder puts the test images"
            + (", coloured by class." if labels is not None else ".")
            + ("" if codes.shape[1] <= 2 else " The first two principal components of the means."),
        ),
    }
    if codes.shape[1] == 2:
        drawn["manifold"] = (
            figures.manifold(prior_grid(vae.model, x, columns=20), columns=20),
            "What the decoder makes of the plane of codes, at evenly spaced percentiles of the prior.",
        )
    return drawn


def _summary(data: DataSet, vae: VAE, history: History) -> str:
    return (
        f"A VAE of {vae.prior.latent_dim} latents ({type(vae.prior).__name__}, {type(vae.likelihood).__name__}, "
        f"{type(vae.posterior).__name__}), trained on {len(data.train)} images of {type(data).__name__} "
        f"({data.kind}, shape {' x '.join(map(str, data.data_shape))}) for {len(history.epochs)} epochs. "
        f"The best validation ELBO, {history.best_value:.2f} nats per image, came after epoch {history.best_epoch}; "
        "the weights are those of that epoch."
    )


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
