"""Both versions of ArviZ: the same files and tables."""

import numpy as np
import pytest
import xarray

from pyrovae.arviz_import import (
    compare_elpd,
    groups_of,
    highest_density_interval,
    inference_data_of,
    read_inference_data,
    write_inference_data,
)


@pytest.fixture
def data():
    draws = xarray.Dataset({"z": (("chain", "draw", "datum"), np.arange(12.0).reshape(1, 4, 3))})
    return inference_data_of({"posterior": draws, "sample_stats": draws.z.mean("draw").to_dataset()}, {"method": "x"})


def test_a_file_is_what_both_versions_write_and_read(data, tmp_path):
    """ArviZ 1 reads and writes by xarray's tree; 0.23 opens each group by itself."""
    write_inference_data(data, tmp_path / "ours.nc")
    with xarray.open_datatree(tmp_path / "ours.nc", engine="h5netcdf") as tree:
        assert tree.attrs == {"method": "x"}
        assert tree["posterior"].to_dataset().equals(groups_of(data)["posterior"])
        tree.load().to_netcdf(tmp_path / "tree.nc", engine="h5netcdf")
    with xarray.open_dataset(tmp_path / "ours.nc", group="sample_stats", engine="h5netcdf") as stats:
        assert stats.equals(groups_of(data)["sample_stats"])
    for name in ("ours.nc", "tree.nc"):
        again = read_inference_data(tmp_path / name)
        assert again.attrs == {"method": "x"}
        assert groups_of(again).keys() == {"posterior", "sample_stats"}
        np.testing.assert_array_equal(again.posterior["z"], data.posterior["z"])


def test_a_broken_file_is_left_closed(data, tmp_path):
    path = tmp_path / "values.nc"
    write_inference_data(data, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(OSError):  # noqa: PT011 - the words are HDF5's
        read_inference_data(path)


def test_the_shortest_interval_of_a_normal():
    samples = np.random.default_rng(0).normal([0.0, 5.0], [1.0, 2.0], (40_000, 2))
    np.testing.assert_allclose(highest_density_interval(samples, 0.683), [[-1, 1], [3, 7]], atol=0.15)


def test_the_table_has_the_same_columns_and_signs():
    values = np.random.default_rng(0).normal(-90, 3, 50)
    log_prob = {"worse": values - 1, "best": values}
    table = compare_elpd(log_prob, {"worse": 10, "best": 10}, {"worse": True, "best": False})
    assert list(table.index) == ["best", "worse"]
    assert list(table.columns) == ["rank", "elpd", "elpd_diff", "stacking_weight", "se", "dse", "warning"]
    assert table["elpd"].tolist() == pytest.approx([values.sum(), values.sum() - 50])
    assert table["elpd_diff"].tolist() == pytest.approx([0, 50])
    assert table["stacking_weight"].tolist() == pytest.approx([1, 0], abs=1e-3)
    assert table["se"].tolist() == pytest.approx([50**0.5 * values.std()] * 2)
    assert table["dse"].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert table["warning"].tolist() == [False, True]
