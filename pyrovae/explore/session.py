"""What the page of a run computes: codes moved and decoded, pictures explained, ways between images, samples."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyrovae import checks
from pyrovae.data import DataSet
from pyrovae.evaluation import log_weights
from pyrovae.explore.chart import Chart, chart_of
from pyrovae.explore.sliders import sliders_of
from pyrovae.prediction import decode, encode, generate, linear_path, spherical_path
from pyrovae.prediction.latent_axes import narrowest_site
from pyrovae.programs import uses_labels
from pyrovae.runs import labels_of, template_of

__all__ = ["Explanation", "Session"]


@dataclass(frozen=True)
class Explanation:
    """Hold what a program makes of one datum.

    Attributes:
        code: means of the latents, by site name, ``(*event_shape)``.
        reconstruction: ``(*data_shape)``.
        elbo: nats; None where codes have no density.
        log_prob: importance-weighted log p(x), in nats; likewise.
        error: mean squared error of the reconstruction.
        share_better: share of test images that are explained better, from 0 to 1.
        label: the class that the program gives it; None if it gives none.
    """

    code: dict[str, Tensor] = field(repr=False)
    reconstruction: Tensor = field(repr=False)
    elbo: float | None
    log_prob: float | None
    error: float
    share_better: float
    label: int | None

    def rows(self) -> list[list[str]]:
        """Return the code as the rows of a table: what each number is, and the number."""
        return [
            [f"{name}[{i}]", f"{value:.3f}"]
            for name, z in self.code.items()
            for i, value in enumerate(z.flatten().tolist())
        ]

    def __str__(self) -> str:
        if self.log_prob is None:
            measure = f"reconstruction error {self.error:.4f} (squared, mean over pixels)"
        else:
            measure = f"log p(x) {self.log_prob:.2f} nats, ELBO {self.elbo:.2f} nats"
        unusual = ", which makes it an anomaly" if self.share_better >= 0.99 else ""
        classed = "" if self.label is None else f" It looks like class {self.label}."
        return f"{measure}. {self.share_better:.0%} of test images are explained better{unusual}.{classed}"


class Session:
    """Answer what is asked of a trained program, one question at a time, from whatever thread.

    Codes are moved at one latent site, the narrowest of vectors; sites above and below it take their means given it.

    Args:
        data: the data set.
        program: a module with ``model`` and ``guide``.
        num_data: test images that can be chosen.
        num_samples: importance samples of each image.
        seed: of all noise.

    Attributes:
        x: the test images, ``(N, *data_shape)``.
        labels: their classes, ``(N,)``, or None.
        classes: those that the program is called with, or None.
        site: name of the site that is moved.
        codes: of the test images at that site, ``(N, D)``.
        axes: coordinates, by name.

    Raises:
        ValueError: if the program has no site of vectors, or there are fewer than 2 test images.

    Example:
        >>> from pyrovae import Digits
        >>> data = Digits()
        >>> vae = VAE(StandardNormal(2), Bernoulli((1, 8, 8), 2), DiagonalNormal((1, 8, 8), 2))
        >>> session = Session(data, vae, num_data=20)
        >>> session.move("latents", [0.0, 1.0]).shape
        torch.Size([1, 8, 8])
    """

    def __init__(
        self, data: DataSet, program: Any, *, num_data: int = 1000, num_samples: int = 100, seed: int = 0
    ) -> None:
        self.data = data
        self.program = program
        self.num_samples = checks.integer("num_samples", num_samples)
        self.seed = checks.seed(seed)
        self.x = data.test[: checks.integer("num_data", num_data, minimum=2)]
        if len(self.x) < 2:
            raise checks.InputError(f"data must have 2 test images or more to be explored, but have {len(self.x)}")
        known = data.test.labels
        self.labels = None if known is None else known[: len(self.x)]
        self._told = uses_labels(program.model) == "always"  # what the label is, in every call
        self.classes: list[int] | None = None
        if uses_labels(program.model) != "no":
            self.classes = list(range(program.num_classes)) if hasattr(program, "num_classes") else None
            self.classes = self.classes or labels_of(data.test).unique().tolist()
        self._lock = threading.RLock()
        with self._alone():
            latents = encode(program.guide, self._batch(self.x, self._labels(self.labels)))
        site = narrowest_site({name: z for name, z in latents.items() if z.dim() > 1})
        if site is None:
            raise checks.InputError(
                f"program must have a latent site of vectors to explore, but has {', '.join(latents)}"
            )
        self.site = site
        self.codes = latents[self.site].flatten(1)
        self.axes = sliders_of(self.codes, self.site)
        self._charts: dict[tuple[str, int, int], Chart] = {}

    def move(self, axes: str, coordinates: list[float], label: int | None = None) -> Tensor:
        """Return what the code at coordinates is decoded to, ``(*data_shape)``.

        Args:
            axes: ``latents`` or ``principal directions``.
            coordinates: as many as these have.
            label: the class, for programs that are called with it.
        """
        chosen = self.axes[checks.choice("axes", axes, tuple(self.axes))]
        u = torch.tensor([coordinates], dtype=self.codes.dtype)
        return self._decoded(chosen.codes(u), label)[0]

    def chart(self, axes: str, across: int, up: int) -> Chart:
        """Return the picture of a plane of two coordinates, by their numbers."""
        key = axes, across, up
        if key not in self._charts:
            chosen = self.axes[axes]
            points = chosen.coordinates(self.codes)[:, [across, up]]
            names, reach = (chosen.names[across], chosen.names[up]), (chosen.reach[across], chosen.reach[up])
            self._charts[key] = chart_of(points, self.labels, names, reach)
        return self._charts[key]

    def image(self, index: int) -> Tensor:
        """Return a test image, ``(1, *data_shape)``."""
        return self.x[self._index(index)][None]

    def label(self, index: int) -> int | None:
        """Return the class of a test image, or the first class if it is unknown; None where there are no classes."""
        label = -1 if self.labels is None else int(self.labels[self._index(index)])
        return label if label >= 0 else next(iter(self.classes or []), None)

    @staticmethod
    def pair(x: Tensor, explanation: Explanation) -> Tensor:
        """Return a datum and its reconstruction, ``(2, *data_shape)``."""
        return torch.cat((x, explanation.reconstruction[None]))

    def coordinates_of(self, axes: str, index: int) -> list[float]:
        """Return the coordinates of a test image's code."""
        found: list[float] = self.axes[axes].coordinates(self.codes[self._index(index)][None])[0].tolist()
        return found

    def between(self, first: int, last: int, count: int = 9, *, spherical: bool = False) -> Tensor:
        """Return two test images with what lies between their codes, decoded: ``(count + 2, *data_shape)``.

        Args:
            first: number of the test image to begin with.
            last: number of the one to end with.
            count: codes on the way, those of the two images among them.
            spherical: go as on a sphere, or straight; directions always go on their sphere.
        """
        ends = [self._index(first), self._index(last)]
        path = spherical_path if spherical or self.axes["latents"].directions else linear_path
        z = path(self.codes[ends[0]], self.codes[ends[1]], count)
        label = self.label(ends[0]) if self._told else None
        return torch.cat((self.x[ends[0]][None], self._decoded(z, label), self.x[ends[1]][None]))

    def sample(self, count: int, label: int | None = None, *, noise: bool = False, seed: int = 0) -> Tensor:
        """Return new data, ``(count, *data_shape)``: means of p(x|z) at codes from the prior, or draws from it.

        Args:
            count: how many.
            label: the class, for programs that are called with it.
            noise: draw x, too.
            seed: of the draws.
        """
        like = template_of(self.program, self.data)
        if label is not None and self.classes is not None:
            like = (self.x[:1], torch.tensor([label]))
        with self._alone(seed):
            return generate(self.program.model, count, like, noise=noise)

    def explain(self, x: Tensor, label: int | None = None) -> Explanation:
        """Return the code of a datum, its reconstruction, and how well it is explained.

        The first call weighs up to 200 test images, to compare it with them.

        Args:
            x: ``(1, *data_shape)``.
            label: the class, for programs that are always called with it.
        """
        labels = self._labels(None if label is None else torch.tensor([label]), len(x))
        with self._alone():
            code = encode(self.program.guide, self._batch(x, labels))
            reconstruction, error = self._reconstructed(x, labels)
            found = self._weighed(x, labels)
            named = self.program.classify(x).argmax(-1).item() if hasattr(self.program, "classify") else None
        own = -error if found is None else found[1]
        return Explanation(
            {name: z[0] for name, z in code.items()},
            reconstruction[0],
            None if found is None else found[0].item(),
            None if found is None else found[1].item(),
            error.item(),
            (self._known > own).double().mean().item(),
            named,
        )

    @cached_property
    def _known(self) -> Tensor:
        """How well test images are explained, ``(N,)``."""
        x = self.x[:200]
        labels = self._labels(None if self.labels is None else self.labels[: len(x)], len(x))
        with self._alone():
            found = self._weighed(x, labels)
            return -self._reconstructed(x, labels)[1] if found is None else found[1]

    def _weighed(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Return ELBO and log p(x) of data, ``(N,)`` each, or None if the program's codes have no density."""
        try:
            weights = log_weights(
                self.program.model, self.program.guide, self._batch(x, labels), num_samples=self.num_samples
            )
        except checks.InputError:
            return None
        return weights.mean(0), weights.logsumexp(0) - torch.tensor(float(self.num_samples)).log()

    def _reconstructed(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        code = encode(self.program.guide, self._batch(x, labels))
        mean = decode(self.program.model, code, self.data.data_shape, labels, given=x)
        return mean, (mean - x).square().flatten(1).mean(1)

    def _decoded(self, z: Tensor, label: int | None) -> Tensor:
        given = self.classes is not None and (self._told or label is not None)
        labels = torch.full((len(z),), (self.classes or [0])[0] if label is None else label) if given else None
        x = torch.zeros(len(z), *self.data.data_shape, dtype=self.x.dtype)
        with self._alone():
            code = {self.site: z}
            code |= encode(poutine.condition(self.program.model, code), self._batch(x, labels))
            return decode(self.program.model, code, self.data.data_shape, labels)

    def _labels(self, labels: Tensor | None, count: int = 1) -> Tensor | None:
        """Return labels where the program must be told them: the first class, where none are known."""
        if not self._told:
            return None
        return torch.full((count,), (self.classes or [0])[0]) if labels is None else labels

    @staticmethod
    def _batch(x: Tensor, labels: Tensor | None) -> Any:
        return x if labels is None else (x, labels)

    def _index(self, index: int) -> int:
        if not 0 <= index < len(self.x):
            raise checks.InputError(f"the image's number must be from 0 to {len(self.x) - 1}, but {index} was given")
        return int(index)

    @contextmanager
    def _alone(self, seed: int | None = None) -> Iterator[None]:
        """Let one thread at a time run the program, for Pyro has one stack of handlers, with noise of its own."""
        with self._lock, torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed if seed is None else seed)
            yield
