"""Certificates: they hold as often as they say, with good and with hopeless guides, and are as tight as they can be."""

import math
from dataclasses import replace

import pytest
import torch
from linear_gaussian import LinearGaussian
from someones_package.estimators import PriorSampling

from pyrovae import Adaptive, Annealed, Estimator, Importance, InputError, LogMarginal, log_marginal
from pyrovae.distributed import collectives
from pyrovae.evaluation.likelihood.certificate import Certificate, certify, round_up
from pyrovae.evaluation.likelihood.disk_buffer import DiskBuffer

N = 4  # data of a set
SETS = 2500


def violations(ml, exact, confidence):
    """Count the sets of N data, of which the result has many, whose bound is wrong."""
    products = ml.log_unbiased.unflatten(1, (-1, N)).sum(2)  # (alternatives, sets)
    totals = math.log(len(products)) - products.logsumexp(0) - math.log(1 - confidence)
    assert certify(ml.log_unbiased[:, :N], confidence).total == pytest.approx(totals[0].item())
    return int((totals < -exact.unflatten(0, (-1, N)).sum(1)).sum())


def most(confidence, sets=SETS):
    """The number of violations that a valid certificate exceeds once in 30,000 tests."""
    share = 1 - confidence
    return share * sets + 4 * math.sqrt(share * confidence * sets)


class ManyAtATime(Importance):
    """Importance samples of many data at a time, which is faster for so few samples."""

    def batch_size(self, chunk_size):
        return 2000


GUIDES = {
    "good": lambda: LinearGaussian(2, 5, guide="mean-field"),
    "hopeless": lambda: LinearGaussian(2, 5, guide="mean-field", shift=4.0, widening=0.5),
}
ESTIMATORS = {
    "importance": ManyAtATime(3),
    "widened mixture": ManyAtATime(4, proposal_scale=1.3, prior_share=0.25),
    "annealed": Annealed(3, num_chains=2),
    "annealed, barely refined": Annealed(3, num_chains=2, refinement_rounds=1),
    "annealed, barely refined, refined guide alone": Annealed(3, num_chains=2, refinement_rounds=1, keep_guide=False),
    "annealed from the prior": Annealed(4, num_chains=2, num_leapfrogs=1, start="prior"),
}


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_bound_is_wrong_no_more_often_than_it_says(name, guide):
    program = GUIDES[guide]()
    x = program.simulate(N).repeat(SETS, 1)
    torch.manual_seed(0)
    ml = log_marginal(program.model, program.guide, x, ESTIMATORS[name], num_draws=0)
    exact = program.log_prob(x)
    for confidence in (0.99, 0.8, 0.5):
        assert violations(ml, exact, confidence) <= most(confidence)
    ratio = (ml.log_prob - exact).exp()
    if guide == "good":  # of heavy tails, a mean shows nothing
        assert (ratio.mean() - 1).abs() < 5 * ratio.std() / len(ratio) ** 0.5 + 1e-9


@pytest.mark.slow
def test_weights_that_are_too_large_would_be_found():
    program = GUIDES["good"]()
    x = program.simulate(N).repeat(SETS, 1)
    ml = log_marginal(program.model, program.guide, x, ManyAtATime(20), num_draws=0)
    biased = replace(ml, log_unbiased=ml.log_unbiased + math.log(100) / N)
    assert violations(biased, program.log_prob(x), 0.99) > most(0.99)


@pytest.mark.slow
def test_what_is_drawn_adaptively_is_certified():
    """Any data of the set are, however many samples the others made them get."""
    program = LinearGaussian(2, 5, guide="mean-field", shift=3.0)
    x = program.simulate(N).repeat(300, 1)
    torch.manual_seed(0)
    adaptive = Adaptive(0.001, max_evaluations=450 * len(x), num_checked=0)
    ml = log_marginal(program.model, program.guide, x, adaptive, num_draws=0)
    assert ml.adaptive.rounds > 2
    for confidence in (0.99, 0.8, 0.5):
        assert violations(ml, program.log_prob(x), confidence) <= most(confidence, 300)


def test_it_is_as_tight_as_the_inequality_allows():
    program = GUIDES["good"]()
    x = program.simulate(40)
    for estimator in (Importance(100), Annealed(5)):
        ml = log_marginal(program.model, program.guide, x, estimator)
        certificate = ml.certificate()
        assert certificate.num_data == 40
        assert certificate.total == pytest.approx(-ml.log_prob.sum().item() + math.log(100))
        assert certificate.nll == pytest.approx(ml.nll + math.log(100) / 40)
        assert ml.certificate(0.5).nll == pytest.approx(ml.nll + math.log(2) / 40)
    half = log_marginal(program.model, program.guide, [x[:20], x[20:]], Importance(100))
    assert half.certificate().nll == pytest.approx(half.nll + math.log(100) / 40)  # one bound, not one for each batch


@pytest.mark.slow
def test_an_adaptive_one_is_nearly_as_tight():
    program = LinearGaussian(5, 10, guide="mean-field", shift=0.7)
    x = program.simulate(60)
    torch.manual_seed(0)
    rough = log_marginal(program.model, program.guide, x, Adaptive(0.2))
    ml = log_marginal(program.model, program.guide, x, Adaptive(0.03).from_state(rough.adaptive.state))
    for result in (rough, ml):
        allowance = result.certificate().nll - result.nll
        alternatives = math.log(len(result.log_unbiased))
        assert allowance < (math.log(100) + alternatives) / 60 + 0.05
        assert result.certificate().total > -program.log_prob(x).sum().item()


def test_results_put_together_on_disk_have_one_certificate(tmp_path):
    program = GUIDES["good"]()
    buffer, parts = DiskBuffer(tmp_path), []
    for seed in range(20):
        parts.append(log_marginal(program.model, program.guide, program.simulate(3, seed), Importance(10)))
        buffer.add(parts[-1])
    whole = buffer.concatenated().certificate()
    assert whole.num_data == 60
    assert whole.total == pytest.approx(sum(part.certificate().total for part in parts) - 19 * math.log(100))


def test_an_estimator_must_declare_it():
    program = GUIDES["good"]()
    x = program.simulate(3)

    class Declared(PriorSampling):
        unbiased = True

    class Changed(Declared):
        def estimate(self, programs, **options):
            ml = super().estimate(programs, **options)
            return replace(ml, log_prob=ml.log_prob + ml.bias)

    for cls, certified in ((PriorSampling, False), (Declared, True), (Changed, False)):
        ml = log_marginal(program.model, program.guide, x, cls(100))
        assert (ml.certificate() is not None) == certified
        assert (f"no certificate: the estimates by {cls.__name__.lower()} are not declared" in str(ml)) != certified
        assert (ml.summary()["certificate"] is None) != certified
    assert not Estimator.unbiased
    assert Importance.unbiased
    assert Annealed.unbiased


def test_a_datum_without_weights_leaves_no_bound():
    weights = torch.tensor([[0.0, -math.inf], [0.0, -math.inf]])
    ml = LogMarginal.from_log_weights(weights, torch.zeros(2, 1), method="importance")
    ml = replace(ml, log_unbiased=ml.log_prob[None])
    assert ml.certificate() is None
    assert "no certificate: some data have no weight above zero" in str(ml)


def test_alternatives_are_averaged_over_the_set():
    estimates = torch.tensor([[-10.0, -20.0, -30.0], [-11.0, -19.0, -math.inf]])
    assert certify(estimates).total == pytest.approx(60 + math.log(2) + math.log(100))


def test_printed_bounds_are_rounded_up():
    assert round_up(86.5001, 2) == "86.51"
    assert round_up(-86.5001, 2) == "-86.50"
    assert round_up(0.1 + 0.2, 1) == "0.4"
    for value in torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist():
        assert value <= float(round_up(value, 3)) < value + 1.001e-3
    text = Certificate(0.999, 500.0, 8).sentence(0.12345)
    assert text == "NLL at most 62.50 nats, 0.1235 bits/dim, with 99.9 % confidence (Markov; no assumption)"


def test_bits_are_those_of_the_bound():
    program = GUIDES["good"]()
    ml = log_marginal(program.model, program.guide, program.simulate(30), Importance(50))
    bits = ml.nll / (5 * math.log(2)) + 8
    found = ml.summary(bits)["certificate"]
    assert found["bits_per_dim"] == pytest.approx(found["nll"] / (5 * math.log(2)) + 8)
    assert f"{round_up(found['bits_per_dim'], 4)} bits/dim" in "\n".join(ml.lines(bits))


@pytest.mark.parametrize("confidence", [0, 1, 1.5, -0.1, math.nan, "high", True])
def test_a_confidence_is_between_0_and_1(confidence):
    with pytest.raises(InputError, match="confidence must be"):
        certify(torch.zeros(1, 3), confidence)


def test_blocks_share_no_stream_of_random_numbers(monkeypatch):
    """Torch's generator of a CPU uses 32 bits of a seed; two blocks with the same would not be independent."""
    torch.manual_seed(5)
    first = torch.rand(3)
    torch.manual_seed(5 + 2**32)
    assert torch.equal(first, torch.rand(3))
    original = collectives.derive_seed
    monkeypatch.setattr(collectives, "derive_seed", lambda *numbers: original(*numbers) % 500)
    seeds = collectives.derive_seeds(0, 100)
    assert len({seed % 2**32 for seed in seeds}) == len(seeds) == 100
    monkeypatch.undo()
    assert collectives.derive_seeds(3, 50) == [collectives.derive_seed(3, i) for i in range(50)]
