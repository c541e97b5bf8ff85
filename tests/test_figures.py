"""Pictures are drawn of every kind of data, and matplotlib's global state is left alone."""

import io

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from pyrovae import InputError, figures
from pyrovae.training import Epoch, History


def pixels(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))


def shown(figure):
    """The grid that an image figure shows."""
    return figure.axes[0].images[0].get_array()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (8, 8), (64,), (7,), (2, 3, 4)])
def test_grids_of_any_data(shape):
    assert pixels(figures.samples(torch.rand(10, *shape))).std() > 0


def test_grid_puts_images_in_reading_order_with_their_values():
    x = torch.stack([torch.full((1, 2, 2), value) for value in (0.0, 0.25, 0.5, 1.0)])
    grid = shown(figures.image_grid(x, columns=2, padding=0))
    np.testing.assert_allclose(grid[::2, ::2, 0], [[0.0, 0.25], [0.5, 1.0]])


def test_values_outside_the_unit_interval_are_scaled():
    grid = shown(figures.image_grid(torch.tensor([-3.0, 5.0]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2), 2, padding=0))
    assert (grid.min(), grid.max()) == (0.0, 1.0)


def test_reconstructions_stand_below_their_data():
    x, means = torch.ones(12, 1, 2, 2), torch.zeros(12, 1, 2, 2)
    grid = shown(figures.reconstructions(x, means))
    assert [round(float(grid[1 + 3 * row, 1, 0])) for row in range(4)] == [1, 0, 1, 0]
    with pytest.raises(InputError, match="one shape"):
        figures.reconstructions(x, means[:5])


def test_manifold_has_its_second_coordinate_upwards():
    means = torch.arange(9.0).div(8).reshape(9, 1, 1, 1)
    grid = shown(figures.manifold(means, columns=3))[..., 0]
    np.testing.assert_allclose(grid * 8, [[6, 7, 8], [3, 4, 5], [0, 1, 2]], atol=1e-5)


@pytest.mark.parametrize("dims", [1, 2, 5])
@pytest.mark.parametrize("classes", [0, 3, 10, 30])
def test_latent_maps(dims, classes):
    labels = torch.arange(60) % classes if classes else None
    figure = figures.latent_map(torch.randn(60, dims), labels)
    assert len(figure.axes[0].collections) == max(classes, 1)
    assert pixels(figure).std() > 0
    expected = "principal component" if dims > 2 else "z_1"
    assert expected in figure.axes[0].get_xlabel()


def test_training_curves():
    history = History([Epoch(i, -30 + i, -28 + i, 2.0, -31 + i, -29 + i, 2.1, 0.1, 1e-3) for i in range(1, 20)])
    figure = figures.training_curves(history)
    assert figure.axes[0].get_title() == "ELBO"
    for axes in figure.axes:
        assert axes.get_ylabel() == "nats per datum"
        assert len(axes.lines) == 2
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), [-31 + i for i in range(1, 20)])


def test_matplotlib_is_left_alone():
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    figures.samples(torch.rand(4, 1, 8, 8))
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []
