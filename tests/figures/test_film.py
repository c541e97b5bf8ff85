"""The film of a plane of latents has every frame, drawn to one scale."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from pyrovae import InputError
from pyrovae.figures import Frame, film, film_strip


def frames(count, labels=None):
    spread = torch.linspace(0.1, 5, count)
    return [Frame(f"iteration {i}", s * torch.randn(30, 2), torch.rand(9, 1, 4, 4)) for i, s in enumerate(spread)]


@pytest.mark.slow
def test_a_film_has_every_frame_and_holds_the_last(tmp_path):
    film(frames(4), torch.arange(30) % 10, tmp_path / "film.gif", seconds=0.1, dpi=40)
    with Image.open(tmp_path / "film.gif") as picture:
        assert (picture.n_frames, picture.info["loop"], picture.size) == (4, 0, (320, 168))
        times, shown = [], []
        for i in range(4):
            picture.seek(i)
            times.append(picture.info["duration"])
            shown.append(np.asarray(picture.convert("RGB")))
    assert times == [100, 100, 100, 2000]
    assert all((first != second).any() for first, second in pairwise(shown))


@pytest.mark.parametrize("labels", [None, torch.arange(30) % 3])
def test_a_strip_has_maps_of_one_scale_above_and_planes_below(labels):
    figure = film_strip(frames(3), labels)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["iteration 0", "iteration 1", "iteration 2"]
    assert len({axes.get_xlim() for axes in figure.axes[:3]}) == 1
    assert [len(axes.collections) for axes in figure.axes[:3]] == [1 if labels is None else 3] * 3
    assert len(figure.legends) == (labels is not None)


def test_each_map_may_have_its_own_scale():
    figure = film_strip(frames(2), None, one_scale=False)
    reach = [np.abs(axes.get_xlim()).max() for axes in figure.axes[:2]]
    assert reach[1] > 5 * reach[0]
    assert not any(axes.lines for axes in figure.axes)


def test_the_plane_has_its_second_coordinate_upwards():
    means = torch.arange(9.0).div(8).reshape(9, 1, 1, 1)
    figure = film_strip([Frame("", torch.zeros(5, 2), means)], None)
    shown = figure.axes[1].images[0].get_array()[..., 0]
    np.testing.assert_allclose(shown * 8, [[6, 7, 8], [3, 4, 5], [0, 1, 2]], atol=1e-5)


def test_codes_must_lie_in_a_plane(tmp_path):
    with pytest.raises(InputError, match="codes of two dimensions"):
        film_strip([Frame("", torch.zeros(5, 3), torch.zeros(9, 4))], None)
    with pytest.raises(InputError, match="at least one"):
        film([], None, tmp_path / "none.gif")
