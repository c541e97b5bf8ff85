"""Simulation-based calibration of guides that are the posterior, and of others that are wrong in known ways."""

import json

import pyro
import pyro.distributions as dist
import pytest
import torch
from linear_gaussian import LinearGaussian

from pyrovae import InputError
from pyrovae.evaluation.calibration import LOG_LIKELIHOOD, Calibration, calibration, rank_bands


class Wrong(LinearGaussian):
    """The exact posterior, with its scale multiplied and its mean moved by its own standard deviations."""

    def __init__(self, factor=1.0, move=0.0):
        super().__init__(3, 6)
        self.factor, self.move = factor, move

    def guide(self, x):
        mean = (x - self.b) @ self.W @ self.covariance / self.scale**2 + self.move * self.covariance.diagonal().sqrt()
        with pyro.plate("data", len(x)):
            return pyro.sample("z", dist.MultivariateNormal(mean, self.factor**2 * self.covariance))


def ranks(program, **options):
    torch.manual_seed(0)
    return calibration(program.model, program.guide, program.simulate(1), **options)


def test_the_exact_posterior_is_calibrated():
    found = ranks(Wrong())
    assert list(found.ranks) == ["z[0]", "z[1]", "z[2]", LOG_LIKELIHOOD]
    assert set(found.verdicts.values()) == {"calibrated"}
    assert found.sentence == (
        "On 500 data simulated from the model, the posterior is calibrated in each latent, as far as ranks show."
    )
    assert all((rank >= 0).all() and (rank <= 63).all() for rank in found.ranks.values())


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_they_should_be():
    alarms = 0
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        uniform = torch.randint(16, (6, 100), generator=generator)
        names = [*"abcde", LOG_LIKELIHOOD]
        alarms += bool(Calibration(dict(zip(names, uniform, strict=True)), 15).rejected)
    assert alarms <= 20  # of ten expected, at most


@pytest.mark.parametrize(
    ("factor", "move", "verdict"), [(0.7, 0, "too narrow"), (1.5, 0, "too wide"), (1, 0.5, "biased"), (1, 2, "biased")]
)
def test_what_is_wrong_is_named(factor, move, verdict):
    found = ranks(Wrong(factor, move))
    assert [found.verdicts[f"z[{d}]"] for d in range(3)] == [verdict] * 3
    assert found.sentence.startswith(
        f"On 500 data simulated from the model, the posterior is {verdict} in 3 of 3 latents"
    )
    json.dumps(found.summary(), allow_nan=False)


@pytest.mark.parametrize(("factor", "fit"), [(0.5, "better"), (2.0, "worse")])
def test_draws_that_fit_better_or_worse_are_said_to(factor, fit):
    assert ranks(Wrong(factor)).sentence.endswith(f", and its draws explain the data {fit} than the true latents do.")


def test_equal_values_have_uniform_ranks():
    """A discrete latent, and a likelihood that does not depend on it."""

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(torch.tensor([0.5, 0.3, 0.2])))
            pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(torch.tensor([0.5, 0.3, 0.2])))

    torch.manual_seed(0)
    found = calibration(model, guide, torch.zeros(1, 2), num_simulated=1000, num_draws=9)
    assert list(found.ranks) == ["k", LOG_LIKELIHOOD]
    assert set(found.verdicts.values()) == {"calibrated"}
    for histogram in found.histograms.values():
        assert (histogram > 60).all()
        assert histogram.sum() == 1000


def test_the_bands_hold_all_points_as_often_as_they_say():
    low, high = rank_bands(200, 15)
    generator = torch.Generator().manual_seed(0)
    uniform = torch.randint(16, (2000, 200), generator=generator)
    counts = torch.nn.functional.one_hot(uniform, 16).sum(1)
    off = counts.cumsum(1) / 200 - torch.arange(1, 17) / 16
    inside = ((off >= low - 1e-9) & (off <= high + 1e-9)).all(1).double().mean().item()
    assert 0.93 < inside < 0.99
    wide = rank_bands(200, 15, 10)
    assert (wide[0] <= low).all()
    assert (wide[1] >= high).all()


def test_options_are_checked():
    program = Wrong()
    with pytest.raises(InputError, match="num_simulated must be"):
        ranks(program, num_simulated=0)
    with pytest.raises(InputError, match="num_draws must be"):
        ranks(program, num_draws=-1)
