"""All data in stored order: the same values, labels and noise as in the splits, also for one datum."""

from functools import partial

import numpy as np
import pytest
import torch

from pyrovae import ArrayFile, DataSet, Digits, InputError, fit
from pyrovae.data import of_classes

SIZES = torch.arange(60 * 4, dtype=torch.uint8).reshape(60, 4)


def memory_map(tmp_path, **options):
    np.save(tmp_path / "data.npy", SIZES.numpy())
    return ArrayFile(tmp_path / "data.npy", labels=None, **options)


MAKERS = {
    "stored": lambda tmp_path: DataSet(SIZES.float() / 7),
    "binarised": lambda tmp_path: DataSet(SIZES, torch.arange(60), binarization="dynamic"),
    "dequantised": lambda tmp_path: DataSet(SIZES, dequantize=True),
    "test data apart": lambda tmp_path: DataSet(SIZES[:50], test_x=SIZES[50:], binarization="static"),
    "validation data apart": lambda tmp_path: DataSet(
        SIZES[:40].float(),
        torch.arange(40),
        validation_x=SIZES[40:50].float(),
        test_size=10,
        validation_labels=torch.arange(10),
    ),
    "both apart": lambda tmp_path: DataSet(
        SIZES[:40], test_x=SIZES[50:], validation_x=SIZES[40:50], binarization="static"
    ),
    "memory map": partial(memory_map, binarization="dynamic"),
    "some classes": lambda tmp_path: of_classes(Digits(), [1, 2]),
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_datum_is_what_it_is_in_its_split(name, tmp_path):
    data = MAKERS[name](tmp_path)
    whole = data.all
    rows = whole.rows.tolist()
    assert rows == sorted(rows)
    assert len(whole) == len(data.train) + len(data.validation) + len(data.test)
    first = {"validation": 40, "test": 50}
    for split in ("train", "validation", "test"):
        part, offset = getattr(data, split).with_fixed_noise(), first[split] if split in data.stored_apart else 0
        at = torch.tensor([rows.index(row + offset) for row in part.rows.tolist()])
        torch.testing.assert_close(whole[at], part[:], rtol=0, atol=0)
        torch.testing.assert_close(whole.stored[at], part.stored, rtol=0, atol=0)
        assert part.labels is None or torch.equal(whole.labels[at], part.labels)
        assert whole.take(at).hash() != whole.hash()
    torch.testing.assert_close(whole[3:40:7], whole[:][3:40:7], rtol=0, atol=0)
    assert torch.equal(whole.astype(torch.float64)[:5], whole[:5].double())


def test_the_order_is_that_of_the_file(tmp_path):
    assert np.array_equal(memory_map(tmp_path).all.stored.numpy(), SIZES.numpy())
    assert torch.equal(MAKERS["test data apart"](tmp_path).all.stored, SIZES)
    both = MAKERS["both apart"](tmp_path)
    assert torch.equal(both.all.stored, SIZES)
    assert (both.stored_apart, len(both.train), len(both.validation), len(both.test)) == (
        ("validation", "test"),
        40,
        10,
        10,
    )
    assert torch.equal(both.validation.stored, SIZES[40:50])


@pytest.mark.parametrize("count", [1, 2])
def test_data_too_few_to_be_split_are_test_data_and_cannot_be_trained_on(count):
    data = DataSet(torch.rand(count, 4))
    assert [len(part) for part in (data.train, data.validation, data.test, data.all)] == [0, 0, count, count]
    with pytest.raises(InputError, match=f"data must be at least 3 to train on some .* but are {count}"):
        fit(lambda x: None, lambda x: None, data)
