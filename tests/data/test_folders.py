"""Folders of pictures: every picture is what its file says, and every file that counts is there once."""

import numpy as np
import pytest
import torch
from PIL import Image

from pyrovae import ImageFolder, InputError

rng = np.random.default_rng(0)


def everything(data):
    return torch.cat([data.train.stored, data.validation.stored, data.test.stored])


def pictures(folder, count=6, suffix=".png", start=0):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + count):
        Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(folder / f"{i}{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_are_sixteen_bits(tmp_path, suffix):
    deep = rng.integers(0, 2**16, (5, 4, 3), dtype=np.uint16)
    for i, pixels in enumerate(deep):
        Image.fromarray(pixels).save(tmp_path / f"{i}{suffix}")
    data = ImageFolder(tmp_path, grey=True, seed=1)
    order = torch.cat([data.train._index, data.validation._index, data.test._index])
    assert torch.equal(everything(data)[:, 0], torch.from_numpy(deep[order.numpy()].astype(np.int32)))
    assert (data.levels, data.kind, data.bits_per_dim(0.0)) == (65536, "dequantized", 16.0)
    x = data.test[:]
    assert torch.equal((x.double() * 65536).floor(), data.test.stored.double())
    binary = ImageFolder(tmp_path, grey=True, dequantize=False, binarization="dynamic").train
    mean = torch.stack([binary[:] for _ in range(400)]).mean(0)
    assert (mean - binary.stored / 65535).abs().max() < 4.5 * 0.5 / 20
    three = ImageFolder(tmp_path, size=(4, 3), seed=1)
    assert torch.equal(everything(three), everything(data).expand(-1, 3, -1, -1))


def test_floats_are_read_as_they_are_or_refused(tmp_path):
    floats = rng.random((5, 4, 3), dtype=np.float32)
    for i, pixels in enumerate(floats):
        Image.fromarray(pixels).save(tmp_path / f"{i}.tiff")
    with pytest.raises(InputError, match=r"dequantize needs integers.*they are float32"):
        ImageFolder(tmp_path, grey=True)
    data = ImageFolder(tmp_path, grey=True, dequantize=False)
    assert data.kind == "real"
    assert sorted(everything(data).flatten().tolist()) == sorted(floats.flatten().tolist())
    Image.fromarray(floats[0].astype(np.int32)).save(tmp_path / "0.tiff")
    with pytest.raises(InputError, match=r"0.tiff cannot be read.*32-bit integers have no known largest value"):
        ImageFolder(tmp_path, grey=True)
    Image.fromarray(floats[0].astype(np.uint8)).save(tmp_path / "0.tiff")
    with pytest.raises(InputError, match=r"one depth, but .*0.tiff has 8 bits and .*1.tiff has floating point"):
        ImageFolder(tmp_path, grey=True)


def test_pictures_are_turned_as_their_camera_says(tmp_path):
    upright = rng.integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned: to be seen a quarter turn clockwise
    for i, pixels in enumerate(upright):
        Image.fromarray(np.rot90(pixels).copy()).save(tmp_path / f"{i}.png", exif=exif)
    data = ImageFolder(tmp_path)
    assert data.data_shape == (3, 4, 6)
    assert sorted(everything(data).flatten(1).tolist()) == sorted(upright.transpose(0, 3, 1, 2).reshape(3, -1).tolist())


def test_what_a_picture_loses_is_said(tmp_path):
    pictures(tmp_path, 3)
    drawn = np.zeros((6, 5, 4), np.uint8)  # black on nothing
    drawn[1, 1, 3] = 255
    Image.fromarray(drawn).save(tmp_path / "drawn.png")
    pages = [Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)) for _ in range(2)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    (tmp_path / "moving.gif").write_bytes(b"")
    with pytest.warns(UserWarning, match="of the images in") as said:
        data = ImageFolder(tmp_path)
    said = sorted(str(warning.message).partition(", 1 ")[2] for warning in said)
    assert [sentence.split(":")[0][:30] for sentence in said] == [
        "are left out, because their en",
        "are partly transparent; these ",
        "have several pages; only the f",
    ]
    assert [sentence.rpartition("/")[2] for sentence in said] == ["moving.gif", "drawn.png", "pages.tif"]
    black = (everything(data) == 0).all(1).flatten(1).sum(1)  # pixels
    assert sorted(black.tolist()) == [0, 0, 0, 0, 1]


def test_hidden_files_are_left_out_and_links_are_followed_once(tmp_path):
    root = tmp_path / ".here" / "root"
    pictures(root / "b")
    pictures(tmp_path / "elsewhere", 5)
    (root / "a").symlink_to(tmp_path / "elsewhere")
    (root / "b" / "loop").symlink_to(root)
    (tmp_path / "elsewhere" / "across").symlink_to(root / "b")
    pictures(root / ".ipynb_checkpoints", 3)
    pictures(root / "b" / ".ipynb_checkpoints", 3)
    (root / "b" / "._0.png").write_bytes(b"no picture")
    (root / ".DS_Store").write_bytes(b"")
    with pytest.warns(UserWarning, match="of the images in .*, 6 are copies of others"):
        data = ImageFolder(root)
    labels = torch.cat([data.train.labels, data.validation.labels, data.test.labels])
    assert labels.bincount().tolist() == [5 + 6, 6]  # those of a, of a/across, and of b
    (tmp_path / "elsewhere" / "across").unlink()
    labels = torch.cat([getattr(ImageFolder(root), name).labels for name in ("train", "validation", "test")])
    assert labels.bincount().tolist() == [5, 6]


def test_labels_that_get_lost_are_said(tmp_path):
    pictures(tmp_path / "a")
    pictures(tmp_path, 2)
    with pytest.warns(UserWarning, match="2 lie beside the folders of the others, so that there are no labels"):
        assert ImageFolder(tmp_path).train.labels is None
