"""Flows: what they map, their Jacobians and inverses, and that nothing of a call stays in the module."""

import copy
import inspect

import pyro.distributions as dist
import pytest
import torch

from pyrovae import (
    AffineAutoregressive,
    AffineCoupling,
    Flow,
    InputError,
    Planar,
    Radial,
    Spline,
    SplineAutoregressive,
    SplineCoupling,
)
from pyrovae.distributions import Pushforward
from pyrovae.flows import FlowChain

K, B, D, C = 2, 4, 3, 5
FLOWS = [AffineAutoregressive, AffineCoupling, Planar, Radial, Spline, SplineAutoregressive, SplineCoupling]
INVERTIBLE = [flow for flow in FLOWS if flow.invertible]


def made(flow, features=D, context_features=0):
    """Make a flow that bends in earnest, in double precision."""
    made = flow(features, context_features).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2)
    return made


def context(features, *batch):
    return torch.randn(*batch, features, dtype=torch.float64) if features else None


def log_det(transform, x):
    value = transform.log_abs_det_jacobian(x, transform(x))
    return value if value.dim() < x.dim() else value.sum(-1)  # a spline's is one number a component


def test_every_flow_is_tested():
    def below(cls):
        return {cls}.union(*map(below, cls.__subclasses__()))

    mine = {flow for flow in below(Flow) if flow.__module__.startswith("pyrovae.") and not inspect.isabstract(flow)}
    assert mine == set(FLOWS)


@pytest.mark.parametrize("context_features", [0, C])
@pytest.mark.parametrize("flow", FLOWS)
def test_the_jacobian_is_that_of_the_map(flow, context_features):
    flow = made(flow, context_features=context_features)
    x = 2 * torch.randn(B, D, dtype=torch.float64)
    h = context(context_features, B)
    for i in range(B):
        jacobian = torch.autograd.functional.jacobian(lambda x, i=i: flow(None if h is None else h[i])(x), x[i])
        torch.testing.assert_close(log_det(flow(h), x)[i], jacobian.det().abs().log())


@pytest.mark.parametrize("context_features", [0, C])
@pytest.mark.parametrize("flow", INVERTIBLE)
def test_the_inverse_goes_back(flow, context_features):
    flow = made(flow, context_features=context_features)
    h = context(context_features, B)
    x = 2 * torch.randn(K, B, D, dtype=torch.float64)
    y = flow(h)(x)
    assert not torch.allclose(x, y)
    transform = flow(h)  # a fresh one, which remembers nothing
    torch.testing.assert_close(transform.inv(y), x)
    torch.testing.assert_close(log_det(transform.inv, y), -log_det(flow(h), x))


@pytest.mark.parametrize("flow", FLOWS)
def test_a_context_broadcasts_over_samples(flow):
    flow = made(flow, context_features=C)
    x, h = torch.randn(K, B, D, dtype=torch.float64), context(C, B)
    together = flow(h)(x)
    for k in range(K):
        torch.testing.assert_close(together[k], flow(h)(x[k]))
    for b in range(B):
        torch.testing.assert_close(together[0, b], flow(h[b])(x[0, b]))
    assert not torch.allclose(flow(h)(x), flow(h + 1)(x))


@pytest.mark.parametrize("flow", FLOWS)
def test_nothing_of_a_call_stays_in_the_module(flow):
    flow = flow(D)
    before = set(flow.state_dict()), len(list(flow.modules()))
    x = torch.randn(B, D, requires_grad=True)
    assert flow()(x) is not flow()(x)
    assert (set(flow.state_dict()), len(list(flow.modules()))) == before
    copied = copy.deepcopy(flow)  # which tensors of a graph would not let be done
    torch.testing.assert_close(copied()(x), flow()(x))


@pytest.mark.parametrize("flow", [AffineAutoregressive, Planar, Radial, Spline, SplineAutoregressive])
def test_one_component_is_enough(flow):
    flow = made(flow, features=1, context_features=C)
    x, h = torch.randn(B, 1, dtype=torch.float64), context(C, B)
    slopes = torch.autograd.functional.jacobian(lambda x: flow(h)(x).sum(0), x)[0, :, 0]
    torch.testing.assert_close(log_det(flow(h), x), slopes.abs().log())


def test_an_autoregressive_flow_sees_what_comes_before():
    for flow in (AffineAutoregressive, SplineAutoregressive):
        flow = made(flow)
        jacobian = torch.autograd.functional.jacobian(flow(), torch.randn(D, dtype=torch.float64))
        assert torch.equal(jacobian.triu(1), torch.zeros_like(jacobian))
        assert (jacobian.tril(-1)[1:].abs().sum(-1) > 0).all()


def test_splines_are_the_identity_outside_their_bound():
    x = torch.tensor([[-4.5, 4.5, 100.0]])
    for flow in (Spline, SplineAutoregressive):
        assert torch.equal(flow(3, bound=4.0)()(x), x)
        assert not torch.allclose(flow(3, bound=5.0)()(x)[:, :2], x[:, :2])


@pytest.mark.parametrize("context_features", [0, C])
@pytest.mark.parametrize("flow", FLOWS)
def test_a_chain_scores_what_it_draws(flow, context_features):
    chain = FlowChain(flow, D, context_features, num_layers=3).double()
    base = dist.Normal(torch.zeros(B, D, dtype=torch.float64), 1.0).to_event(1)
    h = context(context_features, B)
    fn = Pushforward(base, chain(h)).expand((K, B))
    y = fn.rsample()
    found = fn.log_prob(y)
    assert found.shape == (K, B)

    def at(x, b):
        for transform in chain(None if h is None else h[b]):
            x = transform(x)
        return x

    x = y
    for transform in reversed(fn.transforms):
        x = transform.inv(x)
    jacobian = torch.autograd.functional.jacobian(lambda x: at(x, 1), x[0, 1])
    torch.testing.assert_close(found[0, 1], dist.Normal(0.0, 1.0).log_prob(x[0, 1]).sum() - jacobian.det().abs().log())


@pytest.mark.parametrize(("num_layers", "kept"), [(1, 1), (2, 0)])
def test_a_second_coupling_changes_what_the_first_one_keeps(num_layers, kept):
    chain = FlowChain(AffineCoupling, D, num_layers=num_layers)

    def mapped(x):
        for transform in chain():
            x = transform(x)
        return x

    jacobian = torch.autograd.functional.jacobian(mapped, torch.randn(D))
    assert (jacobian.abs().amax(1) == 1).sum() == kept


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AffineCoupling(1), "features of a coupling must be an integer of at least 2, but 1 was given"),
        (lambda: SplineCoupling(1), "features of a coupling must be an integer of at least 2, but 1 was given"),
        (lambda: AffineAutoregressive(9, hidden_features=(8,)), "hidden_features of a flow must be .* at least 9"),
        (lambda: AffineAutoregressive(9, hidden_features=()), "hidden_features of a flow must have at least one layer"),
        (lambda: Spline(2, count_bins=1), "count_bins must be an integer of at least 2"),
        (lambda: Spline(2, bound=0.0), "bound must be a finite number above 0"),
        (lambda: Planar(0), "features must be an integer of at least 1"),
        (lambda: Planar(2, -1), "context_features must be an integer of at least 0"),
        (lambda: FlowChain(Planar, 2, num_layers=0), "num_layers must be an integer of at least 1"),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(InputError, match=f"^{message}"):
        make()


@pytest.mark.parametrize("flow", [Planar, Radial])
def test_a_flow_without_an_inverse_says_so(flow):
    fn = Pushforward(dist.Normal(torch.zeros(D), 1.0).to_event(1), FlowChain(flow, D)())
    with pytest.raises(InputError, match=f"^flow must have an inverse.*but {flow.__name__} was given"):
        fn.log_prob(torch.zeros(D))
