"""The result: errors, diagnostics, the plain sentence, ArviZ."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from linear_gaussian import LinearGaussian

from pyrovae import InputError, log_marginal
from pyrovae.arviz_import import groups_of, import_arviz, write_inference_data
from pyrovae.evaluation import effective_sample_size, monte_carlo_error, pareto_k, pareto_threshold


@pytest.fixture(scope="module")
def oracle():
    return LinearGaussian(2, 4, guide="mean-field", coupling=0.8)


@pytest.fixture(scope="module")
def result(oracle):
    torch.manual_seed(0)
    return log_marginal(oracle.model, oracle.guide, oracle.simulate(30), num_samples=400, num_draws=40)


def test_every_figure_is_per_datum(result):
    for name in ("log_prob", "standard_error", "pareto_k", "ess", "elbo"):
        value = getattr(result, name)
        assert value.shape == (30,)
        assert value.dtype == torch.float64
        assert value.isfinite().all()
    assert ((result.ess >= 1) & (result.ess <= 400)).all()
    assert (result.elbo <= result.log_prob).all()


def test_figures_of_the_set(result):
    assert result.nll == pytest.approx(-result.log_prob.mean().item())
    assert result.sampling_error == pytest.approx(result.log_prob.numpy().std(ddof=1) / 30**0.5)
    assert result.monte_carlo_error == pytest.approx(np.sqrt((result.standard_error.numpy() ** 2).sum()) / 30)
    summary = result.summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["num_data"] == 30
    assert summary["pareto_k"]["threshold"] == pytest.approx(1 - 1 / math.log10(400))


def test_the_chunks_of_data_and_samples_do_not_change_what_is_estimated(oracle):
    x = oracle.simulate(10)
    for chunk_size, num_samples in ((1, 25), (50, 1000), (4000, 1000)):
        ml = log_marginal(oracle.model, oracle.guide, x, num_samples=num_samples, chunk_size=chunk_size)
        assert ml.nll == pytest.approx(-oracle.log_prob(x).mean().item(), abs=5 * ml.monte_carlo_error + 1e-3)


def test_batches_of_data_can_be_given(oracle):
    x = oracle.simulate(7)
    ml = log_marginal(oracle.model, oracle.guide, iter(x.split(3)), num_samples=10)
    assert torch.equal(ml.x, x)
    assert ml.log_prob.shape == (7,)


def test_ess_and_error_of_known_weights():
    lw = torch.tensor([[0.0, -1000.0], [0.0, 0.0], [0.0, -1000.0], [0.0, -1000.0]])
    torch.testing.assert_close(effective_sample_size(lw), torch.tensor([4.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(monte_carlo_error(lw), torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert monte_carlo_error(lw[:1]).isnan().all()


def test_verdict_says_when_the_number_cannot_be_trusted():
    x = LinearGaussian(10, 20).simulate(20)
    said = {}
    for name, options in {
        "exact": {"guide": "exact"},
        "good": {"guide": "mean-field", "coupling": 0.05},
        "bad": {"guide": "mean-field", "shift": 2.5},
    }.items():
        program = LinearGaussian(10, 20, **options)
        said[name] = log_marginal(program.model, program.guide, x, num_samples=500).verdict
    assert "exact" in said["exact"]
    assert "estimate of the model's log p(x), be the model good or bad, can be trusted" in said["good"]
    assert "cannot be trusted" in said["bad"]
    one = LinearGaussian(2, 4, guide="mean-field")
    assert "too few" in log_marginal(one.model, one.guide, one.simulate(3), num_samples=1).verdict
    assert all(sentence.endswith(".") for sentence in said.values())


def test_one_weight_that_is_everything_is_the_worst_case(result):
    lw = torch.full((1000, 2), -1e5, dtype=torch.float64)
    lw[0] = 0.0
    assert (pareto_k(lw) == math.inf).all()
    hopeless = dataclasses.replace(result, pareto_k=torch.where(torch.arange(30) < 12, math.inf, 0.1).double())
    assert "exceeds 0.62 for 40% of the data" in hopeless.verdict
    assert "cannot be trusted" in hopeless.verdict
    summary = hopeless.summary()
    assert summary["pareto_k"]["share_above"] == 0.4
    assert summary["pareto_k"]["100%"] is None
    json.dumps(summary, allow_nan=False)


def test_one_sample_has_no_error_to_tell(oracle):
    summary = log_marginal(oracle.model, oracle.guide, oracle.simulate(1), num_samples=1).summary()
    assert summary["mc_error"] is None
    assert summary["standard_error"] is None
    assert summary["pareto_k"]["50%"] is None


def test_threshold():
    assert pareto_threshold(10**6) == 0.7
    assert pareto_threshold(100) == pytest.approx(0.5)


def test_draws_are_from_the_posterior():
    """Resampled draws have the exact posterior's mean and variance, though the guide's are others."""
    program = LinearGaussian(1, 1, guide="mean-field", coupling=1.0, shift=1.0, seed=3)
    x = program.simulate(1)
    ml = log_marginal(program.model, program.guide, x.expand(50, -1), num_samples=2000, num_draws=40, chunk_size=5000)
    mean = (x - program.b) @ program.W @ program.covariance
    draws = ml.draws["z"].flatten()
    sd = program.covariance.item() ** 0.5
    assert draws.mean().item() == pytest.approx(mean.item(), abs=5 * sd / 2000**0.5)
    assert draws.std().item() == pytest.approx(sd, rel=0.1)


def test_arviz(result, tmp_path):
    arviz, data = import_arviz(), result.to_arviz()
    assert set(groups_of(data)) == {"posterior", "sample_stats", "observed_data"}
    assert dict(data.posterior["z"].sizes) == {"chain": 1, "draw": 40, "datum": 30, "z_dim_0": 2}
    np.testing.assert_allclose(data.sample_stats["log_p_x_given_z"], result.log_likelihood.T[None])
    with pytest.raises(TypeError, match="log likelihood not found"):  # it takes draws of latents that all data share
        arviz.loo(data)
    np.testing.assert_allclose(data.sample_stats["log_prob"], result.log_prob)
    np.testing.assert_allclose(data.observed_data["x"], result.x)
    write_inference_data(data, tmp_path / "values.nc")
    again = arviz.from_netcdf(str(tmp_path / "values.nc"), engine="h5netcdf")
    np.testing.assert_allclose(again.sample_stats["pareto_k"], result.pareto_k)
    assert again.attrs["num_samples"] == 400


def test_log_likelihood_belongs_to_the_draws(oracle, result):
    import pyro.distributions as dist

    mean = result.draws["z"] @ oracle.W.T + oracle.b  # (B, S, data_dim)
    expected = dist.Normal(mean, oracle.scale).log_prob(result.x[:, None]).sum(-1)
    torch.testing.assert_close(result.log_likelihood, expected)


def test_infinite_data_are_refused(oracle):
    x = oracle.simulate(3)
    x[1, 0] = math.inf
    with pytest.raises((InputError, ValueError)):
        log_marginal(oracle.model, oracle.guide, x, num_samples=5)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
def test_memory_is_bounded_whatever_K():
    """Eighty thousand samples of 784 pixels take 480 MiB in float64 if they are held at once.

    In a process of its own, since the largest resident set of this one may have been larger before.
    """
    script = """if True:
        import resource
        from linear_gaussian import LinearGaussian
        from pyrovae import log_marginal

        def largest():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

        program = LinearGaussian(2, 784, guide="mean-field")
        x = program.simulate(4)
        log_marginal(program.model, program.guide, x, num_samples=100, num_draws=2)
        before = largest()
        log_marginal(program.model, program.guide, x, num_samples=20_000, num_draws=2)
        print(largest() - before)
    """
    command = [sys.executable, "-W", "ignore", "-c", script]
    result = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 300  # MiB
