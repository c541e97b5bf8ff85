"""Disentanglement of codes with respect to known factors: MIG, SAP and DCI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pyrovae import checks
from pyrovae.tensors import as_tensor

__all__ = ["DCI", "dci", "mig", "sap"]

_FEWEST = 10  # data


def mig(codes: Tensor, factors: Tensor, num_bins: int = 20) -> float:
    r"""Return the mutual information gap: how much more one code says of a factor than the next best code.

    .. math:: \frac1F \sum_f \frac{1}{\mathrm{H}(v_f)}
        \Bigl(\mathrm{I}(z_{(1)}; v_f) - \mathrm{I}(z_{(2)}; v_f)\Bigr)

    with the two codes of the largest mutual information with the factor (Chen et al., 2018, arXiv:1802.04942). Each
    code is cut into bins of equal width, as Locatello et al. (2019, arXiv:1811.12359) do, and the mutual information is
    that of the counts, which is too large by about (bins - 1)(values - 1) / 2N nats: take many data. 1 if each factor
    is a function of one code alone; 0 if two codes say equally much of it, or none says anything.

    Args:
        codes: codes, such as the means of q(z|x), ``(N, D)``; D of at least 2.
        factors: values of the factors, ``(N, F)`` integers.
        num_bins: number of bins of each code.

    Raises:
        ValueError: if shapes or types differ from these, or a factor has one value only.

    Example:
        >>> v = torch.cartesian_prod(torch.arange(4), torch.arange(5)).repeat(20, 1)
        >>> round(mig(v.float(), v), 3), round(mig(torch.stack([v[:, 0] + v[:, 1], v[:, 0] - v[:, 1]], 1), v), 3)
        (1.0, 0.0)
    """
    from sklearn.metrics import mutual_info_score

    z, v = _checked(codes, factors, fewest_factors=1)
    if v.dtype.kind == "f":
        raise checks.InputError("factors must be integers for mig, but are floats: cut them into classes")
    checks.integer("num_bins", num_bins, minimum=2)
    edges = [np.histogram_bin_edges(code, num_bins)[1:-1] for code in z.T]
    binned = [np.digitize(code, inner) for code, inner in zip(z.T, edges, strict=True)]
    gaps = []
    for factor in v.T:
        known = sorted(mutual_info_score(factor, code) for code in binned)
        gaps.append((known[-1] - known[-2]) / mutual_info_score(factor, factor))
    return float(np.mean(gaps))


def sap(codes: Tensor, factors: Tensor, seed: int = 0) -> float:
    r"""Return the separated attribute predictability: how much better one code predicts a factor than the next best.

    .. math:: \frac1F \sum_f \bigl(S_{(1) f} - S_{(2) f}\bigr)

    with the two codes that predict the factor best (Kumar et al., 2018, arXiv:1711.00848). Of classes (integers), S is
    the balanced accuracy, on the half of the data that was not fitted, of thresholds on the code: a decision tree with
    a leaf for each class. Of floats, S is the squared correlation. 0 if no code predicts a factor, or two do so equally
    well. The best that a factor of C classes can have is 1 - 1/C, because codes without information have an S of 1/C;
    of floats it is 1.

    Args:
        codes: codes, such as the means of q(z|x), ``(N, D)``; D of at least 2.
        factors: values of the factors, ``(N, F)``: integers, or floats.
        seed: seed of the two halves.

    Raises:
        ValueError: if shapes or types differ from these, or a factor has one value only.

    Example:
        >>> v = torch.rand(500, 2, generator=torch.Generator().manual_seed(0))
        >>> sap(v * 3, v) > 0.9, sap(torch.stack([v[:, 0] + v[:, 1], v[:, 0] - v[:, 1]], 1), v) < 0.2
        (True, True)
    """
    z, v = _checked(codes, factors, fewest_factors=1)
    fitted, held_out = _halves(len(z), seed)
    gaps = []
    for factor in v.T:
        if v.dtype.kind == "f":
            scores = sorted(_squared_correlation(code, factor) for code in z.T)
        else:
            scores = sorted(_accuracy_of_thresholds(code, factor, fitted, held_out) for code in z.T)
        gaps.append(scores[-1] - scores[-2])
    return float(np.mean(gaps))


@dataclass(frozen=True)
class DCI:
    """Disentanglement, completeness and informativeness of codes.

    Attributes:
        disentanglement: 1 if each code matters for one factor only, 0 if it matters equally for all; a mean over codes,
            weighted by how much they matter.
        completeness: 1 if one code alone matters for each factor, 0 if all matter equally; a mean over factors.
        informativeness: accuracy of the predicted classes on data that were not fitted, or R² of floats; a mean over
            factors.
        importance: importance of each code for each factor, ``(D, F)``; columns have the sum 1.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: NDArray[np.float64]


def dci(codes: Tensor, factors: Tensor, seed: int = 0, num_trees: int = 50) -> DCI:
    r"""Return disentanglement, completeness and informativeness of codes (Eastwood & Williams, 2018, ICLR).

    A random forest, whose splits choose among all codes, predicts each factor f; its importances are :math:`R_{df}`.
    With :math:`P_{d\cdot} = R_{d\cdot} / \sum_f R_{df}` and the entropy to the base of the number of factors or codes,

    .. math:: \sum_d \frac{\sum_f R_{df}}{\sum_{df} R_{df}} \bigl(1 - \mathrm{H}_F(P_{d\cdot})\bigr)
        \qquad\text{and}\qquad \frac1F \sum_f \bigl(1 - \mathrm{H}_D(R_{\cdot f})\bigr)

    are disentanglement and completeness. The forests are fitted to half of the data, at random.

    Args:
        codes: codes, such as the means of q(z|x), ``(N, D)``; D of at least 2.
        factors: values of the factors, ``(N, F)``: integers, which are classes, or floats; F of at least 2.
        seed: seed of the two halves and of the forests.
        num_trees: number of trees of each forest.

    Raises:
        ValueError: if shapes or types differ from these, or a factor has one value only.

    Example:
        >>> v = torch.cartesian_prod(torch.arange(3), torch.arange(4)).repeat(20, 1)
        >>> found = dci(v.float(), v)
        >>> found.informativeness, found.disentanglement > 0.95, found.completeness > 0.95
        (1.0, True, True)
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    z, v = _checked(codes, factors, fewest_factors=2)
    checks.integer("num_trees", num_trees)
    fitted, held_out = _halves(len(z), seed)
    kind = RandomForestRegressor if v.dtype.kind == "f" else RandomForestClassifier
    importance, scores = [], []
    for factor in v.T:
        forest = kind(num_trees, max_features=None, random_state=seed).fit(z[fitted], factor[fitted])
        importance.append(forest.feature_importances_)
        scores.append(forest.score(z[held_out], factor[held_out]))
    matrix = np.stack(importance, 1)  # (D, F)
    share = matrix.sum(1) / max(matrix.sum(), np.finfo(float).tiny)
    return DCI(
        float((share * (1 - _entropies(matrix))).sum()),
        float((1 - _entropies(matrix.T)).mean()),
        float(np.mean(scores)),
        matrix,
    )


def _entropies(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the entropy of each row, to the base of its length; 1 for a row of zeros, which prefers nothing."""
    total = weights.sum(1, keepdims=True)
    p = np.where(total > 0, weights / np.where(total > 0, total, 1), 1 / weights.shape[1])
    logs = np.log(np.where(p > 0, p, 1))
    return np.asarray(-(p * logs).sum(1) / np.log(weights.shape[1]))


def _squared_correlation(code: NDArray[Any], factor: NDArray[Any]) -> float:
    return 0.0 if np.ptp(code) == 0 else float(np.corrcoef(code, factor)[0, 1] ** 2)


def _accuracy_of_thresholds(
    code: NDArray[Any], factor: NDArray[Any], fitted: NDArray[Any], held_out: NDArray[Any]
) -> float:
    """Return the balanced accuracy of a tree with a leaf for each class: the mean of the classes' accuracies."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_leaf_nodes=len(np.unique(factor)), class_weight="balanced", random_state=0)
    right = tree.fit(code[fitted, None], factor[fitted]).predict(code[held_out, None]) == factor[held_out]
    return float(np.mean([right[factor[held_out] == value].mean() for value in np.unique(factor[held_out])]))


def _halves(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.random.default_rng(checks.seed(seed)).permutation(count)
    return order[: count // 2], order[count // 2 :]


def _checked(codes: Tensor, factors: Tensor, fewest_factors: int) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return codes and factors as arrays, ``(N, D)`` and ``(N, F)``; classes are int64, other factors float64."""
    z, v = as_tensor("codes", codes).detach().cpu(), as_tensor("factors", factors).detach().cpu()
    for name, values in (("codes", z), ("factors", v)):
        if not bool(values.isfinite().all()):
            raise checks.InputError(f"{name} must be finite, but some are NaN or infinite")
    if z.dim() != 2 or z.shape[1] < 2 or len(z) < _FEWEST:
        raise checks.InputError(
            f"codes must have the shape (N, D) with N of at least {_FEWEST} and D of at least 2, but have "
            f"{tuple(z.shape)}"
        )
    if v.dim() != 2 or len(v) != len(z) or v.shape[1] < fewest_factors:
        raise checks.InputError(
            f"factors must have the shape ({len(z)}, F) with F of at least {fewest_factors}, but have {tuple(v.shape)}"
        )
    constant = (v == v[:1]).all(0).nonzero().flatten().tolist()
    if constant:
        raise checks.InputError(f"factors must each have several values, but factor {constant[0]} has one")
    return z.double().numpy(), (v.double() if v.is_floating_point() else v.long()).numpy()
