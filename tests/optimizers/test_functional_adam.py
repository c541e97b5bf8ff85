"""The update that a graph can hold is torch's own."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from pyrovae.optimizers import FunctionalAdam


def parameters(seed=0):
    torch.manual_seed(seed)
    return [nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(4))]


def step(optimizer, params, grads):
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad
    optimizer.step()


@pytest.mark.parametrize(
    "make",
    [
        partial(torch.optim.Adam, lr=1e-2),
        partial(torch.optim.Adam, lr=1e-2, weight_decay=0.1, fused=True),
        partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1),
        partial(torch.optim.Adam, lr=1e-2, betas=(0.5, 0.9), eps=1e-3),
    ],
)
def test_it_takes_turns_with_the_optimizer(make):
    theirs, ours = parameters(), parameters()
    plain, optimizer = make(theirs), make(ours)
    update = None
    for i in range(30):
        grads = [torch.randn(5, 3), None if i % 7 == 3 else torch.randn(4)]  # one has no gradient now and then
        step(plain, theirs, grads)
        if i < 2 or i % 10 == 0:
            if update is not None:
                update.flush()
            step(optimizer, ours, grads)
        else:
            update = update or FunctionalAdam(optimizer)
            given = {param: grad for param, grad in zip(ours, grads, strict=True) if grad is not None}
            update.read_options()
            update(given, torch.tensor(True))
            update.count_step(given)
        for group in (*plain.param_groups, *optimizer.param_groups):
            group["lr"] *= 0.9
    update.flush()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    for param, other in zip(ours, theirs, strict=True):
        assert optimizer.state[param]["step"] == plain.state[other]["step"]
    assert [int(optimizer.state[param]["step"]) for param in ours] == [30, 26]


def test_groups_have_rates_of_their_own_and_parameters_may_come_later():
    theirs, ours = parameters(), parameters()
    plain, optimizer = (
        torch.optim.AdamW([{"params": params[:1], "lr": 0.1}, {"params": params[1:], "betas": (0.5, 0.9)}])
        for params in (theirs, ours)
    )
    grads = [torch.ones(5, 3), torch.ones(4)]
    step(plain, theirs, grads)
    step(optimizer, ours, grads)
    update = FunctionalAdam(optimizer)
    late = nn.Parameter(torch.zeros(2))
    optimizer.add_param_group({"params": [late]})
    for _ in range(3):
        step(plain, theirs, grads)
        update.read_options()
        update(dict(zip(ours, grads, strict=True)), torch.tensor(True))
        update.count_step(ours)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert late.tolist() == [0, 0]


def test_nothing_changes_where_gradients_are_unsound():
    params = parameters()
    optimizer = torch.optim.Adam(params)
    step(optimizer, params, [torch.ones(5, 3), torch.ones(4)])
    update = FunctionalAdam(optimizer)
    before = [tensor.clone() for tensor in update.tensors()]
    update.read_options()
    update({param: torch.full_like(param, torch.nan) for param in params}, torch.tensor(False))
    assert len(before) == 2 * 4
    assert all(torch.equal(a, b) for a, b in zip(before, update.tensors(), strict=True))


@pytest.mark.parametrize(
    "make",
    [
        torch.optim.SGD,
        torch.optim.NAdam,
        partial(torch.optim.Adam, amsgrad=True),
        partial(torch.optim.Adam, maximize=True),
        partial(torch.optim.Adam, lr=torch.tensor(0.1)),
        type("Mine", (torch.optim.Adam,), {}),
    ],
)
def test_others_do_not_fit(make):
    params = parameters()
    optimizer = make(params)
    step(optimizer, params, [torch.ones(5, 3), torch.ones(4)])
    assert not FunctionalAdam.supports(optimizer, params)


def test_one_that_is_watched_does_not_fit():
    params = parameters()
    optimizer = torch.optim.Adam(params)
    step(optimizer, params, [torch.ones(5, 3), torch.ones(4)])
    assert FunctionalAdam.supports(optimizer, params)
    hook = optimizer.register_step_post_hook(lambda *_: None)
    assert not FunctionalAdam.supports(optimizer, params)
    hook.remove()
    hook = register_optimizer_step_pre_hook(lambda *_: None)
    assert not FunctionalAdam.supports(optimizer, params)
    hook.remove()
    assert FunctionalAdam.supports(optimizer, params)


def test_a_parameter_without_a_step_does_not_fit():
    params = parameters()
    optimizer = torch.optim.Adam(params)
    step(optimizer, params, [torch.ones(5, 3), None])
    assert not FunctionalAdam.supports(optimizer, params)
    assert FunctionalAdam.supports(optimizer, params[:1])  # of the others nothing is asked
    update = FunctionalAdam(optimizer)
    assert len(update.tensors()) == 4
    update.read_options()
    update({params[0]: torch.ones(5, 3)}, torch.tensor(True))
    update.count_step(params[:1])
    update.flush()
    assert list(optimizer.state) == params[:1]
    step(optimizer, params, [torch.ones(5, 3), torch.ones(4)])
    assert FunctionalAdam.supports(optimizer, params)
    assert not FunctionalAdam.supports(torch.optim.Adam(params), params)
