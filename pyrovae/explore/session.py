"""Computations of the page: decoding of moved codes, explanations of pictures, interpolation, samples."""

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
from pyrovae.explore.pictures import as_picture
from pyrovae.explore.sliders import sliders_of
from pyrovae.prediction import decode, encode, generate, linear_path, spherical_path
from pyrovae.prediction.latent_axes import narrowest_site
from pyrovae.programs import uses_labels
from pyrovae.runs import labels_of, template_of

__all__ = ["Explanation", "Session"]


@dataclass(frozen=True)
class Explanation:
    """Code, reconstruction and likelihood of one datum.

    Attributes:
        code: means of the latents by site name, ``(*event_shape)``.
        reconstruction: reconstruction, ``(*data_shape)``.
        elbo: ELBO in nats; None if codes have no density.
        log_prob: importance-weighted log p(x) in nats; None if codes have no density.
        error: mean squared error of the reconstruction.
        share_better: share of test data that are explained better, from 0 to 1.
        label: class that the program predicts; None if it predicts none.
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
        return f"{measure}. {self.share_better:.0%} of test data are explained better{unusual}.{classed}"


class Session:
    """A trained program that answers one request at a time, from any thread.

    Codes are moved at one latent site, the vector site with the fewest dimensions; other sites have their means given
    this one.

    Args:
        data: the data set.
        program: a module with ``model`` and ``guide``.
        num_data: number of test data that can be chosen.
        num_samples: number of importance samples per datum.
        seed: seed of all noise.

    Attributes:
        x: the test data, ``(N, *data_shape)``.
        labels: their classes, ``(N,)``, or None.
        classes: classes that the program takes as labels, or None.
        site: name of the site that is moved.
        codes: codes of the test data at that site, ``(N, D)``.
        axes: axes by name.

    Raises:
        ValueError: if the program has no site of vectors, or there are fewer than 2 test data.

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
            raise checks.InputError(f"data must have 2 test data or more to be explored, but have {len(self.x)}")
        known = data.test.labels
        self.labels = None if known is None else known[: len(self.x)]
        self._needs_labels = uses_labels(program.model) == "always"  # with a label in every call
        self.classes: list[int] | None = None
        if uses_labels(program.model) != "no":
            self.classes = list(range(program.num_classes)) if hasattr(program, "num_classes") else None
            self.classes = self.classes or labels_of(data.test).unique().tolist()
        self._lock = threading.RLock()
        with self._exclusive():
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
        """Return the decoded mean at coordinates, ``(*data_shape)``.

        Args:
            axes: ``latents`` or ``principal directions``.
            coordinates: a number for each axis.
            label: class, for programs that take labels.
        """
        chosen = self.axes[checks.choice("axes", axes, tuple(self.axes))]
        u = torch.tensor([coordinates], dtype=self.codes.dtype)
        return self._decoded(chosen.codes(u), label)[0]

    def view(self, x: Tensor) -> Any:
        """Return a datum, ``(*data_shape)``, as the page shows it: a picture."""
        return as_picture(x[None])

    def chart(self, axes: str, across: int, up: int) -> Chart:
        """Return the map of the plane of two coordinates, given by their numbers."""
        key = axes, across, up
        if key not in self._charts:
            chosen = self.axes[axes]
            points = chosen.coordinates(self.codes)[:, [across, up]]
            names, reach = (chosen.names[across], chosen.names[up]), (chosen.reach[across], chosen.reach[up])
            self._charts[key] = chart_of(points, self.labels, names, reach)
        return self._charts[key]

    def datum(self, index: int) -> Tensor:
        """Return a test datum, ``(1, *data_shape)``."""
        return self.x[self._index(index)][None]

    def label(self, index: int) -> int | None:
        """Return the class of a test datum, or the first class if it is unknown; None where there are no classes."""
        label = -1 if self.labels is None else int(self.labels[self._index(index)])
        return label if label >= 0 else next(iter(self.classes or []), None)

    @staticmethod
    def pair(x: Tensor, explanation: Explanation) -> Tensor:
        """Return a datum and its reconstruction, ``(2, *data_shape)``."""
        return torch.cat((x, explanation.reconstruction[None]))

    def coordinates_of(self, axes: str, index: int) -> list[float]:
        """Return the coordinates of a test datum's code."""
        found: list[float] = self.axes[axes].coordinates(self.codes[self._index(index)][None])[0].tolist()
        return found

    def between(self, first: int, last: int, count: int = 9, *, spherical: bool = False) -> Tensor:
        """Return two test data and decoded codes on the path between them, ``(count + 2, *data_shape)``.

        Args:
            first: number of the first test datum.
            last: number of the last test datum.
            count: number of codes on the path, including those of these two data.
            spherical: True if the path is spherical instead of straight; for directions it always is.
        """
        ends = [self._index(first), self._index(last)]
        path = spherical_path if spherical or self.axes["latents"].directions else linear_path
        z = path(self.codes[ends[0]], self.codes[ends[1]], count)
        label = self.label(ends[0]) if self._needs_labels else None
        return torch.cat((self.x[ends[0]][None], self._decoded(z, label), self.x[ends[1]][None]))

    def sample(self, count: int, label: int | None = None, *, noise: bool = False, seed: int = 0) -> Tensor:
        """Return new data, ``(count, *data_shape)``: means of p(x|z) at codes from the prior, or samples from it.

        Args:
            count: number of data.
            label: class, for programs that take labels.
            noise: True to sample x too.
            seed: seed of the samples.
        """
        like = template_of(self.program, self.data)
        if label is not None and self.classes is not None:
            like = (self.x[:1], torch.tensor([label]))
        with self._exclusive(seed):
            return generate(self.program.model, count, like, noise=noise)

    def explain(self, x: Tensor, label: int | None = None) -> Explanation:
        """Return the code of a datum, its reconstruction and its likelihood.

        The first call also evaluates up to 200 test data, for comparison.

        Args:
            x: datum, ``(1, *data_shape)``.
            label: class, for programs that require labels.
        """
        labels = self._labels(None if label is None else torch.tensor([label]), len(x))
        with self._exclusive():
            code = encode(self.program.guide, self._batch(x, labels))
            reconstruction, error = self._reconstructed(x, labels)
            found = self._elbo_and_log_prob(x, labels)
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
        """log p(x) of test data, or minus their reconstruction error, ``(N,)``."""
        x = self.x[:200]
        labels = self._labels(None if self.labels is None else self.labels[: len(x)], len(x))
        with self._exclusive():
            found = self._elbo_and_log_prob(x, labels)
            return -self._reconstructed(x, labels)[1] if found is None else found[1]

    def _elbo_and_log_prob(self, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor] | None:
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
        return mean, (mean - x).square().flatten(1).nanmean(1)

    def _decoded(self, z: Tensor, label: int | None) -> Tensor:
        given = self.classes is not None and (self._needs_labels or label is not None)
        labels = torch.full((len(z),), (self.classes or [0])[0] if label is None else label) if given else None
        x = torch.zeros(len(z), *self.data.data_shape, dtype=self.x.dtype)
        with self._exclusive():
            code = {self.site: z}
            code |= encode(poutine.condition(self.program.model, code), self._batch(x, labels))
            return decode(self.program.model, code, self.data.data_shape, labels)

    def _labels(self, labels: Tensor | None, count: int = 1) -> Tensor | None:
        """Return labels if the program requires them; the first class if none are known."""
        if not self._needs_labels:
            return None
        return torch.full((count,), (self.classes or [0])[0]) if labels is None else labels

    @staticmethod
    def _batch(x: Tensor, labels: Tensor | None) -> Any:
        return x if labels is None else (x, labels)

    def _index(self, index: int) -> int:
        if not 0 <= index < len(self.x):
            raise checks.InputError(f"the datum's number must be from 0 to {len(self.x) - 1}, but {index} was given")
        return int(index)

    @contextmanager
    def _exclusive(self, seed: int | None = None) -> Iterator[None]:
        """Let one thread at a time run the program, since Pyro has one stack of handlers, with seeded noise."""
        with self._lock, torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed if seed is None else seed)
            yield
