"""Results of many data in files: the same figures, and nothing left behind."""

import pytest
import torch

from pyrovae import VAE, Annealed, Bernoulli, DiagonalNormal, Importance, StandardNormal, log_marginal
from pyrovae.evaluation.likelihood.concatenation import concatenate
from pyrovae.evaluation.likelihood.disk_buffer import DiskBuffer
from pyrovae.evaluation.likelihood.result import STATISTICS

pytestmark = pytest.mark.slow


def results(counts, estimator=None):
    torch.manual_seed(0)
    vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
    return [
        log_marginal(vae.model, vae.guide, torch.rand(n, 4).round(), estimator or Importance(8), num_draws=3)
        for n in counts
    ]


def test_results_in_files_are_those_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("pyrovae.evaluation.likelihood.disk_buffer._RESULTS_IN_MEMORY", 2)
    for estimator in (Importance(8), Annealed(num_temperatures=3, num_chains=8)):
        parts = results([3, 5, 1, 4, 2], estimator)
        buffer = DiskBuffer(tmp_path)
        for part in parts:
            buffer.add(part)
        found, expected = buffer.concatenated(), concatenate(parts)
        for name in (*STATISTICS, "tail", "log_likelihood", "x"):
            torch.testing.assert_close(
                getattr(found, name), getattr(expected, name), check_dtype=name != "x", equal_nan=True, rtol=0, atol=0
            )
        assert torch.equal(found.draws["z"], expected.draws["z"])
        assert torch.equal(found.convergence.bound, expected.convergence.bound)
        assert found.x.dtype == torch.uint8
        assert found.to_arviz().observed_data.equals(expected.to_arviz().observed_data)
        assert found.to_arviz().posterior.equals(expected.to_arviz().posterior)
    assert list(tmp_path.iterdir()) == []


def test_grey_data_stay_grey_where_some_parts_are_binary(tmp_path):
    binary, grey = results([2, 2])
    object.__setattr__(grey, "x", torch.rand(2, 4))
    buffer = DiskBuffer(tmp_path)
    for part in (binary, grey):
        buffer.add(part)
    assert torch.equal(buffer.concatenated().x, torch.cat((binary.x, grey.x)))


def test_no_more_than_a_few_results_are_held_in_memory(tmp_path):
    buffer = DiskBuffer(tmp_path)
    for part in results([1] * 40):
        buffer.add(part)
        assert len(buffer._in_memory) < 16
    assert len(buffer.concatenated().log_prob) == 40
