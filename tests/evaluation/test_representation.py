"""Probes find classes where they are, and only there; coverage finds holes."""

import pytest
import torch

from pyrovae import InputError
from pyrovae.evaluation import cluster_purity, coverage, linear_probe, neighbour_probe


def blobs(distance):
    labels = torch.arange(600) % 3
    corners = distance * torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    return torch.randn(600, 2) + corners[labels], labels


def test_classes_apart_are_found_and_those_in_one_place_are_not():
    for probe in (linear_probe, neighbour_probe):
        codes, labels = blobs(distance=20)
        assert probe(codes[:300], labels[:300], codes[300:], labels[300:]) == 1.0
        codes, labels = blobs(distance=0)
        assert probe(codes[:300], labels[:300], codes[300:], labels[300:]) < 0.45
    assert cluster_purity(*blobs(distance=20)) == 1.0
    assert cluster_purity(*blobs(distance=0)) < 0.45


def test_rings_are_told_apart_by_neighbours_and_not_by_planes():
    labels = torch.arange(600) % 2
    directions = torch.nn.functional.normalize(torch.randn(600, 2), dim=1)
    codes = (1 + 4 * labels)[:, None] * directions
    assert neighbour_probe(codes[:300], labels[:300], codes[300:], labels[300:]) == 1.0
    assert linear_probe(codes[:300], labels[:300], codes[300:], labels[300:]) < 0.7


def test_coverage_of_the_same_distribution_and_of_half_of_it():
    reference, codes = torch.randn(2, 2000, 2)
    assert coverage(reference, codes) == pytest.approx(1 - 2**-5, abs=0.015)
    assert coverage(reference, codes[codes[:, 0] > 0]) == pytest.approx(0.5, abs=0.05)
    assert coverage(reference, codes + 100) == 0.0


def test_images_are_features_too():
    labels = torch.arange(40) % 2
    images = torch.rand(40, 1, 4, 4) + 5 * labels[:, None, None, None]
    assert linear_probe(images, labels, images, labels) == 1.0


@pytest.mark.parametrize("probe", [linear_probe, neighbour_probe])
def test_probes_need_labels(probe):
    codes, labels = blobs(distance=1)
    for wrong, sentence in (
        (None, "None was given"),
        (labels[:5], "one for each of 600 codes"),
        (0 * labels, "at least two classes"),
    ):
        with pytest.raises(InputError, match=sentence):
            probe(codes, wrong, codes, labels)


def test_data_of_an_unknown_class_are_neither_learned_from_nor_told():
    codes, labels = blobs(distance=20)
    unknown = torch.rand(600) < 0.4
    far = torch.where(unknown[:, None], codes.roll(1, 0), codes)  # in the midst of another class
    partly = labels.masked_fill(unknown, -1)
    for probe in (linear_probe, neighbour_probe):
        assert probe(far[:300], partly[:300], far[300:], partly[300:]) == 1.0
        with pytest.raises(InputError, match="labels must be of at least two classes, but are of none that is known"):
            probe(codes, torch.full_like(labels, -1), codes, labels)
        with pytest.raises(InputError, match="labels must be of at least two classes, but are of one"):
            probe(codes, labels.masked_fill(labels > 0, -1), codes, labels)
        with pytest.raises(InputError, match="test_labels must be of known classes, but are of none that is known"):
            probe(codes, labels, codes, torch.full_like(labels, -1))
        assert probe(codes, labels, codes, labels.masked_fill(labels > 0, -1)) == 1.0
    assert cluster_purity(far, partly) == 1.0
    with pytest.raises(InputError, match="at least two classes"):
        cluster_purity(codes, labels.masked_fill(labels > 0, -1))


def test_too_few_points_are_refused():
    codes, labels = blobs(distance=1)
    with pytest.raises(InputError, match="codes must hold at least 5 points"):
        neighbour_probe(codes[:4], labels[:4], codes, labels)
    with pytest.raises(InputError, match="reference must hold at least 6 points"):
        coverage(codes[:5], codes)
    with pytest.raises(InputError, match="shapes"):
        coverage(codes, torch.zeros(5, 3))
    with pytest.raises(InputError, match="at least two classes"):
        cluster_purity(codes, 0 * labels)
