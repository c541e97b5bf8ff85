"""The programs whose steps are timed are those by hand, and are recorded or say why not."""

import pyro
import pytest
import torch
from script_modules import module_of

import pyrovae as pv
from pyrovae.training.batching import batches, labels_for

BY_HAND = [
    "IWAE, K = 5",
    "DReG, K = 5",
    "two layers",
    "VampPrior, 500 components",
    "flow posterior",
    "convolutional",
    "discretised logistic mixture, 3x32x32",
    "table likelihood",
]


@pytest.fixture
def setups(monkeypatch):
    return module_of("benchmarks/programs_setups", monkeypatch)


def losses_and_slopes(setup, objective, arguments):
    """Return loss and gradients of the program and of that by hand, of the same weights and the same noise."""
    program, hand = setup.program, setup.by_hand
    program.initialize(setup.data.train[:])
    with torch.no_grad():
        for ours, theirs in zip(program.parameters(), hand.parameters(), strict=True):
            theirs.copy_(ours.view_as(theirs))
    torch.manual_seed(0)
    with pyro.get_param_store().scope():
        loss = objective.loss_and_grads(program.model, program.guide, *arguments)
    torch.manual_seed(0)
    by_hand = hand(*arguments)
    by_hand.backward()
    grads = [[part.grad.flatten() for part in made.parameters()] for made in (program, hand)]
    return (loss, by_hand.item()), [torch.cat(parts) for parts in grads]


class Counting(pv.VAE):
    """A program that counts its runs in Python, which no recording can repeat."""

    runs = 0

    def guide(self, x):
        self.runs += 1
        return super().guide(x)


@pytest.fixture
def recorder(monkeypatch):
    return module_of("benchmarks/programs_classes", monkeypatch)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_program_by_hand_is_the_program(setups, name):
    torch.manual_seed(1)
    setup = setups.SETUPS[name](1)
    (loss, by_hand), (ours, theirs) = losses_and_slopes(setup, setup.objective(), (setup.data.train[:8],))
    assert loss == pytest.approx(by_hand, rel=1e-5)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * ours.abs().max().item())


def test_m2_by_hand_sums_over_the_classes_as_enumeration_does(setups):
    torch.manual_seed(1)
    setup = setups.SETUPS["M2, classes enumerated"](4)
    setup.program.initialize(setup.data.train[:])
    labels = labels_for(setup.program.model, setup.program.guide)
    kinds = {len(given): given for given in batches(labels, setup.data.train, 128)}
    assert set(kinds) == {1, 2}
    # To find the nesting out would take noise; of labelled data nothing is enumerated.
    objective = setup.objective(max_plate_nesting=1, strict_enumeration_warning=False)
    for given in kinds.values():
        (loss, by_hand), (ours, theirs) = losses_and_slopes(setup, objective, given)
        assert loss == pytest.approx(by_hand, rel=1e-5)
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3 * ours.abs().max().item())
        setup.program.zero_grad()
        setup.by_hand.zero_grad()


@pytest.mark.slow
def test_what_is_recorded_is_told_and_what_is_not_with_its_reason(recorder):
    cases = {(kind, name): case for kind, name, case in recorder.cases()}
    assert {("prior", "VampPrior"), ("likelihood", "Gaussian(scale='optimal')"), ("objective", "RWS")} < set(cases)
    assert recorder.outcome(cases["objective", "DReG"]) is None
    assert recorder.outcome(cases["program", "HierarchicalVAE(inference='ladder')"]) is None

    def counting():
        vae, data, options = cases["posterior", "DiagonalNormal"]()
        return Counting(vae.prior, vae.likelihood, vae.posterior), data, options

    reason = recorder.outcome(counting)
    assert reason is not None
    assert "values of the program that are no tensors of its modules, such as a counter" in reason
