"""Memory does not grow with the images of a memory map: they are read a batch at a time, and none is kept."""

import gc
from functools import partial

import numpy as np
import pytest
import torch

from pyrovae import MLP, VAE, Bernoulli, DataSet, DiagonalNormal, StandardNormal, fit, log_marginal

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
