from functools import partial

import pyro
import pytest
import torch
from torch import nn

from pyrovae import InputError
from pyrovae.optimizers import JointOptimizer


@pytest.fixture
def module():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


@pytest.fixture(autouse=True)
def _own_store():
    with pyro.get_param_store().scope():
        yield


def step(module, optim, seed):
    pyro.module("m", module)
    torch.manual_seed(seed)
    module(torch.randn(5, 3)).square().sum().backward()
    optim(set(module.parameters()))


@pytest.mark.parametrize(
    "optimizer",
    [
        torch.optim.Adam,
        partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
        partial(torch.optim.SGD, lr=0.01, momentum=0.9),
        torch.optim.RMSprop,
        torch.optim.NAdam,
    ],
)
def test_it_is_the_torch_optimizer(module, optimizer):
    twin = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    twin.load_state_dict(module.state_dict())
    plain = optimizer(twin.parameters())
    optim = JointOptimizer(optimizer)
    for seed in range(5):
        step(module, optim, seed)
        torch.manual_seed(seed)
        plain.zero_grad()
        twin(torch.randn(5, 3)).square().sum().backward()
        plain.step()
    for a, b in zip(module.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b)
        assert a.grad is None


def test_gradients_are_clipped_by_their_global_norm(module):
    optim = JointOptimizer(partial(torch.optim.SGD, lr=1.0), max_norm=0.5)
    before = [p.detach().clone() for p in module.parameters()]
    step(module, optim, 0)
    moved = torch.cat([(a - b).flatten() for a, b in zip(module.parameters(), before, strict=True)])
    assert moved.norm().item() == pytest.approx(0.5, rel=1e-4)


def test_state_goes_on_exactly(module):
    make = partial(JointOptimizer, torch.optim.Adam, partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=10))
    first = make()
    for seed in range(3):
        step(module, first, seed)
        first.end_epoch(0.0)
    kept = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = first.get_state()
    import copy

    state = copy.deepcopy(state)
    step(module, first, 9)
    expected = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module.load_state_dict(kept)
    second = make()
    second.set_state(state)
    assert second.get_state() is state  # it waits
    step(module, second, 9)
    assert all(torch.equal(expected[name], tensor) for name, tensor in module.state_dict().items())
    assert second.learning_rate == first.learning_rate < 1e-3


def test_parameters_that_appear_later_join(module):
    optim = JointOptimizer(partial(torch.optim.Adam, lr=0.1))
    step(module, optim, 0)
    late = pyro.param("late", torch.ones(2)).unconstrained()
    (late**2).sum().backward()
    step(module, optim, 1)
    late.grad = 2 * late.detach()
    optim({late})
    assert (late < 1).all()


def test_a_plateau_scheduler_looks_at_the_loss(module):
    optim = JointOptimizer(
        torch.optim.Adam, partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0, factor=0.5)
    )
    step(module, optim, 0)
    for loss in (1.0, 2.0, 3.0):
        optim.end_epoch(loss)
    assert optim.learning_rate == pytest.approx(0.00025)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JointOptimizer(partial(torch.optim.Adam, lr=-1.0)), "optimizer cannot be made.*-1"),
        (lambda: JointOptimizer(partial(torch.optim.Adam, betas=(2.0, 0.9))), "optimizer cannot be made"),
        (lambda: JointOptimizer(torch.optim.LBFGS), "without a closure, but LBFGS"),
        (lambda: JointOptimizer(torch.optim.Adam, torch.optim.lr_scheduler.StepLR), "scheduler cannot be made"),
        (lambda: JointOptimizer(max_norm=0.0), "max_norm must be"),
    ],
)
def test_bad_options_are_refused_at_once(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_gradients_that_are_held_count_with_the_next(monkeypatch):
    found = []
    for parts in (1, 3):
        weight = nn.Parameter(torch.ones(4))
        other = nn.Parameter(torch.ones(2))
        optim = JointOptimizer(partial(torch.optim.SGD, lr=0.1))
        for _ in range(2):
            for part in range(parts):
                weight.grad = torch.arange(4.0) / parts
                other.grad = torch.ones(2) if part == 0 else None
                optim.accumulating = part < parts - 1
                optim({weight, other} if part == 0 else {weight})
                assert weight.grad is None
        found.append((weight.detach().clone(), other.detach().clone()))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.RMSprop])  # fused, and not
@pytest.mark.parametrize("max_norm", [None, 1.0])
def test_nothing_is_updated_while_a_loss_may_be_unsound(optimizer, max_norm):
    weight = nn.Parameter(torch.ones(4))
    optim = JointOptimizer(optimizer, max_norm=max_norm)
    optim.found_inf = torch.zeros(())
    for bad, moves in ((0.0, True), (1.0, False), (1.0, False)):
        optim.found_inf.fill_(bad)
        before = weight.detach().clone()
        weight.grad = torch.full((4,), float("nan") if bad else 1.0)
        optim({weight})
        assert bool((weight != before).all()) == moves
        assert weight.isfinite().all()


def test_a_gradient_without_a_finite_norm_makes_a_step_unsound():
    weight = nn.Parameter(torch.ones(4))
    optim = JointOptimizer(max_norm=1.0)
    optim.found_inf = torch.zeros(())
    weight.grad = torch.full((4,), float("inf"))
    optim({weight})
    assert optim.found_inf == 1
    assert torch.equal(weight, torch.ones(4))
