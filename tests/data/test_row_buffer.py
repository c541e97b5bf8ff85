"""Rows are the same in memory and in a file, and a full disk is one sentence."""

import tempfile

import numpy as np
import pytest

from pyrovae import InputError
from pyrovae.data import row_buffer
from pyrovae.data.row_buffer import RowBuffer


def added(parts):
    buffer = RowBuffer(3)
    for part in parts:
        buffer.add(part)
    return buffer.array()


def test_rows_in_a_file_are_those_in_memory(monkeypatch):
    x = np.random.default_rng(0).normal(size=(50, 3))
    parts = np.split(x, [7, 7, 30, 49])  # the second is empty
    inside = added(parts)
    monkeypatch.setattr(row_buffer, "_IN_MEMORY", 20 * 3 * 4)
    outside = added(parts)
    assert not isinstance(inside, np.memmap)
    assert isinstance(outside, np.memmap)
    for rows in (inside, outside):
        assert np.array_equal(rows, x.astype(np.float32))
        rows[0, 0] = 1.0  # they are the caller's


def test_a_folder_that_is_not_there_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(row_buffer, "_IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(InputError, match="none"):
        added([np.zeros((2, 3))])
