"""Codes that are the factors have the best values, independent codes none, rotated codes low ones."""

import math

import numpy as np
import pytest
import torch

from pyrovae import InputError
from pyrovae.evaluation import dci, mig, sap

SIZES = (4, 6)  # values of the two factors
N = 2400
GENERATOR = torch.Generator().manual_seed(0)
CLASSES = torch.cartesian_prod(*map(torch.arange, SIZES)).repeat(N // math.prod(SIZES), 1)  # all pairs equally often
FLOATS = torch.rand(N, 2, generator=GENERATOR)
NOISE = torch.randn(N, 3, generator=GENERATOR)


def own(factors):
    """Return codes that are each a function of one factor, and one that is noise."""
    return torch.stack([factors[:, 1] * -3.0 + 1, factors[:, 0].double().sqrt(), NOISE[:, 0]], 1)


def rotated(factors):
    v = (factors - factors.double().mean(0)) / factors.double().std(0)
    return v @ torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)


def test_mig():
    bias = sum(19 * (size - 1) / (2 * N) / math.log(size) for size in SIZES) / 2  # of the noise's mutual information
    assert mig(own(CLASSES), CLASSES) == pytest.approx(1 - bias, abs=0.01)
    assert mig(CLASSES.double(), CLASSES) == pytest.approx(1, abs=1e-9)
    assert mig(NOISE, CLASSES) == pytest.approx(0, abs=0.01)
    assert mig(CLASSES[:, [0, 0, 1, 1]], CLASSES) == pytest.approx(0, abs=1e-9)  # each factor in two codes
    assert mig(rotated(CLASSES), CLASSES) < 0.1


def test_mig_of_a_known_channel():
    # z1 = v with probability 0.8, else 1 - v; z2 is independent. I = ln 2 - H(0.8), over H(v) = ln 2.
    v = torch.arange(2).repeat(1000)
    flipped = torch.where(torch.arange(2000) // 2 % 5 == 0, 1 - v, v)
    codes = torch.stack([flipped, torch.arange(2000) // 2 // 5 % 2], 1)
    entropy = -0.8 * math.log(0.8) - 0.2 * math.log(0.2)
    assert mig(codes, v[:, None]) == pytest.approx(1 - entropy / math.log(2), abs=1e-9)


def test_sap():
    perfect = np.mean([1 - 1 / size for size in SIZES])
    assert sap(own(CLASSES), CLASSES) == pytest.approx(perfect, abs=0.05)
    assert sap(NOISE, CLASSES) == pytest.approx(0, abs=0.05)
    assert sap(rotated(CLASSES), CLASSES) < 0.15
    assert sap(FLOATS * 3, FLOATS) == pytest.approx(1, abs=0.01)
    assert sap(rotated(FLOATS), FLOATS) == pytest.approx(0, abs=0.05)
    assert sap(NOISE, FLOATS) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("factors", [CLASSES, FLOATS], ids=["classes", "floats"])
def test_dci(factors):
    best = dci(own(factors)[:, :2], factors, num_trees=20)
    assert min(best.disentanglement, best.completeness, best.informativeness) > 0.95
    assert best.importance.argmax(0).tolist() == [1, 0]
    np.testing.assert_allclose(best.importance.sum(0), 1)
    mixed = dci(rotated(factors), factors, num_trees=20)
    assert max(mixed.disentanglement, mixed.completeness) < 0.1
    assert mixed.informativeness > 0.9  # nothing is lost by a rotation
    none = dci(NOISE, factors, num_trees=20)
    assert max(none.disentanglement, none.completeness) < 0.05
    assert none.informativeness < 0.35


@pytest.mark.parametrize(
    ("codes", "factors", "sentence"),
    [
        (NOISE[:, :1], CLASSES, r"codes must have the shape \(N, D\) .* but have \(2400, 1\)"),
        (NOISE / 0, CLASSES, "codes must be finite, but some are NaN or infinite"),
        (NOISE, CLASSES[:9], r"factors must have the shape \(2400, F\) .* but have \(9, 2\)"),
        (NOISE, CLASSES * torch.tensor([1, 0]), "factors must each have several values, but factor 1 has one"),
    ],
)
def test_bad_input_is_one_sentence(codes, factors, sentence):
    for metric in (mig, sap, dci):
        with pytest.raises(InputError, match=sentence):
            metric(codes, factors)


def test_mig_takes_classes_only():
    with pytest.raises(InputError, match="factors must be integers for mig, but are floats"):
        mig(NOISE, FLOATS)
