"""Data sets: splits, binarisation, dequantisation, files; and the real ones where they are at hand."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyrovae import (
    MNIST,
    ArrayFile,
    ContinuousBernoulli,
    DataSet,
    Digits,
    DiscretizedLogistic,
    FreyFaces,
    ImageFolder,
    InputError,
    Omniglot,
)
from pyrovae.data import binarization
from pyrovae.data.binarization import fixed_uniform, fresh_binary

REAL = os.environ.get("PYROVAE_DATA")
needs_real_data = pytest.mark.skipif(REAL is None, reason="PYROVAE_DATA does not name a folder with MNIST")


@pytest.fixture
def images():
    return torch.randint(0, 256, (200, 1, 4, 5), dtype=torch.uint8)


def test_splits_are_disjoint_whole_and_repeatable():
    x = np.arange(100)[:, None]
    for seed in (0, 1):
        a, b = (
            DataSet(x, validation_size=20, test_size=0.3, seed=seed),
            DataSet(x, validation_size=20, test_size=0.3, seed=seed),
        )
        parts = [split.stored[:, 0].tolist() for split in (a.train, a.validation, a.test)]
        assert [len(part) for part in parts] == [50, 20, 30]
        assert sorted(parts[0] + parts[1] + parts[2]) == list(range(100))
        assert parts == [split.stored[:, 0].tolist() for split in (b.train, b.validation, b.test)]
    assert DataSet(x, seed=0).test.stored.tolist() != DataSet(x, seed=1).test.stored.tolist()


def test_labels_follow_their_images():
    y = np.arange(100)
    data = DataSet(y[:, None], y)
    for split in (data.train, data.validation, data.test):
        assert split.labels.tolist() == split.stored[:, 0].tolist()


def test_a_test_set_given_apart_is_kept_apart(images):
    data = DataSet(images, test_x=images[:30])
    assert len(data.train) + len(data.validation) == 200
    assert torch.equal(data.test.stored, images[:30])


@pytest.mark.parametrize("binarization", ["static", "dynamic", "threshold"])
def test_binarised_images_are_zero_or_one_and_fixed_outside_training(images, binarization):
    torch.manual_seed(1)
    a = DataSet(images, binarization=binarization)
    torch.manual_seed(2)
    b = DataSet(images, binarization=binarization)
    for data in (a, b):
        assert data.kind == "binary"
        assert set(data.train[:].unique().tolist()) == {0.0, 1.0}
    order = torch.randperm(len(a.test))
    for name in ("validation", "test"):
        assert torch.equal(getattr(a, name)[:], getattr(b, name)[:])
    assert torch.equal(a.test[order], a.test[:][order])
    assert torch.equal(torch.cat(list(a.test.batches(7))), a.test[:])
    assert torch.equal(a.train[:], a.train[:]) == (binarization != "dynamic")


@pytest.mark.parametrize("fresh", [True, False])
def test_binarisation_has_the_grey_value_as_its_mean(fresh):
    """Exactly: v = 0 never, v = 255 always, and every level in proportion."""
    x = torch.arange(256, dtype=torch.uint8).repeat(4000, 1)
    data = DataSet(x, binarization="dynamic", validation_size=1, test_size=2000)
    split = data.train if fresh else data.test
    mean = split[:].mean(0)
    p = torch.arange(256) / 255
    assert mean[0] == 0
    assert mean[255] == 1
    z = (mean - p)[1:-1] / (p * (1 - p) / len(split))[1:-1].sqrt()
    assert z.abs().max() < 4.5
    assert z.std().item() == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("levels", [256, 17, 2, 101])
def test_of_all_bytes_there_are_just_as_many_binarisations_on_as_the_level_says(levels, monkeypatch):
    maximum = levels - 1
    kept = 255 // maximum * maximum  # bytes that decide at once; of the others, all must be drawn again
    decided, again = torch.arange(256).repeat(kept), torch.arange(kept).repeat(256 - kept)
    for v in range(levels):
        drawn = [decided, torch.full((kept * (256 - kept),), 255), again]  # the second has nothing to offer

        def draw(count, drawn=drawn):
            assert count == len(drawn[0])
            return drawn.pop(0).to(torch.uint8)

        monkeypatch.setattr(binarization, "_bytes", draw)
        on = fresh_binary(torch.full((256 * kept,), v, dtype=torch.uint8), levels).sum()
        assert on.item() * maximum == 256 * kept * v
        assert drawn == []


def test_bytes_are_uniform_and_neighbours_independent():
    drawn = binarization._bytes(2_560_001).long()
    for cells in (
        drawn.bincount(minlength=256),
        (drawn[::2][: 1 << 20] % 16 * 16 + drawn[1::2][: 1 << 20] % 16).bincount(),
    ):
        chi_square = ((cells - cells.sum() / 256) ** 2 / (cells.sum() / 256)).sum().item()
        assert abs(chi_square - 255) < 4.5 * math.sqrt(2 * 255)


@pytest.mark.parametrize("v", [0.0, 2**-9, 0.3, 0.5, 255.25 / 256, 1.0])
def test_of_a_float_that_a_byte_leaves_open_the_rest_decides(v, monkeypatch):
    monkeypatch.setattr(binarization, "_bytes", lambda count: torch.arange(256, dtype=torch.uint8).repeat(count // 256))
    on = fresh_binary(torch.full((4000, 256), v, dtype=torch.float64))
    whole = int(v * 256)
    assert on[:, :whole].all()
    assert not on[:, whole + 1 :].any()
    assert v == 1 or abs(on[:, whole].mean().item() - (v * 256 - whole)) < 4.5 * 0.5 / math.sqrt(4000)


@pytest.mark.parametrize("levels", [256, 17, None])
def test_fresh_noise_is_torchs_alone(levels):
    v = torch.rand(50, 9) if levels is None else torch.randint(0, levels, (50, 9), dtype=torch.uint8)
    torch.manual_seed(3)
    first, second = fresh_binary(v, levels), fresh_binary(v, levels)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(3)
    assert torch.equal(fresh_binary(v, levels), first)
    assert not torch.equal(first, second)
    assert set(first.unique().tolist()) == {0.0, 1.0}


def test_grey_floats_are_binarised_in_proportion():
    data = DataSet(torch.full((4000, 50), 0.3), binarization="dynamic")
    for split in (data.train, data.test):
        assert split[:].mean().item() == pytest.approx(0.3, abs=0.01)


def test_threshold(images):
    data = DataSet(images, binarization="threshold")
    assert torch.equal(data.test[:], (data.test.stored >= 128).float())


def test_scaling(images):
    data = DataSet(images)
    assert data.kind == "scaled"
    torch.testing.assert_close(data.test[:], data.test.stored / 255)
    real = DataSet(torch.randn(50, 3))
    assert real.kind == "real"
    assert torch.equal(real.test[:], real.test.stored)
    counts = DataSet(torch.randint(0, 1000, (50, 3)))
    assert torch.equal(counts.test[:], counts.test.stored.float())


def test_dequantised_levels_fill_the_unit_interval():
    x = torch.arange(256, dtype=torch.uint8).repeat(500, 1)
    data = DataSet(x, dequantize=True)
    for split in (data.train, data.test):
        y = split[:]
        assert torch.equal((y * 256).floor(), split.stored.float())
        assert (y * 256 % 1).mean().item() == pytest.approx(0.5, abs=0.01)
    assert torch.equal(data.test[:], data.test[:])
    assert not torch.equal(data.train[:], data.train[:])
    # A uniform density on [0, 1) is the uniform distribution over 256 levels: 8 bits a dimension.
    assert data.kind == "dequantized"
    assert data.bits_per_dim(0.0) == 8.0
    assert data.bits_per_dim(256 * math.log(2)) == pytest.approx(9.0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.int64, torch.float32])
def test_zeros_and_ones_are_binary_however_stored(dtype):
    x = torch.randint(0, 2, (50, 4)).to(dtype)
    data = DataSet(x)
    assert data.kind == "binary"
    assert torch.equal(data.test[:], data.test.stored.float())
    assert data.bits_per_dim(4 * math.log(2)) == pytest.approx(1.0)


def test_test_images_on_another_scale_are_refused(images):
    with pytest.raises(InputError, match="test_x must be stored as x is"):
        DataSet(images / 255, test_x=images)


def test_bits_per_dim_of_other_kinds(images):
    assert DataSet(images, binarization="static").bits_per_dim(20 * math.log(2)) == pytest.approx(1.0)
    assert DataSet(images).bits_per_dim(20 * math.log(2)) == pytest.approx(1.0)  # of a probability of the levels
    assert DataSet(torch.rand(50, 3)).bits_per_dim(1.0) is None
    assert Digits(binarization="none", dequantize=True).bits_per_dim(0.0) == pytest.approx(math.log2(17))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("steps", [16, 255])
def test_levels_that_were_divided_stay_discrete(tmp_path, dtype, steps):
    """However they were scaled, and whatever of them the first images hold."""
    v = torch.randint(0, steps + 1, (600, 1, 4, 5))
    v[:300] = v[:300] // 2 * 2
    grey = (v.double() / steps).to(dtype)
    for x in (grey, grey * 2 - 1, (grey - 0.1307) / 0.3081):
        assert DataSet(x).kind == "discrete"
    np.save(tmp_path / "x.npy", grey.numpy())
    data = ArrayFile(tmp_path / "x.npy")
    assert data.kind == "discrete"
    caveat = ContinuousBernoulli((1, 4, 5), 2).caveat(data.kind)
    assert "The data are discrete" in caveat
    assert "integers with their levels" in caveat
    assert DiscretizedLogistic((1, 4, 5), 2, levels=steps + 1).caveat(data.kind) is None
    if dtype != torch.float16:
        grey[599, 0, 0, 0] += 0.43 / steps
        assert DataSet(grey).kind == "real"


def test_integers_are_discrete_and_what_only_repeats_is_not():
    assert DataSet(torch.randint(-9, 9, (50, 3))).kind == "discrete"
    assert DataSet(torch.randint(-(10**6), 10**6, (50, 3))).kind == "discrete"
    assert DataSet(torch.rand(3, 5).repeat(10, 1)).kind == "real"
    assert DataSet(torch.full((50, 3), 0.3)).kind == "real"


def test_channels_at_the_end_are_asked_after(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (30, 16, 12, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(InputError, match=r"channels must be given for x of shape \(16, 12, 3\).*16 x 12 pixels"):
        ArrayFile(tmp_path / "x.npy")
    assert DataSet(x, channels="first").data_shape == (16, 12, 3)
    for data in (
        ArrayFile(tmp_path / "x.npy", channels="last"),
        DataSet(x, test_x=x[:4], channels="last"),
        DataSet(torch.from_numpy(x), channels="last"),
    ):
        assert data.data_shape == (3, 16, 12)
        assert torch.equal(data.train.stored, torch.from_numpy(x)[data.train._index].permute(0, 3, 1, 2))
    with pytest.raises(InputError, match=r"channels may be last in images \(N, H, W, C\) only"):
        DataSet(x[..., 0], channels="last")


def test_few_levels_in_bytes_are_said(images):
    v = images // 16
    with pytest.warns(UserWarning, match="no value is above 15, but they are taken to have 256 levels: give levels=16"):
        assert DataSet(v).levels == 256
    assert DataSet(v, levels=16).levels == 16
    assert DataSet(images // 255).kind == "binary"


def test_minus_one_is_no_class(images):
    y = torch.arange(200) % 2 * 2 - 1
    with pytest.warns(
        UserWarning, match="labels are -1 and 1, of which -1 means that a label is unknown: give 0 and 1"
    ):
        DataSet(images, y)
    with pytest.raises(InputError, match=r"labels must be classes from 0 up, or -1 .*, but hold -2"):
        DataSet(images, y * 2)


def test_shuffled_batches_hold_every_image_once():
    data = DataSet(torch.arange(500)[:, None])
    batches = list(data.train.batches(64, shuffle=True))
    assert [len(batch) for batch in batches] == [64] * 6 + [16]
    assert sorted(torch.cat(batches)[:, 0].tolist()) == data.train.stored[:, 0].tolist()
    assert torch.cat(batches).tolist() != data.train[:].tolist()


def test_fixed_noise_is_uniform_and_a_function_of_seed_image_and_pixel():
    u = fixed_uniform(7, torch.arange(500), (10, 10))
    assert u.min() >= 0
    assert u.max() < 1
    assert u.mean().item() == pytest.approx(0.5, abs=0.005)
    assert u.var().item() == pytest.approx(1 / 12, abs=0.002)
    assert torch.corrcoef(u.flatten(1).T).fill_diagonal_(0).abs().max() < 0.25
    assert torch.corrcoef(u.flatten(1)[:100]).fill_diagonal_(0).abs().max() < 0.5
    torch.testing.assert_close(fixed_uniform(7, torch.tensor([499, 3]), (10, 10)), u[[499, 3]], rtol=0, atol=0)
    assert (fixed_uniform(8, torch.arange(500), (10, 10)) == u).float().mean() < 0.001


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64, bool, ">f4"])
def test_npy_stays_on_disk_and_reads_as_in_memory(tmp_path, dtype):
    x = np.random.default_rng(0).integers(0, 2, (60, 2, 3)).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    on_disk, in_memory = ArrayFile(tmp_path / "x.npy", binarization="static"), DataSet(x, binarization="static")
    assert isinstance(on_disk.train._source, np.memmap)
    for name in ("train", "validation", "test"):
        a, b = getattr(on_disk, name), getattr(in_memory, name)
        assert torch.equal(a.stored, b.stored)
        assert torch.equal(a[torch.tensor([4, 0, 3])], b[torch.tensor([4, 0, 3])])


def test_npz_with_labels_and_a_test_set(tmp_path):
    np.savez(
        tmp_path / "x.npz",
        x=np.eye(30),
        labels=np.arange(30),
        test_x=np.eye(30)[:4],
        test_labels=np.arange(4),
    )
    data = ArrayFile(tmp_path / "x.npz")
    assert data.test.labels.tolist() == [0, 1, 2, 3]
    np.savez(tmp_path / "only.npz", anything=np.eye(30))
    np.save(tmp_path / "labels.npy", np.arange(30))
    data = ArrayFile(tmp_path / "only.npz", labels=tmp_path / "labels.npy")
    assert torch.equal(data.train.stored.argmax(1), data.train.labels)


def test_frey_faces_in_both_formats(tmp_path):
    from scipy.io import savemat

    faces = np.random.default_rng(0).integers(0, 256, (50, 28, 20), dtype=np.uint8)
    np.savez(tmp_path / "frey.npz", images=faces)
    savemat(tmp_path / "frey_rawface.mat", {"ff": faces.reshape(50, 560).T})
    a, b = FreyFaces(tmp_path / "frey.npz"), FreyFaces(tmp_path / "frey_rawface.mat")
    assert a.data_shape == (1, 28, 20)
    assert torch.equal(a.train.stored, b.train.stored)
    assert a.kind == "dequantized"


@pytest.mark.slow
def test_image_folder(tmp_path):
    for i, name in enumerate(("b", "a")):
        (tmp_path / name).mkdir()
        for j in range(6):
            pixels = np.full((10, 8, 3), [50 * i, 20 * j, 7], np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{j}.png")
    data = ImageFolder(tmp_path)
    assert data.data_shape == (3, 10, 8)
    images = torch.cat([data.train.stored, data.validation.stored, data.test.stored])
    labels = torch.cat([data.train.labels, data.validation.labels, data.test.labels])
    assert torch.equal(labels, (images[:, 0, 0, 0] == 0).long())  # a before b
    small = ImageFolder(tmp_path, size=(4, 4), grey=True)
    assert small.data_shape == (1, 4, 4)
    flat = ImageFolder(tmp_path / "a")
    assert flat.train.labels is None


def test_omniglot_is_reduced_once(tmp_path):
    for part, count in (("images_background", 3), ("images_evaluation", 2)):
        for character in range(count):
            folder = tmp_path / "omniglot-py" / part / "Alphabet" / f"character{character:02}"
            folder.mkdir(parents=True)
            for i in range(4):
                pixels = np.full((105, 105), 255, np.uint8)
                pixels[10 * character : 10 * character + 9] = 0
                Image.fromarray(pixels).convert("1").save(folder / f"{i}.png")
        (tmp_path / "omniglot-py" / f"{part}.zip").write_bytes(b"")
    import torchvision.datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.datasets.Omniglot, "_check_integrity", lambda self: True)
        data = Omniglot(tmp_path, validation_size=2)
    assert data.data_shape == (1, 28, 28)
    assert (len(data.train) + len(data.validation), len(data.test)) == (12, 8)
    assert data.test.stored.float().mean() < 128  # white strokes on black
    again = Omniglot(tmp_path, validation_size=2)  # from the reduced file, without the originals
    assert torch.equal(data.test.stored, again.test.stored)


def test_data_sets_that_are_not_there_say_what_to_put_where(tmp_path):
    with pytest.raises(InputError, match=r"MNIST is not in .*; put train-images-idx3-ubyte .*MNIST/raw.*Digits"):
        MNIST(tmp_path)


@pytest.mark.slow
@needs_real_data
def test_real_mnist():
    data = MNIST(REAL)
    assert (len(data.train), len(data.validation), len(data.test)) == (50_000, 10_000, 10_000)
    assert data.data_shape == (1, 28, 28)
    assert data.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert data.test[:].mean().item() == pytest.approx(data.test.stored.float().mean().item() / 255, abs=1e-3)


@needs_real_data
def test_real_frey_faces():
    path = Path(REAL) / "frey_faces.npz"
    if not path.exists():
        pytest.skip("PYROVAE_DATA has no Frey faces")
    assert FreyFaces(path).data_shape == (1, 28, 20)
