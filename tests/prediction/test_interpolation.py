"""Ways through the latents begin and end where they should, and keep what they promise in between."""

import pytest
import torch

from pyrovae import InputError
from pyrovae.prediction import class_direction, linear_path, spherical_path

PATHS = [linear_path, spherical_path]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", [(3,), (4, 5), (2, 3, 7)])
def test_paths_lead_from_start_to_end(path, shape):
    start, end = torch.randn(2, *shape)
    found = path(start, end, 6)
    assert found.shape == (6, *shape)
    assert torch.equal(found[0], start)
    assert torch.equal(found[-1], end)


def test_the_straight_path_has_equal_steps():
    steps = linear_path(torch.randn(4, 5), torch.randn(4, 5), 7).diff(dim=0)
    assert torch.allclose(steps, steps[:1].expand_as(steps), atol=1e-6)


def test_the_norm_and_the_direction_of_a_spherical_path_change_evenly():
    start, end = torch.randn(2, 4, 20, dtype=torch.double)
    path = spherical_path(start, end, 9)
    norms = path.norm(dim=-1)
    assert torch.allclose(norms, linear_path(start.norm(dim=-1), end.norm(dim=-1), 9))
    directions = path / norms.unsqueeze(-1)
    turned = torch.arccos((directions[1:] * directions[:-1]).sum(-1))
    whole = torch.arccos((directions[0] * directions[-1]).sum(-1))
    assert torch.allclose(turned, (whole / 8).expand_as(turned), atol=1e-6)


@pytest.mark.parametrize("scale", [2.0, -1.0, 0.0])
def test_a_spherical_path_is_straight_where_directions_do_not_tell_the_way(scale):
    start = torch.randn(3, 5)
    assert torch.allclose(spherical_path(start, scale * start, 5), linear_path(start, scale * start, 5), atol=1e-5)


def test_the_direction_of_a_class():
    codes, labels = torch.randn(60, 3), torch.arange(60) % 3
    means = torch.stack([codes[labels == label].mean(0) for label in range(3)])
    assert torch.allclose(class_direction(codes, labels, to=1, source=2), means[1] - means[2], atol=1e-6)
    assert torch.allclose(class_direction(codes, labels, to=1), means[1] - means[[0, 2]].mean(0), atol=1e-6)


def test_data_of_an_unknown_class_are_no_others():
    codes, labels = torch.randn(60, 3), torch.arange(60) % 3
    partly = labels.masked_fill(labels == 2, -1)
    means = torch.stack([codes[labels == label].mean(0) for label in range(3)])
    assert torch.allclose(class_direction(codes, partly, to=1), means[1] - means[0], atol=1e-6)
    with pytest.raises(InputError, match="to must be one of the labels, but none is -1"):
        class_direction(codes, partly, to=-1)


def test_bad_input_is_one_sentence():
    for path in PATHS:
        with pytest.raises(InputError, match="num_points must be an integer of at least 2"):
            path(torch.zeros(2), torch.ones(2), 1)
        with pytest.raises(InputError, match="one shape"):
            path(torch.zeros(2), torch.ones(3))
    with pytest.raises(InputError, match="to must be one of the labels"):
        class_direction(torch.zeros(4, 2), torch.zeros(4), to=3)
    with pytest.raises(InputError, match="source must be one of the labels"):
        class_direction(torch.zeros(4, 2), torch.zeros(4), to=0, source=1)
    with pytest.raises(InputError, match="None was given"):
        class_direction(torch.zeros(4, 2), None, to=0)
