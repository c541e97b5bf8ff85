"""The contract of estimators, over all of pyrovae's and one of a user's; and the user's from the command line."""

import json

import pytest
import torch
from contracts import classes
from discrete_programs import Mixture
from linear_gaussian import LinearGaussian
from pyro import poutine
from someones_package.estimators import PriorSampling

import pyrovae
from pyrovae import Estimator, Importance, InputError, LogMarginal, log_marginal
from pyrovae.cli import main

ESTIMATORS = [*classes(Estimator), PriorSampling]
ON = [(cls, discrete) for cls in classes(Estimator) for discrete in (False, True)]
of_discrete_latents = pytest.mark.parametrize(
    ("cls", "discrete"), ON, ids=[f"{cls.__name__}{' of discrete latents' * discrete}" for cls, discrete in ON]
)


def oracle(discrete=False):
    return Mixture() if discrete else LinearGaussian(2, 5, guide="mean-field")


def made(cls, discrete=False):
    """Make the estimator: with its defaults, or shorter and with the sum over discrete latents."""
    short = {
        "Importance": {"num_samples": 1000, "sum_discrete": True},
        "Annealed": {"num_temperatures": 10},
        "Adaptive": {"target_error": 0.1, "num_checked": 2},
    }
    return cls(**short[cls.__name__]) if discrete else cls()


def estimate(cls, program, x, **options):
    torch.manual_seed(3)
    return log_marginal(program.model, program.guide, x, made(cls, isinstance(program, Mixture)), **options)


def test_all_are_public_and_found():
    assert {"Importance", "Annealed", "Adaptive"} <= {cls.__name__ for cls in ESTIMATORS}
    assert all(getattr(pyrovae, cls.__name__) is cls for cls in classes(Estimator))


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "discrete"), [*ON, (PriorSampling, False)])
def test_right_within_its_errors_and_the_same_for_a_seed(cls, discrete):
    program = oracle(discrete)
    x = program.simulate(10 if discrete else 20)
    ml = estimate(cls, program, x)
    exact = program.log_prob(x)
    assert isinstance(ml, LogMarginal)
    assert ml.log_prob.shape == ml.standard_error.shape == ml.ess.shape == (len(x),)
    assert ((ml.log_prob - exact).abs() < 5 * ml.standard_error + 0.02).all()
    assert abs(ml.nll + exact.mean().item()) < 4 * ml.monte_carlo_error + abs(ml.mean_bias) + 0.01
    assert ml.method == cls.__name__.lower()
    assert torch.equal(estimate(cls, program, x).log_prob, ml.log_prob)
    json.dumps(ml.summary(), allow_nan=False)
    ml.to_arviz()


@pytest.mark.slow
@pytest.mark.parametrize("cls", ESTIMATORS)
def test_batches_are_put_together(cls):
    program = oracle()
    x = program.simulate(7)
    ml = estimate(cls, program, [x[:4], x[:0], x[4:]])
    assert torch.equal(ml.x, x)
    assert ((ml.log_prob - program.log_prob(x)).abs() < 5 * ml.standard_error + 0.03).all()
    with pytest.raises(InputError, match="x must hold at least one datum, but is empty"):
        estimate(cls, program, x[:0])


@pytest.mark.slow
@of_discrete_latents
def test_no_more_latents_at_a_time_than_the_chunk_size(cls, discrete):
    program, most = oracle(discrete), []

    class Watch(poutine.messenger.Messenger):
        def _pyro_post_sample(self, msg):
            if msg["name"] == "x":
                most.append(msg["fn"].batch_shape.numel())

    def model(x):
        with Watch():
            program.model(x)

    torch.manual_seed(0)
    log_marginal(model, program.guide, program.simulate(10 if discrete else 30), made(cls, discrete), chunk_size=300)
    assert sorted(most)[-10] <= 300  # but for the runs that fit coordinates to the start


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_options_are_those_of_the_constructor(cls):
    estimator = cls()
    assert eval(repr(estimator), {cls.__name__: cls}).options == estimator.options
    assert estimator.label == cls(**estimator.options).label
    assert all(letter.isalnum() or letter in "-._+" for letter in estimator.label)


def test_a_label_has_what_is_not_at_its_default():
    assert PriorSampling().label == "priorsampling"
    assert PriorSampling(50).label == "priorsampling-num_samples50"


def test_options_in_files_are_plain():
    class Odd(PriorSampling):
        def __init__(self, num_samples=10, function=torch.exp, most=float("inf")):
            super().__init__(num_samples)
            self.function, self.most = function, most

    assert json.loads(json.dumps(Odd().to_dict(), allow_nan=False))["most"] == "inf"


def test_an_option_that_is_not_kept_is_refused():
    class Forgetful(PriorSampling):
        def __init__(self, number=10):
            super().__init__(number)

    with pytest.raises(InputError, match="in an attribute of the same name, but Forgetful has no number"):
        Forgetful().label  # noqa: B018


def test_nan_weights_are_refused():
    with pytest.raises(InputError, match="must be finite"):
        LogMarginal.from_log_weights(torch.tensor([[0.0, torch.nan]]), torch.zeros(2, 1), method="importance")


def test_the_programs_are_batched_once_for_a_batch(monkeypatch):
    made = []
    original = pyrovae.execution.batched.BatchedPrograms.__init__

    def spy(self, *arguments, **options):
        made.append(len(arguments[2]))
        original(self, *arguments, **options)

    monkeypatch.setattr(pyrovae.execution.batched.BatchedPrograms, "__init__", spy)
    program = oracle()
    for estimator in (
        Importance(100),
        Importance(100, 1.1, 0.2),
        pyrovae.Annealed(3),
        pyrovae.Annealed(3, start="prior"),
    ):
        made.clear()
        log_marginal(program.model, program.guide, program.simulate(5), estimator)
        assert len(made) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("short_checks")
def test_a_users_estimator_from_the_shell(tmp_path, capsys):
    run = str(tmp_path / "run")
    small = ["--posterior.network.hidden_features=[16]", "--likelihood.network.hidden_features=[16]"]
    assert main(["train", "--latent_dim=2", "--epochs=1", "--compile=off", *small, f"--run={run}"]) == 0
    words = ["--method=someones_package.estimators.PriorSampling", "--method.num_samples=2000", "--num_data=20"]
    assert main(["evaluate", run, *words]) == 0
    summary = json.loads(
        (tmp_path / "run" / "evaluation" / "test-priorsampling-num_samples2000-first20.json").read_text()
    )
    assert summary["estimator"] == {"class": "PriorSampling", "num_samples": 2000}
    assert main(["evaluate", run, "--num_samples=2000", "--num_data=20"]) == 0
    expected = json.loads((tmp_path / "run" / "evaluation" / "test-importance-2000-first20.json").read_text())
    assert summary["nll"] == pytest.approx(expected["nll"], abs=0.05)
    assert main(["report", run]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--method=someones_package.estimators.PriorSampling", "--method.chains=3"]) == 2
    assert "--method.chains: there is no such option" in capsys.readouterr().err


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_results_are_lines_and_a_table(cls):
    program = oracle()
    ml = estimate(cls, program, program.simulate(20))
    first, *others = str(ml).splitlines()
    assert first.startswith(f"NLL {ml.nll:.2f} nats per datum (20 data, ")
    assert others[-1] == f"  {ml.verdict}"
    table = ml.to_dataframe()
    assert table.shape == (20, 10)
    assert table["log_prob"].tolist() == ml.log_prob.tolist()
    assert table["reliable"].tolist() == ml.reliable.tolist()
    assert table["reliable"].mean() > 0.7


def test_what_is_not_reliable_is_marked():
    good, bad = LinearGaussian(2, 5, guide="mean-field"), LinearGaussian(50, 100, guide="mean-field", shift=1.0)
    for program, share in ((good, 1.0), (bad, 0.0)):
        torch.manual_seed(0)
        ml = log_marginal(program.model, program.guide, program.simulate(20), num_samples=1000)
        assert ml.reliable.double().mean().item() == pytest.approx(share, abs=0.15)
    exact = LinearGaussian(2, 5)
    assert log_marginal(exact.model, exact.guide, exact.simulate(5), num_samples=50).reliable.all()
    few = log_marginal(good.model, good.guide, good.simulate(5), num_samples=3)
    assert not few.reliable.any()
