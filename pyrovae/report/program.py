"""What the page says of a run's program: a summary in words, and pictures of what it has learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrovae import checks, figures
from pyrovae.data import DataSet
from pyrovae.evaluation import encode, generate, prior_grid, reconstruct
from pyrovae.evaluation.tracing import evaluating
from pyrovae.handlers import arguments_of
from pyrovae.likelihoods import Likelihood
from pyrovae.posteriors import Posterior
from pyrovae.priors import Prior
from pyrovae.runs import some_of, template_of
from pyrovae.training import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pictures", "summary"]


def summary(data: DataSet, program: Any, history: History) -> str:
    """Say what the program is, on what it was trained and how well that went.

    Args:
        data: the data set.
        program: the trained program.
        history: of its training.
    """
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


def pictures(data: DataSet, program: Any, history: History) -> dict[str, tuple[Figure, str]]:
    """Draw the training, reconstructions, samples, and the map of codes, each with its caption.

    Args:
        data: the data set.
        program: the trained program.
        history: of its training.
    """
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


def _accuracy(data: DataSet, program: Any) -> str:
    if data.test.labels is None or not callable(getattr(program, "classify", None)):
        return ""
    with evaluating(program.guide):
        told = torch.cat([program.classify(x).argmax(-1) for x in data.test.batches(1000)])
    known = data.test.labels >= 0
    right = (told == data.test.labels)[known].double().mean().item()
    return f" It names the class of {right:.1%} of the test images." if bool(known.any()) else ""
