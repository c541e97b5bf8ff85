"""The same data observed another way, and those of some classes."""

import numpy as np
import pytest
import torch

from pyrovae import ArrayFile, DataSet, Digits, InputError
from pyrovae.data import observed, of_classes


@pytest.fixture
def images():
    return torch.randint(0, 256, (200, 1, 4, 5), dtype=torch.uint8)


def test_observed_another_way_is_as_if_it_had_been_made_that_way(images):
    data = DataSet(images, torch.arange(200) % 3, binarization="static", seed=4)
    for options in ({"dequantize": True}, {"binarization": "threshold"}, {"binarization": "dynamic"}, {}):
        made, direct = observed(data, **options), DataSet(images, torch.arange(200) % 3, seed=4, **options)
        assert made.kind == direct.kind
        for name in ("train", "validation", "test"):
            a, b = getattr(made, name), getattr(direct, name)
            assert (a.labels == b.labels).all()
            torch.manual_seed(1)
            x = a[:]
            torch.manual_seed(1)
            assert (x == b[:]).all()
    assert data.kind == "binary"
    assert (data.test[:] == DataSet(images, binarization="static", seed=4).test[:]).all()


def test_what_cannot_be_observed_is_refused():
    real = DataSet(torch.randn(20, 3))
    with pytest.raises(InputError, match="dequantize needs"):
        observed(real, dequantize=True)
    with pytest.raises(InputError, match="dequantize must be false"):
        observed(Digits(), "static", dequantize=True)
    with pytest.raises(InputError, match="binarization must be"):
        observed(Digits(), "some")
    with pytest.raises(InputError, match="binarization dynamic needs grey values"):
        observed(real, "dynamic")


def test_some_classes_keep_their_images_labels_and_noise(tmp_path, images):
    np.savez(tmp_path / "few.npz", x=images.numpy(), labels=np.arange(200) % 3)
    np.save(tmp_path / "few.npy", images.numpy())
    np.save(tmp_path / "labels.npy", np.arange(200) % 3)
    for data in (
        ArrayFile(tmp_path / "few.npz", binarization="static"),
        ArrayFile(tmp_path / "few.npy", tmp_path / "labels.npy", binarization="static"),  # stays on disk
    ):
        some = of_classes(data, (0, 2))
        for whole, part in ((data.train, some.train), (data.validation, some.validation), (data.test, some.test)):
            kept = whole.labels != 1
            assert (part.stored == whole.stored[kept]).all()
            assert (part.labels == whole.labels[kept]).all()
            assert (part[:] == whole[:][kept]).all()
        assert len(data.train) == 160


def test_classes_must_be_there():
    with pytest.raises(InputError, match="classes must have data in every split"):
        of_classes(Digits(), (17,))
    with pytest.raises(InputError, match="must have labels"):
        of_classes(DataSet(torch.rand(20, 3)), (1,))
