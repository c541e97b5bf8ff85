"""Pictures of the experiments: named rows, thumbnails, ROC curves, lines, posteriors."""

import io

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from pyrovae import InputError, figures
from pyrovae.evaluation import separation


def pixels(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))


def written(figure):
    """All words of a figure."""
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def test_rows_have_their_names_and_short_ones_end_in_blanks():
    figure = figures.labelled_rows({"black": torch.zeros(3, 1, 4, 4), "grey": torch.full((2, 1, 4, 4), 0.5)}, "title")
    grid = figure.axes[0].images[0].get_array()[..., 0]
    np.testing.assert_allclose(grid[3::5, 3::5][:, :3], [[0, 0, 0], [0.5, 0.5, 1]])
    assert set(written(figure)) == {"black", "grey", "title"}
    assert pixels(figure)[:, :3].min() == 255  # no name is cut off
    with pytest.raises(InputError, match="rows must hold"):
        figures.labelled_rows({"nothing": torch.zeros(0, 1, 4, 4)})


def test_values_outside_the_unit_interval_are_clipped_row_by_row():
    figure = figures.labelled_rows({"x": torch.tensor([-1.0, 0.25, 3.0]).reshape(3, 1, 1, 1).expand(3, 1, 2, 2)})
    np.testing.assert_allclose(figure.axes[0].images[0].get_array()[1, 1::3, 0], [0, 0.25, 1])


@pytest.mark.parametrize("shape", [(1, 7, 5), (3, 4, 4), (9,)])
def test_thumbnails_leave_each_other_room(shape):
    codes = torch.tensor([[0.0, 0.0], [0.01, 0.01], [3.0, 3.0], [-3.0, 3.0]])
    figure = figures.thumbnail_map(codes, torch.rand(4, *shape))
    assert figure.axes[0].get_title().startswith("3 of 4")
    assert len(figure.axes[0].artists) == 3
    assert pixels(figure).std() > 0
    with pytest.raises(InputError, match="codes must have the shape"):
        figures.thumbnail_map(torch.zeros(4, 3), torch.rand(4, *shape))


def test_roc_curves_tell_area_and_interval():
    found = separation(torch.randn(50), 1 + torch.randn(50))
    figure = figures.roc_curves({"ELBO": found, "error": found})
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert legend[0] == f"ELBO: {found.auroc:.3f} [{found.low:.3f}, {found.high:.3f}]"
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), found.true_positive_rate)


def test_histogram_tells_what_is_above_the_threshold():
    figure = figures.score_histogram(torch.arange(10.0), torch.arange(5.0, 15.0), 8.5, "nats")
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"normal: 10% above", "anomalies: 60% above"} <= set(legend)


def test_lines_keep_their_colour_from_panel_to_panel():
    panels = {"left": {"a": [1, 2], "b": [3, 4]}, "right": {"b": [5, 6]}}
    figure = figures.line_panels([0.1, 1.0], panels, "noise", log=True)
    left, right = figure.axes
    assert left.lines[1].get_color() == right.lines[0].get_color() != left.lines[0].get_color()
    assert [axes.get_ylabel() for axes in figure.axes] == ["left", "right"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert not figures.line_panels([0.1, 1.0], {"left": {"a": [1, 2]}}, "noise").legends
    with pytest.raises(InputError, match="2 values a line"):
        figures.line_panels([0.1, 1.0], {"left": {"a": [1]}}, "noise")


def test_points_of_the_rate_distortion_plane_share_a_label_where_they_meet():
    figure = figures.rate_distortion_plane([9.0, 0.0, 0.01], {"error": [1.0, 8.0, 8.01]}, ["low", "high", "higher"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["high, higher", "low"]
    with pytest.raises(InputError, match="one length"):
        figures.rate_distortion_plane([1.0], {"error": [1.0, 2.0]}, ["a"])


def test_lines_of_the_exact_density_hold_what_they_say():
    x, y = torch.linspace(-4, 4, 161), torch.linspace(-5, 5, 201)
    log_density = -0.5 * (x[None] ** 2 + y[:, None] ** 2)
    figure = figures.plane_posteriors({"exact": torch.randn(100, 2)}, log_density, (-4.0, 4.0, -5.0, 5.0))
    (lines,) = (part for part in figure.axes[0].collections if hasattr(part, "levels"))
    radius = np.sqrt(-2 * np.log(lines.levels))
    np.testing.assert_allclose(radius, np.sqrt(-2 * np.log([0.01, 0.1, 0.5])), atol=0.05)  # those of a normal


@pytest.mark.slow
def test_forest_has_a_row_for_each_quantity_and_approximation():
    draws = {name: torch.randn(100) for name in ("d", "b", "c", "a")}
    figure = figures.forest({"NUTS": draws, "normal": draws})
    figure.canvas.draw()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(draws)
    low, high = figure.axes[0].get_ylim()
    assert low > high  # the first is on top
    assert {"NUTS", "normal"} <= set(written(figure))
    assert pixels(figure).std() > 0
