"""The constants of vector functions are loaded before a program is trained or evaluated."""

import pytest
import torch

from pyrovae import VAE, Bernoulli, DiagonalNormal, StandardNormal, fit, log_marginal
from pyrovae.vector_constants import load_vector_constants


@pytest.mark.parametrize("work", ["training", "evaluation"])
def test_constants_are_loaded_before_a_program_runs(work, monkeypatch):
    vae = VAE(StandardNormal(2), Bernoulli((3,), 2), DiagonalNormal((3,), 2))
    x = torch.rand(8, 3).round()
    load_vector_constants.cache_clear()
    if work == "training":
        monkeypatch.setattr("pyrovae.execution.traces.load_vector_constants", lambda: None)  # of the validation
        fit(vae.model, vae.guide, x, epochs=1, progress=False)
    else:
        log_marginal(vae.model, vae.guide, x, num_samples=2, progress=False)
    assert load_vector_constants.cache_info().currsize == 1
