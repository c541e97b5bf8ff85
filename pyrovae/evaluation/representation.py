"""Evaluation of codes as features: probes of classes, clusters, and coverage of the prior."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrovae import checks
from pyrovae.tensors import as_tensor

__all__ = ["cluster_purity", "coverage", "linear_probe", "neighbour_probe"]


def linear_probe(codes: Tensor, labels: Tensor | None, test_codes: Tensor, test_labels: Tensor | None) -> float:
    """Return the accuracy of logistic regression of the classes on the codes, on test data.

    The linear probe of Alain & Bengio (2017, arXiv:1610.01644). If the accuracy is low, classes may still be separable,
    but not linearly. Features are first scaled to unit variance.

    Args:
        codes: training codes, ``(N, *)``.
        labels: classes of the training codes, ``(N,)`` integers; data of an unknown class, -1, are left out.
        test_codes: test codes, ``(M, *)``.
        test_labels: classes of the test codes, ``(M,)``; unknown classes are left out too.

    Raises:
        ValueError: if labels are missing, all known labels are of one class, or no test label is known.

    Example:
        >>> x, y = torch.randn(100, 2), torch.arange(100) % 2
        >>> linear_probe(x + 9 * y[:, None], y, x + 9 * y[:, None], y)
        1.0
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = _known(codes, labels)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000)).fit(x, y)
    return float(probe.score(*_known(test_codes, test_labels, "test_labels")))


def neighbour_probe(
    codes: Tensor, labels: Tensor | None, test_codes: Tensor, test_labels: Tensor | None, num_neighbours: int = 5
) -> float:
    """Return the accuracy of a nearest-neighbour classifier of the codes, on test data.

    Args:
        codes: training codes, ``(N, *)``.
        labels: classes of the training codes, ``(N,)`` integers; data of an unknown class, -1, are left out.
        test_codes: test codes, ``(M, *)``.
        test_labels: classes of the test codes, ``(M,)``; unknown classes are left out too.
        num_neighbours: number of neighbours, which vote on the class.

    Raises:
        ValueError: if labels are missing, all known labels are of one class, no test label is known, or there are
            fewer codes of known classes than neighbours.

    Example:
        >>> x, y = torch.randn(100, 2), torch.arange(100) % 2
        >>> neighbour_probe(x + 9 * y[:, None], y, x + 9 * y[:, None], y)
        1.0
    """
    from sklearn.neighbors import KNeighborsClassifier

    x, y = _known(codes, labels)
    _check_count("codes", x, checks.integer("num_neighbours", num_neighbours))
    probe = KNeighborsClassifier(num_neighbours).fit(x, y)
    return float(probe.score(*_known(test_codes, test_labels, "test_labels")))


def cluster_purity(codes: Tensor, labels: Tensor | None, seed: int = 0) -> float:
    """Return the purity of clusters: the share of data that belong to the most frequent class of their cluster.

    There are as many clusters as classes, found by k-means without the labels (Manning et al., 2008, section 16.3).

    Args:
        codes: codes, ``(N, *)``.
        labels: classes, ``(N,)`` integers; data of an unknown class, -1, are left out.
        seed: seed of the initial clusters.

    Raises:
        ValueError: if labels are missing, or all known labels are of one class.

    Example:
        >>> x, y = torch.randn(100, 2), torch.arange(100) % 2
        >>> cluster_purity(x + 99 * y[:, None], y)
        1.0
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics.cluster import contingency_matrix

    x, y = _known(codes, labels)
    clusters = KMeans(len(np.unique(y)), n_init=10, random_state=checks.seed(seed)).fit_predict(x)
    return float(contingency_matrix(y, clusters).max(0).sum() / len(y))


def coverage(reference: Tensor, codes: Tensor, num_neighbours: int = 5) -> float:
    r"""Return the coverage: the share of reference points with a code nearer than their k-th nearest reference point.

    .. math:: \frac1M \sum_m \bigl[\min_n \|z_n - r_m\| \le \|r_m - r_m^{(k)}\|\bigr]

    Naeem et al. (2020, arXiv:2002.09797) define it for real and generated images. With draws from the prior as the
    reference, low coverage means holes: regions of the prior from which the decoder was never trained. Equally many
    codes with the distribution of the reference have a coverage of about :math:`1 - 2^{-k}`.

    Args:
        reference: reference points, ``(M, D)``.
        codes: codes, ``(N, D)``.
        num_neighbours: number k of neighbours, smaller than M.

    Raises:
        ValueError: if the two have different numbers of dimensions, or there are too few reference points.

    Example:
        >>> z = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
        >>> round(coverage(z[:500], z[500:]), 2), round(coverage(z[:500], z[500:] + 3), 2)
        (0.97, 0.07)
    """
    from sklearn.neighbors import NearestNeighbors

    reference, codes = as_tensor("reference", reference), as_tensor("codes", codes)
    if reference.dim() != 2 or codes.dim() != 2 or reference.shape[1] != codes.shape[1] or not len(codes):
        raise checks.InputError(
            "reference and codes must have the shapes (M, D) and (N, D), but have "
            f"{tuple(reference.shape)} and {tuple(codes.shape)}"
        )
    points, others = (part.detach().cpu().double().numpy() for part in (reference, codes))
    _check_count("reference", points, checks.integer("num_neighbours", num_neighbours) + 1)
    # The nearest point is the point itself.
    radius = NearestNeighbors(n_neighbors=num_neighbours + 1).fit(points).kneighbors(points)[0][:, -1]
    distance = NearestNeighbors(n_neighbors=1).fit(others).kneighbors(points)[0][:, 0]
    return float((distance <= radius).mean())


def _known(
    codes: Tensor, labels: Tensor | None, name: Literal["labels", "test_labels"] = "labels"
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the codes of known classes and their classes as arrays, ``(N, D)`` and ``(N,)``."""
    if labels is None:
        raise checks.InputError(f"{name} must be the classes of the codes, but None was given")
    codes, labels = as_tensor("codes", codes), as_tensor(name, labels)
    if labels.shape != codes.shape[:1]:
        raise checks.InputError(f"{name} must be one for each of {len(codes)} codes, but have {tuple(labels.shape)}")
    known = labels >= 0
    count = len(torch.unique(labels[known]))
    if count == 0 or (count == 1 and name == "labels"):
        enough = "at least two classes" if name == "labels" else "known classes"
        raise checks.InputError(f"{name} must be of {enough}, but are of {'one' if count else 'none that is known'}")
    return codes.detach()[known.to(codes.device)].cpu().double().flatten(1).numpy(), labels[known].cpu().numpy()


def _check_count(name: str, points: NDArray[np.float64], count: int) -> None:
    if len(points) < count:
        raise checks.InputError(f"{name} must hold at least {count} points, but hold {len(points)}")
