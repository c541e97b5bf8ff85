"""Pictures are drawn of every kind of data, and matplotlib's global state is left alone."""

import io
import math

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from pyrovae import InputError, figures
from pyrovae.evaluation.likelihood.convergence import convergence
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


def test_rows_of_many_features_are_bars_of_a_bounded_size():
    """Each pixel is the mean of the features that it stands for."""
    x = torch.rand(12, 20_000, generator=torch.Generator().manual_seed(0))
    x[:, 0], x[:, -1] = 0, 1
    grid = shown(figures.image_grid(x, columns=1, padding=0))
    width = 256
    assert grid.shape == (12 * width // 4, width, 3)
    assert abs(float(grid[:: width // 4, :, 0].mean()) - x.mean().item()) < 1e-3
    assert np.corrcoef(grid[:: width // 4, 0, 0], x[:, :79].mean(1))[0, 1] > 0.999
    figure = figures.extremes(x, torch.arange(12.0), torch.arange(12.0))
    assert max(image.get_array().size for axes in figure.axes for image in axes.images) <= width * width
    assert pixels(figure).std() > 0


@pytest.mark.slow
def test_large_pictures_are_no_finer_than_the_figure():
    x = torch.zeros(400, 3, 300, 200)
    x[:, :, :150] = 1
    grid = shown(figures.manifold(x, columns=20))
    assert grid.shape == (20 * 102 + 21, 20 * 68 + 21, 3)  # with gaps of a pixel
    assert set(np.unique(grid)) == {0.0, 0.5, 1.0}  # the border lies between two of the smaller pixels
    assert shown(figures.image_grid(x[:1, :, :28, :20], 1, padding=0)).shape == (28, 20, 3)


def test_manifold_has_its_second_coordinate_upwards():
    means = torch.arange(9.0).div(8).reshape(9, 1, 1, 1)
    grid = shown(figures.manifold(means, columns=3))[..., 0]
    np.testing.assert_allclose(grid[1::2, 1::2] * 8, [[6, 7, 8], [3, 4, 5], [0, 1, 2]], atol=1e-5)  # without gaps


def test_one_code_has_no_principal_components():
    with pytest.raises(InputError, match="codes must be of 2 data or more to have principal components"):
        figures.latent_map(torch.randn(1, 3), None)


def test_an_unknown_class_is_none_of_the_classes():
    axes = figures.latent_map(torch.randn(60, 2), torch.arange(60) % 4 - 1).axes[0]
    assert [part.get_label() for part in axes.collections] == ["unknown", "0", "1", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("dims", [1, 2, 5])
@pytest.mark.parametrize("classes", [0, 3, 10, 30])
def test_latent_maps(dims, classes):
    labels = torch.arange(60) % classes if classes else None
    figure = figures.latent_map(torch.randn(60, dims), labels)
    assert len(figure.axes[0].collections) == max(classes, 1)
    assert pixels(figure).std() > 0
    expected = "principal component" if dims > 2 else "z_1"
    assert expected in figure.axes[0].get_xlabel()


@pytest.mark.slow
def test_several_maps_beside_each_other():
    points = {"one": torch.randn(60, 2), "another": torch.randn(60, 2)}
    figure = figures.latent_maps(points, torch.arange(60) % 3)
    assert [axes.get_title() for axes in figure.axes] == ["one", "another"]
    assert [len(axes.collections) for axes in figure.axes] == [3, 3]
    assert len(figure.legends) == 1
    assert pixels(figures.latent_maps(points, None)).std() > 0
    for wrong in ({}, {"one": torch.randn(60, 3)}):
        with pytest.raises(InputError, match="at least one map"):
            figures.latent_maps(wrong, None)


def test_training_curves():
    history = History([Epoch(i, -30 + i, -28 + i, 2.0, -31 + i, -29 + i, 2.1, 0.1, 1e-3) for i in range(1, 20)])
    figure = figures.training_curves(history)
    assert figure.axes[0].get_title() == "ELBO"
    for axes in figure.axes:
        assert axes.get_ylabel() == "nats per datum"
        assert len(axes.lines) == 2
        low, high = axes.get_ylim()
        assert all(low <= y <= high for line in axes.lines for y in line.get_ydata())  # nothing is cut off
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata(), [-31 + i for i in range(1, 20)])


@pytest.mark.parametrize("count", [1, 10, 300])
def test_map_of_pareto_k_tells_apart_what_is_above_the_threshold(count):
    k_hat = torch.linspace(0.2, 1.2, count)
    axes = figures.pareto_map(torch.randn(count), k_hat, 0.7).axes[0]
    below, above = (points.get_offsets() for points in axes.collections)
    assert len(above) == int((k_hat > 0.7).sum())
    assert len(below) + len(above) == count
    assert all(y > 0.7 for y in above[:, 1])
    assert len(axes.lines) == 1


def test_map_of_pareto_k_puts_infinite_ones_on_the_edge_and_leaves_out_those_unknown():
    k_hat = torch.tensor([0.3, 0.9, math.inf, -math.inf, math.nan, 5.0])
    figure = figures.pareto_map(torch.arange(6.0), k_hat, torch.full((6,), 0.5))
    points = np.concatenate([points.get_offsets() for points in figure.axes[0].collections])
    low, high = figure.axes[0].get_ylim()
    assert sorted(points[:, 0]) == [0, 1, 2, 3, 5]
    assert all(low <= y <= high for y in points[:, 1])
    assert "60.0% of 5" in figure.axes[0].get_title()
    assert pixels(figure).std() > 0
    assert pixels(figures.pareto_map(torch.zeros(2), torch.full((2,), math.nan), 0.7)).std() > 0


@pytest.mark.slow
def test_map_of_errors():
    error = torch.tensor([0.1, 0.0, 1.0, math.nan])
    figure = figures.error_map(torch.arange(4.0), error, torch.tensor([True, False, True, False]))
    sampled, chains = (points.get_offsets() for points in figure.axes[0].collections)
    assert chains[:, 0].tolist() == [0, 2]
    assert sampled[:, 0].tolist() == [1]
    assert len(figures.error_map(torch.arange(4.0), error).axes[0].collections[0].get_offsets()) == 3
    assert pixels(figure).std() > 0


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 4, 4), (7,)])
@pytest.mark.parametrize("count", [3, 30])
def test_extremes_are_the_lowest_and_the_most_doubtful(shape, count):
    log_prob = torch.randperm(count).double() - count
    doubt = -log_prob
    doubt[0] = math.nan
    doubt[1] = math.inf
    x = (log_prob / log_prob.abs().max()).abs().reshape(-1, *[1] * len(shape)).expand(-1, *shape)
    figure = figures.extremes(x, log_prob, doubt)
    worst, doubtful = figure.axes
    few = min(10, count)
    lowest = log_prob.sort().values[:few]
    assert [text.get_text() for text in worst.texts] == [f"{value:.1f}".replace("-", "−") for value in lowest]
    np.testing.assert_allclose(worst.images[0].get_array(), 1.0)
    assert len(worst.images) == len(doubtful.images) == few
    assert doubtful.texts[0].get_text() == "inf"
    assert doubtful.texts[-1].get_text() == ("nan" if count == 3 else f"{doubt[2:].sort().values[-9]:.2g}")
    assert pixels(figure).std() > 0


def test_tails_are_of_the_best_the_middle_and_the_worst():
    log_weights = torch.randn(50, 30, dtype=torch.float64) * torch.linspace(0.1, 3, 30)
    tail = (log_weights - log_weights.logsumexp(0)).sort(0, descending=True).values[:20]
    figure = figures.weight_tails(tail, torch.linspace(0, 2, 30), 50)
    *lines, level = figure.axes[0].lines
    assert len(lines) == 12
    np.testing.assert_allclose(lines[0].get_ydata(), tail[:, 0].exp())
    np.testing.assert_allclose(lines[-1].get_ydata(), tail[:, -1].exp())
    assert level.get_ydata() == [1 / 50, 1 / 50]
    assert "worst, k̂ = 1.79 to 2.00" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    by_weight = figures.weight_tails(tail, torch.full((30,), math.nan), torch.full((30,), 50))
    np.testing.assert_allclose(by_weight.axes[0].lines[11].get_ydata(), tail[:, tail[0].argmax()].exp())


@pytest.mark.parametrize("count", [1, 2])
def test_tails_of_very_few_data_with_weights_of_zero(count):
    tail = torch.tensor([0.0, -math.inf, -math.inf])[:, None].expand(3, count)
    assert pixels(figures.weight_tails(tail, torch.full((count,), math.inf), 3)).std() > 0


def test_convergence_shows_the_tables_numbers():
    table = convergence(torch.randn(30, 4)).table()
    axes = figures.convergence_plot(table, elbo=-0.1, references={"annealed": 0.5}).axes[0]
    bound, jackknife, elbo, reference = axes.lines
    np.testing.assert_allclose(bound.get_xdata(), [1, 2, 5, 10, 20, 30])
    np.testing.assert_allclose(bound.get_ydata(), [row["bound"] for row in table])
    np.testing.assert_allclose(jackknife.get_ydata()[1:], [row["jackknife"] for row in table[1:]])
    assert (list(elbo.get_xdata()), list(elbo.get_ydata())) == ([1], [-0.1])
    assert list(reference.get_ydata()) == [0.5, 0.5]
    assert pixels(figures.convergence_plot(convergence(torch.randn(1, 4)).table())).std() > 0


@pytest.mark.slow
@pytest.mark.parametrize(("temperatures", "count"), [(1, 1), (2, 3), (50, 40)])
def test_annealing_paths(temperatures, count):
    beta = torch.linspace(0, 1, temperatures + 1)
    log_weight = torch.randn(temperatures, count)
    moves = torch.rand(temperatures - 1, count)
    figure = figures.annealing_paths(beta, log_weight, moves, 2 * moves)
    weights, accepted, steps = figure.axes
    integral = log_weight.double().mean(0)
    np.testing.assert_allclose(weights.lines[-2].get_ydata(), (log_weight.double() - integral).mean(1), atol=1e-6)
    if temperatures > 1:
        np.testing.assert_allclose(accepted.lines[0].get_ydata(), moves.double().mean(1))
        np.testing.assert_allclose(steps.lines[0].get_ydata(), 2 * moves.double().mean(1), rtol=1e-6)
    assert pixels(figure).std() > 0


def bars(figure):
    return [(round(bar.get_x(), 6), round(bar.get_x() + bar.get_width(), 6)) for bar in figure.axes[0].patches]


@pytest.mark.slow
def test_staircase_of_nats_goes_up_to_the_negative_elbo_twice():
    terms = {"distortion": 70.0, "rate": 20.0, "mutual_information": 18.0, "marginal_kl": 2.0}
    figure = figures.elbo_breakdown(elbo=-90.0, log_prob=-86.0, refined_elbo=-87.0, **terms)
    assert bars(figure) == [(0, 86), (86, 87), (87, 90), (0, 90), (0, 70), (70, 88), (88, 90)]
    assert pixels(figure).std() > 0
    few = figures.elbo_breakdown(elbo=-90.0, **terms, saturated=True)
    assert [label.get_text()[-8:] for label in few.axes[0].get_yticklabels()[-2:]] == ["at least", " at most"]
    assert bars(figures.elbo_breakdown(elbo=-90.0)) == [(0, 90)]
    assert bars(figures.elbo_breakdown(elbo=-90.0, log_prob=-86.0, **dict.fromkeys(terms))) == [
        (0, 86),
        (86, 90),
        (0, 90),
    ]
    assert bars(figures.elbo_breakdown(elbo=-90.0, distortion=70.0, rate=20.0)) == [(0, 90), (0, 70), (70, 90)]
    assert bars(figures.elbo_breakdown(elbo=90.0, log_prob=95.0)) == [(0, -95), (-95, -90), (0, -90)]


@pytest.mark.slow
def test_comparison_of_runs():
    nan = math.nan
    figure = figures.comparison(
        ["a", "b", "c"], [80.0, 81.0, 85.0], [0.2, 0.2, 0.3], [0.0, 1.0, nan], [(0.0, 0.0), (0.9, 1.2), (nan, nan)]
    )
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["a", "b", "c"]
    assert "not paired" in right.texts[0].get_text()
    assert pixels(figure).std() > 0
    with pytest.raises(InputError, match=r"^names"):
        figures.comparison(["a"], [1.0, 2.0], [0.1], [0.0], [(0.0, 0.0)])


def test_matplotlib_is_left_alone():
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    figures.samples(torch.rand(4, 1, 8, 8))
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []


@pytest.mark.slow
def test_ranks_that_leave_the_bands_are_named():
    even = torch.full((16,), 25)
    narrow = torch.tensor([90, *[16] * 14, 86])
    band = torch.full((16,), 0.06)
    figure = figures.rank_ecdf({"z[0]": even, "z[1]": narrow}, (-band, band))
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["95 % bands of uniform ranks", "z[1]"]
    assert pixels(figure).std() > 0


def test_a_search_has_a_panel_for_each_option_and_pruned_trials_are_hollow():
    options = {"lr": [1e-4, 1e-3, 1e-2], "latent_dim": [2, 4, 8], "prior": ["B", "A", "B"], "beta": [0.0, 1.0, 40.0]}
    figure = figures.search(options, [-30.0, -20.0, -25.0], [True, False, True])
    panels = {axes.get_xlabel(): axes for axes in figure.axes}
    assert list(panels) == list(options)
    assert [axes.get_xscale() for axes in panels.values()] == ["log", "linear", "linear", "linear"]
    assert [label.get_text() for label in panels["prior"].get_xticklabels()] == ["A", "B"]
    done, pruned = panels["prior"].collections
    assert done.get_offsets().tolist() == [[1, -30], [1, -25]]
    assert pruned.get_offsets().tolist() == [[0, -20]]
    assert (len(done.get_facecolor()), len(pruned.get_facecolor())) == (1, 0)
    with pytest.raises(InputError, match="options must have one value for each of 2 trials"):
        figures.search(options, [-30.0, -20.0], [True, True])
