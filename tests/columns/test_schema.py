"""A schema writes rows as numbers and back, and knows their spread."""

import json

import numpy as np
import pandas
import torch

from pyrovae import Column, Schema

SCHEMA = Schema(
    (
        Column("height", std=2.0, gaps=True),
        Column("visits", "count"),
        Column("smokes", "binary", ("no", "yes")),
        Column("animal", "categorical", ("cat", "cow", "dog")),
        Column("size", "ordinal", ("S", "M", "L"), std=0.5),
    ),
    Column("target", "categorical", ("ill", "well")),
)


def test_it_is_written_as_json():
    assert Schema.from_dict(json.loads(json.dumps(SCHEMA.to_dict()))) == SCHEMA


def test_numbers_become_values_of_the_same_numbers():
    x = torch.tensor([[1.5, 3.0, 1.0, 2.0, 0.0], [torch.nan] * 5, [-2.0, 0.0, 0.0, 0.0, 2.0]])
    frame = SCHEMA.to_frame(x)
    assert frame.iloc[0].tolist() == [1.5, 3, "yes", "dog", "S"]
    assert frame["size"].cat.ordered
    assert torch.equal(SCHEMA.to_tensor(frame).isnan(), x.isnan())
    assert torch.equal(SCHEMA.to_tensor(frame[SCHEMA.names[::-1]]).nan_to_num(-9), x.nan_to_num(-9))


def test_labels_are_read_by_their_categories():
    frame = pandas.DataFrame({"target": ["well", None, "ill"]})
    assert SCHEMA.labels(frame).tolist() == [1, -1, 0]
    assert SCHEMA.labels(frame.rename(columns={"target": "other"})) is None


def test_errors_are_in_units_that_columns_share():
    x = torch.tensor([[1.0, 3.0, 1.0, 2.0, 0.0], [torch.nan, 2.0, 0.0, 1.0, 2.0]])
    means = torch.tensor([[4.0, 5.0, 0.25, 0.0, 1.0], [0.0, 2.0, 0.5, 1.0, 1.75]])
    expected = [[2.25, 4.0, 0.5625, 1.0, 4.0], [0.0, 0.0, 0.25, 0.0, 0.25]]
    assert SCHEMA.squared_errors(x, means).tolist() == expected


def test_spread_of_a_column_is_also_that_of_its_logarithm():
    x = np.array([[1.0, 2.0], [4.0, np.nan], [16.0, 5.0]])
    schema = Schema((Column("a", "positive"), Column("b", "count"))).with_spread(np.split(x, [1]))
    np.testing.assert_allclose([column.log_mean for column in schema.columns], [np.log(4), np.log(18) / 2])
    np.testing.assert_allclose(
        [column.log_std for column in schema.columns], [np.log(4) * (2 / 3) ** 0.5, np.log(2) / 2]
    )
    assert [column.gaps for column in schema.columns] == [False, True]
