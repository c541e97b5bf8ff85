"""Densities and imputers of scikit-learn for rows with missing values, for ``tables.py``.

Maximum likelihood with missing values is expectation-maximisation: the expected moments of the rows given their
observed values, then scikit-learn's estimator of these moments.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.mixture import GaussianMixture
from torch import Tensor

__all__ = ["DENSITIES", "IMPUTERS", "Imputer", "Scores", "best_mixture", "fit_normal", "mixture"]

Floats = NDArray[np.float64]
LOG_2PI = float(np.log(2 * np.pi))
RIDGES = 1e-3, 1e-1  # added to variances of standardised columns
COMPONENTS = 1, 2, 3, 5, 8
BANDWIDTHS = 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8
ROUNDS = 10  # of expectation-maximisation


class Scores(NamedTuple):
    """Log p(x_obs) of the validation and the test rows of one candidate, ``(n,)`` each, in nats."""

    validation: Floats
    test: Floats
    name: str


def best_mixture(candidates: list[Scores], counts: tuple[int, ...] = (1, 3, 5)) -> list[Scores]:
    """Return the candidates whose equal mixture has the largest mean of log p on the validation rows.

    They are the best ones each by itself, of one of some numbers.
    """
    ordered = sorted(candidates, key=lambda scores: -scores.validation.mean())
    of_count = {min(count, len(ordered)): mixture(ordered[:count], "validation").mean() for count in counts}
    return ordered[: max(of_count, key=of_count.__getitem__)]


def mixture(candidates: list[Scores], part: str) -> Floats:
    """Return log p of an equal mixture, ``(n,)``."""
    return np.logaddexp.reduce([getattr(scores, part) for scores in candidates]) - np.log(len(candidates))


class Normals:
    """A mixture of K normal distributions of C columns, and what it tells of rows with missing values."""

    def __init__(self, weights: Floats, means: Floats, covariances: Floats) -> None:
        self.log_weights = torch.as_tensor(np.log(weights))  # (K,)
        self.means = torch.as_tensor(means)  # (K, C)
        self.covariances = torch.as_tensor(covariances)  # (K, C, C)

    def log_prob(self, x: Floats) -> Floats:
        """Return log p of the observed values of rows ``(n, C)``, ``(n,)``."""
        joints = [self._parts(rows)[0].logsumexp(1) for rows in torch.as_tensor(x).split(200)]
        return torch.cat(joints).numpy()

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log p of rows and components ``(n, K)``, and the means and factors that :meth:`expect` needs."""
        seen = (~x.isnan()).to(x.dtype)
        pair = seen[:, None, :, None] * seen[:, None, None, :]  # (n, 1, C, C)
        factor = torch.linalg.cholesky(self.covariances * pair + torch.diag_embed(1 - seen)[:, None])
        gap = (x.nan_to_num(0.0)[:, None] - self.means) * seen[:, None]  # (n, K, C)
        white = torch.linalg.solve_triangular(factor, gap[..., None], upper=False)[..., 0]
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_prob = -0.5 * white.square().sum(-1) - log_det - 0.5 * LOG_2PI * seen.sum(1)[:, None]
        return self.log_weights + log_prob, gap, factor

    def expect(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """Return weights, means and covariances of expected complete rows, of each component: maximum likelihood."""
        totals = [0.0, 0.0, 0.0]
        for rows in torch.as_tensor(x).split(100):
            joint, gap, factor = self._parts(rows)
            share = joint.softmax(1)  # (n, K)
            filled, rest = self._conditional(rows, gap, factor)
            second = filled[..., None] * filled[..., None, :] + rest
            parts = share.sum(0), (share[..., None] * filled).sum(0), torch.einsum("nk,nkij->kij", share, second)
            totals = [total + part for total, part in zip(totals, parts, strict=True)]
        count, first, second = totals
        mean = first / count[:, None]
        covariance = second / count[:, None, None] - mean[..., None] * mean[:, None, :]
        return (count / count.sum()).numpy(), mean.numpy(), covariance.numpy()

    def _conditional(self, x: Tensor, gap: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean ``(n, K, C)`` and covariance ``(n, K, C, C)`` of complete rows given observed values."""
        seen = (~x.isnan()).to(x.dtype)[:, None]  # (n, 1, C)
        solved = torch.cholesky_solve(gap[..., None], factor)[..., 0] * seen
        missing = 1 - seen
        mean = torch.where(
            seen > 0, x.nan_to_num(0.0)[:, None], self.means + (self.covariances @ solved[..., None])[..., 0]
        )
        across = self.covariances * seen[..., :, None] * missing[..., None, :]  # observed, missing
        explained = across.mT @ torch.cholesky_solve(across, factor)
        return mean, self.covariances * missing[..., :, None] * missing[..., None, :] - explained

    def draw(self, x: Floats, rng: np.random.Generator) -> Floats:
        """Return rows with their missing values drawn given the observed ones, of one component: K = 1."""
        rows = torch.as_tensor(x)
        _, gap, factor = self._parts(rows)
        mean, rest = self._conditional(rows, gap, factor)
        values, vectors = torch.linalg.eigh(rest[:, 0])
        noise = torch.as_tensor(rng.standard_normal(x.shape))
        return (mean[:, 0] + (vectors @ (values.clamp(min=0).sqrt() * noise)[..., None])[..., 0]).numpy()


def fit_normal(x: Floats, ridge: float) -> Normals:
    """Return the normal distribution of maximum likelihood, with a ridge."""
    identity = np.eye(x.shape[1])
    found = Normals(np.ones(1), np.nanmean(x, 0)[None], np.diag(np.nanvar(x, 0))[None] + ridge * identity)
    for _ in range(ROUNDS):
        weights, means, covariances = found.expect(x)
        found = Normals(weights, means, covariances + ridge * identity)
    return found


def _rows_of(mean: Floats, covariance: Floats) -> Floats:
    """Return rows whose mean and covariance are given ones, ``(2 C, C)``."""
    factor = np.linalg.cholesky(covariance + 1e-9 * np.eye(len(mean))) * len(mean) ** 0.5
    return np.concatenate((mean + factor.T, mean - factor.T))


def _gaussian_mixtures(train: Floats, validation: Floats, test: Floats, seed: int) -> list[Scores]:
    """Fit mixtures to rows whose missing values are drawn; refine the best ones by expectation-maximisation."""
    rng = np.random.default_rng(seed)
    normal = fit_normal(train, RIDGES[0])
    completed = np.concatenate([normal.draw(train, rng) for _ in range(3)])
    fitted: list[tuple[float, Normals, str, float]] = []
    for kind in ("full", "tied", "diag"):
        for count in COMPONENTS:
            for ridge in RIDGES:
                made = GaussianMixture(count, covariance_type=kind, reg_covar=ridge, random_state=seed, max_iter=50)
                found = _normals_of(made.fit(completed))
                fitted.append((found.log_prob(validation).mean(), found, f"{kind}, {count}, {ridge:g}", ridge))
    fitted.sort(key=lambda entry: -entry[0])
    scores = []
    for _, found, name, ridge in fitted[:5]:
        refined = _refined(found, name.partition(",")[0], ridge, train, validation)
        scores.append(Scores(refined.log_prob(validation), refined.log_prob(test), name))
    return scores


def _normals_of(made: GaussianMixture) -> Normals:
    count, columns = made.means_.shape
    shapes: dict[str, Callable[[], Floats]] = {
        "full": lambda: made.covariances_,
        "tied": lambda: np.broadcast_to(made.covariances_, (count, columns, columns)).copy(),
        "diag": lambda: np.stack([np.diag(variance) for variance in made.covariances_]),
    }
    return Normals(made.weights_, made.means_, shapes[made.covariance_type]())


def _refined(found: Normals, kind: str, ridge: float, train: Floats, validation: Floats) -> Normals:
    """Return the best on the validation rows of some rounds of expectation-maximisation."""
    best, score = found, found.log_prob(validation).mean()
    for _ in range(ROUNDS // 2):
        weights, means, covariances = found.expect(train)
        shapes: dict[str, Callable[[Floats], Floats]] = {
            "full": lambda c: c,
            "tied": lambda c, w=weights: np.broadcast_to(np.tensordot(w, c, 1), c.shape).copy(),
            "diag": lambda c: c * np.eye(c.shape[-1]),
        }
        found = Normals(weights + 1e-12, means, shapes[kind](covariances) + ridge * np.eye(train.shape[1]))
        if (now := found.log_prob(validation).mean()) > score:
            best, score = found, now
    return best


def _low_rank(
    make: Callable[[int], PCA | FactorAnalysis], train: Floats, validation: Floats, test: Floats
) -> list[Scores]:
    """Fit a covariance of low rank by expectation-maximisation, of several ranks."""
    columns = train.shape[1]
    start = fit_normal(train, RIDGES[0])
    scores = []
    for rank in (rank for rank in (1, 2, 3, 5, 8, 12, 20) if rank < columns):
        found = start
        for _ in range(ROUNDS // 2):
            _, means, covariances = found.expect(train)
            covariance = make(rank).fit(_rows_of(means[0], covariances[0])).get_covariance()
            found = Normals(np.ones(1), means, covariance[None] + RIDGES[0] * np.eye(columns))
        scores.append(Scores(found.log_prob(validation), found.log_prob(test), f"rank {rank}"))
    return scores


def _ppca(train: Floats, validation: Floats, test: Floats, seed: int) -> list[Scores]:
    return _low_rank(lambda rank: PCA(rank, random_state=seed), train, validation, test)


def _factor_analysis(train: Floats, validation: Floats, test: Floats, seed: int) -> list[Scores]:
    return _low_rank(lambda rank: FactorAnalysis(rank, svd_method="lapack", max_iter=200), train, validation, test)


def kernel_log_prob(x: Floats, centers: Floats, bandwidth: float) -> Floats:
    """Return log p of the observed values under the marginal of ``KernelDensity`` with normal kernels, ``(n,)``."""
    seen = (~np.isnan(x)).astype(float)
    filled = np.nan_to_num(x)
    square = filled**2 @ np.ones_like(centers).T - 2 * filled @ centers.T + seen @ (centers**2).T  # (n, centers)
    count = seen.sum(1)
    log_kernel = -0.5 * square / bandwidth**2
    return np.logaddexp.reduce(log_kernel, 1) - np.log(len(centers)) - count * (np.log(bandwidth) + 0.5 * LOG_2PI)


def _kernels(train: Floats, validation: Floats, test: Floats, seed: int) -> list[Scores]:
    """Put kernels on rows whose missing values are drawn five times."""
    rng = np.random.default_rng(seed)
    normal = fit_normal(train, RIDGES[0])
    centers = np.concatenate([normal.draw(train, rng) for _ in range(5)])
    return [
        Scores(*(kernel_log_prob(x, centers, width) for x in (validation, test)), f"bandwidth {width:g}")
        for width in BANDWIDTHS
    ]


DENSITIES: dict[str, Callable[[Floats, Floats, Floats, int], list[Scores]]] = {
    "GaussianMixture": _gaussian_mixtures,
    "PPCA": _ppca,
    "FactorAnalysis": _factor_analysis,
    "KernelDensity": _kernels,
}
"""Functions from standardised training, validation and test rows and a seed to the scores of candidates."""


class Imputer(NamedTuple):
    """A fitted imputer: its values of rows, and a function that draws them, if it has one."""

    fill: Callable[[Floats], Floats]
    draw: Callable[[Floats], Floats] | None = None


def _simple(train: Floats, validation: Floats, seed: int) -> Imputer:
    return Imputer(SimpleImputer().fit(train).transform)


def _nearest(train: Floats, validation: Floats, seed: int) -> Imputer:
    """Choose the number of neighbours by values of validation rows that are hidden for it."""
    rng = np.random.default_rng(seed)
    hidden = (rng.random(validation.shape) < 0.2) & ~np.isnan(validation)
    shown = np.where(hidden, np.nan, validation)

    def error(count: int) -> float:
        filled = KNNImputer(n_neighbors=count).fit(train).transform(shown)
        return float(np.square(filled - validation)[hidden].mean())

    return Imputer(KNNImputer(n_neighbors=min((3, 5, 10, 20, 40), key=error)).fit(train).transform)


def _ridge(train: Floats, validation: Floats, seed: int) -> Imputer:
    with _quiet():
        made = IterativeImputer(random_state=seed, max_iter=10).fit(train)
        drawing = IterativeImputer(random_state=seed, max_iter=5, sample_posterior=True).fit(train)
    return Imputer(made.transform, drawing.transform)


def _forest(train: Floats, validation: Floats, seed: int) -> Imputer:
    nearest = 20 if train.shape[1] > 20 else None
    forest = RandomForestRegressor(n_estimators=20, min_samples_leaf=2, max_features=0.5, random_state=seed)
    with _quiet():
        made = IterativeImputer(forest, random_state=seed, max_iter=3, n_nearest_features=nearest).fit(train)
    return Imputer(made.transform)


class _quiet(warnings.catch_warnings):
    def __enter__(self) -> None:
        super().__enter__()
        warnings.simplefilter("ignore", ConvergenceWarning)


IMPUTERS: dict[str, Callable[[Floats, Floats, int], Imputer]] = {
    "SimpleImputer": _simple,
    "KNNImputer": _nearest,
    "IterativeImputer": _ridge,
    "IterativeImputer, forest": _forest,
}
"""Functions from standardised training and validation rows and a seed to an imputer."""
