"""Means and standard deviations from parts are those of all rows."""

import numpy as np

from pyrovae.columns.moments import Moments


def test_spread_is_that_of_all_parts_also_if_one_has_no_value():
    x = np.array([[np.nan, 1.0], [np.nan, 2.0], [3.0, 4.0], [5.0, np.nan], [10.0, np.nan]])
    moments = Moments(2)
    for part in np.split(x, [2, 3]):
        moments.add(part)
    np.testing.assert_allclose(moments.mean, np.nanmean(x, 0))
    np.testing.assert_allclose(moments.std, np.nanstd(x, 0))
