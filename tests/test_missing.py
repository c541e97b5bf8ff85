"""Missing values: log p of the observed cells is exact, in training and evaluation, for any pattern of gaps."""

from functools import partial

import numpy as np
import pandas
import pyro
import pyro.distributions as dist
import pytest
import torch
from linear_gaussian import GappyLinearGaussian, LinearGaussian
from torch import nn

import pyrovae
from pyrovae import (
    IWAE,
    RWS,
    STL,
    VAE,
    Adaptive,
    Annealed,
    DataSet,
    DiagonalNormal,
    DReG,
    Gaussian,
    Importance,
    InputError,
    StandardNormal,
    Trace_ELBO,
    diagnose,
    fit,
    log_marginal,
    sandwich,
)
from pyrovae.compilation import TrainingStep
from pyrovae.evaluation import independent_baseline, score
from pyrovae.execution import MaskMissing, allow_missing
from pyrovae.missing import copy_missing, draw_missing, fill_missing, has_missing, same_values
from pyrovae.networks import MLP, WithMask
from pyrovae.prediction import encode
from pyrovae.programs import private_modules

nan = torch.nan


@pytest.fixture
def oracle():
    return GappyLinearGaussian(2, 5, scale=0.7)


def test_exact_guide_has_exact_log_prob_of_the_observed_cells(oracle):
    x = oracle.simulate_gaps(40)
    assert has_missing(x)
    ml = log_marginal(oracle.model, oracle.guide, x, num_samples=3, progress=False)
    torch.testing.assert_close(ml.log_prob, oracle.log_prob(x))
    assert same_values(ml.x, x)


@pytest.mark.parametrize("estimator", [Importance(1000), Annealed(20), Adaptive(target_error=0.02)], ids=repr)
def test_estimators_with_a_guide_that_sees_zeros(estimator):
    program, oracle = LinearGaussian(2, 5, scale=0.7), GappyLinearGaussian(2, 5, scale=0.7)
    x = oracle.simulate_gaps(12)
    ml = log_marginal(program.model, program.guide, x, estimator, progress=False)
    exact = oracle.log_prob(x)
    assert (ml.log_prob - exact).mean().abs() < 0.1
    zeros = encode(program.guide, x)["z"]
    torch.testing.assert_close(zeros, encode(program.guide, fill_missing(x))["z"])


def test_sandwich_holds_the_value_of_data_with_gaps(oracle):
    like = oracle.simulate_gaps(20)
    found = sandwich(oracle.model, oracle.guide, like, Annealed(20), num_simulated=20, progress=False)
    exact = oracle.log_prob(found.estimate.x)
    assert same_values(copy_missing(found.estimate.x, like), found.estimate.x)
    assert has_missing(found.estimate.x)
    assert (found.lower - exact).abs().mean() < 0.05
    assert (found.upper - exact).abs().mean() < 0.05


def test_diagnosis_of_an_exact_guide_has_no_gap(oracle):
    x = oracle.simulate_gaps(60)
    exact = log_marginal(oracle.model, oracle.guide, x, num_samples=50, progress=False)
    found = diagnose(oracle.model, oracle.guide, x, exact, refinement_steps=0, num_simulated=100, progress=False)
    assert abs(found.figures["inference_gap"].value) < 1e-8
    assert found.calibration is not None
    assert found.calibration.rejected == []
    table = score(oracle.model, oracle.guide, x, num_samples=20)
    assert np.isfinite(table["anomaly_score"]).all()


class Restricted(nn.Module):
    """A linear VAE, and the same VAE of some of its columns alone."""

    def __init__(self, keep):
        super().__init__()
        torch.manual_seed(0)
        self.decoder, self.encoder = nn.Linear(2, 4), nn.Linear(4, 4)
        self.keep = keep

    def model(self, x):
        pyro.module("restricted", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 0.5).to_event(1), obs=x)

    def model_of_columns(self, x):
        pyro.module("restricted", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = self.decoder(z)[..., self.keep]
            pyro.sample("x", dist.Normal(loc, 0.5).to_event(1), obs=x[:, self.keep])

    def guide(self, x):
        pyro.module("restricted", self)
        loc, raw = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, raw.exp()).to_event(1))


OBJECTIVES = [Trace_ELBO, partial(IWAE, 5), partial(DReG, 5), partial(STL, 3), partial(RWS, 5)]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda made: getattr(made, "func", made).__name__)
def test_loss_and_gradient_are_those_of_the_observed_columns(objective):
    program, x = Restricted([0, 2, 3]), torch.randn(6, 4)
    x[:, 1] = nan
    zeros = fill_missing(x)
    found = []
    for model, guide, data in (
        (*allow_missing(program.model, program.guide), x),
        (program.model_of_columns, program.guide, zeros),
    ):
        with private_modules():
            program.zero_grad()
            torch.manual_seed(1)
            loss = TrainingStep(objective(), "off").loss_and_grads(model, guide, data)
            found.append([torch.tensor(loss), *(part.grad.clone() for part in program.parameters())])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_recorded_step_has_the_gaps_of_each_batch():
    program = Restricted([0])
    model, guide = allow_missing(program.model, program.guide)
    results = {}
    for compile in ("off", "graph"):
        with private_modules():
            step = TrainingStep(Trace_ELBO(), compile, [program])
            torch.manual_seed(2)
            results[compile] = []
            for _ in range(6):
                x = torch.where(torch.rand(8, 4) < 0.5, nan, torch.randn(8, 4))
                program.zero_grad()
                loss = step.loss_and_grads(model, guide, x)
                results[compile] += [torch.tensor(loss), *(part.grad.clone() for part in program.parameters())]
            assert compile == "off" or step._graphs
    torch.testing.assert_close(results["graph"], results["off"])


def test_optimal_scale_is_that_of_the_observed_cells():
    vae = VAE(StandardNormal(1), Gaussian((3,), 1, scale="optimal"), DiagonalNormal((3,), 1))
    x = torch.tensor([[1.0, nan, 5.0], [nan, 2.0, 4.0]])
    with private_modules():
        trace = pyro.poutine.trace(MaskMissing()(vae.model)).get_trace(x)
    site = trace.nodes["x"]
    loc = site["fn"].base_dist.base_dist.loc
    kept = ~x.isnan()
    scale = (x - loc)[kept].square().mean().sqrt()
    expected = torch.where(kept, dist.Normal(loc, scale).log_prob(fill_missing(x)), 0.0).sum()
    torch.testing.assert_close(trace.log_prob_sum(lambda name, _: name == "x"), expected)


@pytest.mark.slow
def test_training_with_gaps_finds_the_oracle():
    oracle = GappyLinearGaussian(2, 5, scale=0.3, coupling=1.0)
    x, test = oracle.simulate_gaps(1200, share=0.3), oracle.simulate_gaps(200, share=0.4, seed=5)
    vae = VAE(
        StandardNormal(2),
        Gaussian((5,), 2, partial(MLP, hidden_features=())),
        DiagonalNormal((5,), 2, WithMask),
    )
    data = DataSet(x.float(), test_x=test.float())
    assert data.has_missing
    vae.initialize(data.train[:])
    adam = partial(torch.optim.Adam, lr=5e-3)
    fit(vae.model, vae.guide, data, epochs=60, optimizer=adam, compile="graph", progress=False)
    ml = log_marginal(vae.model, vae.guide, data.test[:], num_samples=300, progress=False)
    exact = oracle.log_prob(test).mean().item()
    without = independent_baseline(data.train[:], data.test[:], discrete=False)
    assert 0.75 * (exact + without.nll) < without.nll - ml.nll < exact + without.nll + 0.05


def test_baseline_is_that_of_the_observed_cells():
    train = torch.tensor([[0.0, 1.0], [2.0, nan], [nan, 3.0], [1.0, 5.0]])
    x = torch.tensor([[1.0, nan], [0.5, 2.0]])
    found = independent_baseline(train, x, discrete=False).log_prob
    first = dist.Normal(1.0, 1.0).log_prob(x[:, 0])
    second = dist.Normal(3.0, 2.0).log_prob(torch.tensor([0.0, 2.0]))
    torch.testing.assert_close(found.float(), first + second * torch.tensor([0.0, 1.0]))
    bits = torch.tensor([[0.0, 1.0], [1.0, nan], [1.0, 1.0]])
    found = independent_baseline(bits, torch.tensor([[1.0, nan]]), discrete=True, levels=2).log_prob
    assert found.exp().item() == pytest.approx(2.5 / 4)
    counts = torch.tensor([[3.0, nan], [5.0, 2.0]])
    found = independent_baseline(counts, torch.tensor([[4.0, nan]]), discrete=True, counts=True)
    assert found.log_prob.item() == pytest.approx(dist.Poisson(4.0).log_prob(torch.tensor(4.0)).item(), rel=1e-5)


class TestHelpers:
    def test_draws_keep_the_means_of_each_cell(self):
        x = torch.randn(1000, 3) + torch.tensor([0.0, 5.0, -3.0])
        x[torch.rand(1000, 3) < 0.5] = nan
        filled = draw_missing(x)
        torch.testing.assert_close(filled.mean(0), x.nanmean(0), atol=0.1, rtol=0)
        kept = ~x.isnan()
        assert torch.equal(filled[kept], x[kept])
        assert all(bool(torch.isin(filled[:, i], x[:, i]).all()) for i in range(3))
        assert draw_missing(torch.full((2, 1), nan)).tolist() == [[0.0], [0.0]]


class TestDataSets:
    def test_gaps_stay_in_batches_and_kinds_are_those_of_the_rest(self):
        counts = torch.randint(2, 9, (200, 3)).float()
        gone = torch.rand(200, 3) < 0.2
        kinds = {"counts": counts, "binary": (counts > 4).float(), "discrete": counts / 10, "real": torch.randn(200, 3)}
        for kind, x in kinds.items():
            data = DataSet(torch.where(gone, nan, x))
            assert data.kind == kind
            assert torch.equal(data.all[:].isnan(), gone)
            assert "missing" in pyrovae.data.describe(data)
            assert data.bits_per_dim(1.0) is None

    @pytest.mark.parametrize("binarization", ["static", "dynamic", "threshold"])
    def test_missing_pixels_are_not_binarised(self, binarization):
        x = torch.rand(40, 1, 4, 4)
        x[:, :, :2] = nan
        data = DataSet(x, binarization=binarization)
        for batch in (data.train[:], data.test[:], data.all[:]):
            assert bool(batch[:, :, :2].isnan().all())
            assert bool(((batch[:, :, 2:] == 0) | (batch[:, :, 2:] == 1)).all())

    def test_frames_and_masked_arrays(self):
        frame = pandas.DataFrame({"a": pandas.array([1, None, 3] * 10, dtype="Int64"), "b": [0.5, 1.5, None] * 10})
        expected = torch.tensor([[1.0, 0.5], [nan, 1.5], [3.0, nan]]).repeat(10, 1)
        assert same_values(DataSet(frame).all[:], expected)
        masked = np.ma.masked_invalid(expected.numpy())
        masked.data[masked.mask] = 7.0
        assert same_values(DataSet(masked).all[:], expected)


BAD_DATA = [
    (torch.tensor([[1.0, torch.inf]] * 30), "x must be finite, or NaN where a value is missing, but datum 0"),
    (torch.full((30, 2), nan), "x must hold values, but all are missing"),
    (torch.tensor([[1.0, nan]] * 30), r"all at position \[:, 1\] are missing"),
    (torch.tensor([[1.0, 2.0], [nan, nan], [0.5, nan]] * 10), "all of datum 1 are missing"),
]


@pytest.mark.parametrize(("x", "sentence"), BAD_DATA, ids=lambda part: part if isinstance(part, str) else "")
def test_bad_data_get_a_sentence(x, sentence):
    vae = VAE(StandardNormal(1), Gaussian((2,), 1), DiagonalNormal((2,), 1))
    with pytest.raises(InputError, match=sentence):
        fit(vae.model, vae.guide, DataSet(x, validation_size=1, test_size=1), epochs=1, progress=False)
