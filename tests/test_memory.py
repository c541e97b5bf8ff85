"""Memory does not grow with the images of a memory map: they are read a batch at a time, and none is kept."""

import gc
from functools import partial

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from pyrovae import (
    MLP,
    VAE,
    Bernoulli,
    DataSet,
    DiagonalNormal,
    Importance,
    StandardNormal,
    cross_check,
    fit,
    log_marginal,
)
from pyrovae.cli import main
from pyrovae.evaluation import baseline
from pyrovae.runs import Run, evaluate_run, evaluation

pytestmark = pytest.mark.slow

SHAPE = (16, 16)
READ_AT_ONCE = 4096  # where the whole set must be looked at, before training


class Watched(np.memmap):
    """Remember how many images are read at once, and refuse to be read as a whole."""

    rows: list[int]

    def __getitem__(self, index):
        part = super().__getitem__(index)
        if self.shape[1:] == SHAPE:
            self.rows.append(len(part))
        return part

    def __array__(self, *args, **kwargs):
        assert len(self) <= READ_AT_ONCE
        return super().__array__(*args, **kwargs)


@pytest.fixture
def watched(tmp_path):
    def make(count):
        path = tmp_path / f"{count}.npy"
        images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, *SHAPE))
        images[:] = np.random.default_rng(0).integers(0, 256, images.shape, np.uint8)
        Watched.rows = []
        return np.lib.format.open_memmap(path, "r").view(Watched)

    return make


def train(images):
    """Train for an epoch; return the largest read, and the bytes that tensors hold after it."""
    data = DataSet(images, binarization="dynamic", validation_size=0.1, test_size=0.3)
    before = len(images.rows)
    small = partial(MLP, hidden_features=(4,))
    vae = VAE(StandardNormal(2), Bernoulli(SHAPE, 2, small), DiagonalNormal(SHAPE, 2, small))
    held = []
    fit(
        vae.model,
        vae.guide,
        data,
        epochs=1,
        batch_size=500,
        compile="off",
        restore_best=True,
        progress=False,
        callback=lambda *_: held.append(bytes_of_tensors()),
    )
    return data, vae, max(images.rows[before:]), held[0]


def bytes_of_tensors():
    gc.collect()
    parts = [part.untyped_storage() for part in gc.get_objects() if type(part) is torch.Tensor]
    return sum({part.data_ptr(): part.nbytes() for part in parts}.values())  # of views of the same memory, one


def test_training_reads_a_batch_at_a_time_and_keeps_but_indices(watched):
    largest, held = {}, {}
    for count in (6_000, 18_000):
        _, _, largest[count], held[count] = train(watched(count))
    assert max(Watched.rows) == READ_AT_ONCE
    assert largest[6_000] == largest[18_000] == 500
    # Of each image the split keeps its number, and an epoch the order: images are 256 bytes, floats 1024.
    assert held[18_000] - held[6_000] <= 12_000 * 24 + 2**16


def test_evaluation_reads_a_batch_at_a_time(watched):
    data, vae, *_ = train(images := watched(6_000))
    images.rows.clear()
    result = log_marginal(vae.model, vae.guide, data.test.batches(100), num_samples=2, num_draws=0)
    assert len(result.log_prob) == 1_800
    assert images.rows == [100] * 18


def test_a_check_reads_only_its_data(watched):
    data, vae, *_ = train(images := watched(6_000))
    result = log_marginal(vae.model, vae.guide, data.test.batches(100), num_samples=2, num_draws=0)
    images.rows.clear()
    check = cross_check(vae.model, vae.guide, data.test.__getitem__, result, 5, num_temperatures=3)
    assert images.rows == [5]
    whole = cross_check(vae.model, vae.guide, data.test[:], result, 5, num_temperatures=3)
    assert torch.equal(check.log_prob, whole.log_prob)


def test_a_check_of_a_memory_map_reads_only_its_data(tmp_path):
    images = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (6_000, *SHAPE)).view(Watched)
    Watched.rows = []
    vae = VAE(StandardNormal(2), Bernoulli(SHAPE, 2), DiagonalNormal(SHAPE, 2))
    result = log_marginal(vae.model, vae.guide, torch.zeros(6_000, *SHAPE), num_samples=2, num_draws=0)
    cross_check(vae.model, vae.guide, images, result, 5, num_temperatures=3)
    assert images.rows == [5]


class LargestTensor(TorchFunctionMode):
    """Remember the bytes of the largest tensor that is made."""

    def __init__(self):
        super().__init__()
        self.nbytes = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.untyped_storage().nbytes() >= made.nbytes:
            self.nbytes = max(self.nbytes, made.nbytes)
        return made


def test_the_evaluation_of_a_run_has_the_data_as_bytes_on_disk_only(tmp_path, monkeypatch):
    """The check by chains from the prior and the model without latents too read a bounded number of data at a time."""
    images = np.random.default_rng(0).integers(0, 256, (6_000, *SHAPE), np.uint8)
    np.save(tmp_path / "images.npy", images)
    words = ["--data=ArrayFile", f"--data.path={tmp_path / 'images.npy'}", "--data.binarization=dynamic"]
    words += ["--data.test_size=0.6", "--latent_dim=2", "--epochs=1", "--compile=off", f"--run={tmp_path / 'run'}"]
    words += ["--posterior.network.hidden_features=[4]", "--likelihood.network.hidden_features=[4]"]
    assert main(["train", *words]) == 0
    monkeypatch.setattr(evaluation, "_FITTED", 100)
    monkeypatch.setattr(evaluation, "cross_check", partial(cross_check, num_temperatures=3))
    monkeypatch.setattr(baseline, "_VALUES", 1_000 * 256)
    with LargestTensor() as largest:
        found = evaluate_run(Run(tmp_path / "run"), Importance(2), num_checked=5, num_draws=0, chunk_size=1_000)
    assert len(found.result.log_prob) == 3_600
    assert found.result.check is not None
    assert found.summary["baseline"] is not None
    assert largest.nbytes <= 1_024 * 256 * 8  # all data as floats would be 3,600 * 256 * 4
