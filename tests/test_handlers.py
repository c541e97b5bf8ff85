from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyrovae import InputError
from pyrovae.handlers import InDataPlate, Temper, in_data_plate
from pyrovae.programs import mode, modules_of, private_modules


def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def test_temper_scales_latents_only():
    trace = pyro.poutine.trace(Temper(torch.tensor(0.3))(model)).get_trace(torch.zeros(4))
    trace.compute_log_prob()
    z, x = trace.nodes["z"], trace.nodes["x"]
    torch.testing.assert_close(z["log_prob"], 0.3 * z["unscaled_log_prob"])
    torch.testing.assert_close(x["log_prob"], x["unscaled_log_prob"])


def test_the_data_plate_is_recognised_by_its_place_and_size():
    in_data_plate(model)(torch.zeros(4))
    with pytest.raises(InputError, match=r"site 'z' must lie in .* of size 5, but lies in plate\('data', 4, dim=-1\)"):
        InDataPlate(5)(model)(torch.zeros(4))


def test_modules_are_found_through_functions_partials_and_handlers():
    inner, held, named = nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)
    outer = nn.Sequential(inner)

    def closing(x):
        return inner(held(x))

    class Plain:
        def __init__(self):
            self.encoder = named

        def model(self, x):
            return self.encoder(x)

    assert set(modules_of(closing)) == {inner, held}
    assert set(modules_of(partial(closing, x=1))) == {inner, held}
    assert set(modules_of(pyro.poutine.scale(closing, 0.5))) == {inner, held}
    assert set(modules_of(in_data_plate(Temper(torch.ones(()))(closing)))) == {inner, held}
    assert modules_of(Plain().model) == [named]
    assert set(modules_of(closing, outer)) == {outer, held}  # the outermost only


class Pair(nn.Module):
    def model(self, x):
        pass

    def guide(self, x):
        pass


def test_modules_and_their_mode():
    pair, other = Pair(), Pair()
    assert modules_of(pair.model, pair.guide, other, model) == [pair, other]
    pair.train()
    other.eval()
    with mode(pair.model, other.guide, training=False):
        assert not pair.training
    assert pair.training
    assert not other.training


def test_a_second_module_of_one_name_trains():
    store = pyro.get_param_store()
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    pyro.module("m", first)
    pyro.param("own", torch.ones(1))
    with private_modules():
        pyro.module("m", second)
        assert store["m$$$weight"] is not first.weight
        assert store["m$$$weight"].unconstrained() is second.weight
        pyro.param("own").unconstrained().data.fill_(3.0)
        pyro.param("new", torch.zeros(1))
    assert store["m$$$weight"].unconstrained() is first.weight
    assert store["own"].item() == 3.0  # lives in the store alone, and so stays
    assert "new" in store
    pyro.clear_param_store()
