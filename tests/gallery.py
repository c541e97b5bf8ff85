"""Pyro programs of many kinds, each a pair of functions with data: what users bring that is no VAE of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.contrib.zuko import ZukoToPyro
from pyro.nn import PyroModule
from torch import nn

__all__ = ["PROGRAMS", "Given"]


class Given(NamedTuple):
    """A program with data for it: x, or (x, y)."""

    model: Callable[..., Any]
    guide: Callable[..., Any]
    batch: Any


def _linear(out, features, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(features, out)


def _encode(encoder, x):
    pyro.module("encoder", encoder)
    loc, raw = encoder(x).chunk(2, -1)
    return pyro.sample("z", dist.Normal(loc, nn.functional.softplus(raw) + 0.1).to_event(1))


def _guide(encoder):
    def guide(x):
        with pyro.plate("data", len(x)):
            _encode(encoder, x.float())

    return guide


def _prior():
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def label_as_a_site():
    decoder, encoder = _linear(4, 5), _linear(4, 4)

    def model(x, y):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.Categorical(torch.ones(3)), obs=y)
            z = _prior()
            code = torch.cat([z, nn.functional.one_hot(y, 3).float().expand(*z.shape[:-1], 3)], -1)
            pyro.sample("x", dist.Normal(decoder(code), 1.0).to_event(1), obs=x)

    def guide(x, y):
        return _guide(encoder)(x)

    return Given(model, guide, (torch.randn(9, 4), torch.arange(9) % 3))


def deterministic_sites():
    decoder, encoder = _linear(4, 2), _linear(4, 4)

    def model(x):
        pyro.module("decoder", decoder)
        scale = pyro.deterministic("scale", torch.ones(()))
        with pyro.plate("data", len(x)):
            z = pyro.deterministic("twice", 2 * _prior())
            loc = decoder(z)
            pyro.sample("x", dist.Normal(loc, scale).to_event(1), obs=x)
            pyro.deterministic("mean", loc)
            pyro.deterministic("total", x.sum(-1))

    return Given(model, _guide(encoder), torch.randn(9, 4))


def x_in_two_parts():
    decoder, encoder = _linear(4, 2), _linear(4, 4)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            loc = decoder(_prior())
            pyro.sample("b", dist.Normal(loc[..., 2:], 1.0).to_event(1), obs=x[:, 2:])
            pyro.sample("a", dist.Laplace(loc[..., :2], 1.0).to_event(1), obs=x[:, :2])

    return Given(model, _guide(encoder), torch.randn(9, 4))


def sequence_with_masks():
    """Take x as four steps, of which the second half is masked in every other datum."""
    decoder, encoder = _linear(1, 1), _linear(8, 4)

    def known(x, t):
        return (torch.arange(len(x)) % 2 == 0) | (t < 2)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = torch.zeros(1)
            for t in range(4):
                z = pyro.sample(f"z_{t}", dist.Normal(0.5 * z, 1.0).mask(known(x, t).unsqueeze(-1)).to_event(1))
                with poutine.mask(mask=known(x, t)):
                    pyro.sample(f"x_{t}", dist.Normal(decoder(z), 1.0).to_event(1), obs=x[:, t : t + 1])

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            locs, raws = encoder(x).chunk(2, -1)
            for t in range(4):
                loc, scale = locs[:, t : t + 1], nn.functional.softplus(raws[:, t : t + 1]) + 0.1
                pyro.sample(f"z_{t}", dist.Normal(loc, scale).mask(known(x, t).unsqueeze(-1)).to_event(1))

    return Given(model, guide, torch.randn(9, 4))


def teacher_forcing():
    decoder, encoder = _linear(1, 3), _linear(4, 4)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z, before = _prior(), torch.zeros(len(x), 1)
            for t in range(4):
                loc = decoder(torch.cat([z, before.expand(*z.shape[:-1], 1)], -1))
                before = pyro.sample(f"x_{t}", dist.Normal(loc, 1.0).to_event(1), obs=x[:, t : t + 1])

    return Given(model, _guide(encoder), torch.randn(9, 4))


def total_count():
    decoder, encoder = _linear(4, 2), _linear(4, 4)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            share = decoder(_prior()).softmax(-1)
            pyro.sample("x", dist.Poisson(x.sum(-1, keepdim=True) * share).to_event(1), obs=x)

    return Given(model, _guide(encoder), torch.randint(1, 9, (9, 4)).float())


def classes():
    decoder, encoder = _linear(12, 2), _linear(4, 4)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            logits = decoder(_prior())
            pyro.sample("x", dist.Categorical(logits=logits.unflatten(-1, (4, 3))).to_event(1), obs=x)

    return Given(model, _guide(encoder), torch.randint(0, 3, (9, 4)))


def factor_in_the_guide():
    """Teach the code a class by a loss in the guide, as scANVI does."""
    decoder, encoder, classifier = _linear(4, 2), _linear(4, 4), _linear(3, 4)

    def model(x, y):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(decoder(_prior()), 1.0).to_event(1), obs=x)

    def guide(x, y):
        pyro.module("classifier", classifier)
        with pyro.plate("data", len(x)):
            _encode(encoder, x)
            pyro.factor("loss", -dist.Categorical(logits=classifier(x)).log_prob(y), has_rsample=True)

    return Given(model, guide, (torch.randn(9, 4), torch.arange(9) % 3))


def outcome_in_both():
    """Observe the outcome in the guide too, as CEVAE does."""
    decoder, encoder, outcome = _linear(5, 2), _linear(4, 4), _linear(1, 4)

    def model(x, y):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            loc = decoder(_prior())
            pyro.sample("x", dist.Normal(loc[..., :4], 1.0).to_event(1), obs=x)
            pyro.sample("y", dist.Normal(loc[..., 4], 1.0), obs=y.float())

    def guide(x, y):
        pyro.module("outcome", outcome)
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(outcome(x).squeeze(-1), 1.0), obs=y.float(), infer={"is_auxiliary": True})
            _encode(encoder, x)

    return Given(model, guide, (torch.randn(9, 4), torch.arange(9) % 3))


def plate_without_size():
    decoder, encoder = _linear(4, 5), _linear(4, 4)

    def model(x, y=None):
        pyro.module("decoder", decoder)
        with pyro.plate("data"):
            y = pyro.sample("y", dist.OneHotCategorical(x.new_ones(len(x), 3)), obs=y)
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            code = torch.cat([z, y.expand(*z.shape[:-1], 3)], -1)
            pyro.sample("x", dist.Bernoulli(logits=decoder(code)).to_event(1), obs=x)

    def guide(x, y=None):
        with pyro.plate("data"):
            if y is None:
                pyro.sample("y", dist.OneHotCategorical(x.new_ones(len(x), 3)))
            _encode(encoder, x)

    return Given(model, guide, (torch.rand(9, 4) > 0.5).float())


def subsampled_plate():
    """Say how many data there are, and do not broadcast over samples."""
    decoder, encoder = _linear(4, 2), _linear(4, 4)

    def plate(x):
        return pyro.plate("data", size=20, subsample_size=len(x))

    def model(x):
        pyro.module("decoder", decoder)
        with plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            assert z.dim() == 2
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with plate(x):
            _encode(encoder, x)

    return Given(model, guide, torch.randn(9, 4))


def another_argument():
    decoder, encoder = _linear(4, 2), _linear(4, 4)

    def model(x, annealing_factor=1.0):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=annealing_factor):
                z = _prior()
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x, annealing_factor=1.0):
        with poutine.scale(scale=annealing_factor):
            _guide(encoder)(x)

    return Given(model, guide, torch.randn(9, 4))


class _Decoder(PyroModule):
    def __init__(self):
        super().__init__()
        self.linear = _linear(4, 3)

    def forward(self, x, y):
        pyro.module("decoder", self.linear)
        with pyro.plate("data", len(x)):
            z = _prior()
            code = torch.cat([z, y.float().unsqueeze(-1).expand(*z.shape[:-1], 1)], -1)
            pyro.sample("x", dist.Normal(self.linear(code), 1.0).to_event(1), obs=x)


class _Encoder(PyroModule):
    def __init__(self):
        super().__init__()
        self.linear = _linear(4, 4)

    def forward(self, x, y):
        _guide(self.linear)(x)


def module_as_a_program():
    return Given(_Decoder(), _Encoder(), (torch.randn(9, 4), torch.arange(9) % 3))


def guide_of_zuko():
    decoder, encoder = _linear(4, 2), _linear(4, 4)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(decoder(_prior()), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, raw = encoder(x).chunk(2, -1)
            base = torch.distributions.Normal(loc, nn.functional.softplus(raw) + 0.1)
            pyro.sample("z", ZukoToPyro(torch.distributions.Independent(base, 1)))

    return Given(model, guide, torch.randn(9, 4))


def double_precision():
    decoder, encoder = _linear(4, 2).double(), _linear(4, 4).double()

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            _encode(encoder, x)

    return Given(model, guide, torch.randn(9, 4, dtype=torch.float64))


def prior_on_x():
    decoder, encoder = _linear(4, 2), _linear(4, 4)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x[:, :2], 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 1.0).to_event(1), obs=x)

    return Given(model, _guide(encoder), torch.randn(9, 4))


def tokens():
    """Predict each of 6 classes of 3 from the one before, and a code."""
    embedding, decoder, encoder = nn.Embedding(3, 2), _linear(3, 4), _linear(4, 6)

    def model(x):
        pyro.module("embedding", embedding)
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z, before = _prior(), torch.zeros(len(x), dtype=torch.long)
            for t in range(6):
                code = embedding(before)
                logits = decoder(torch.cat([z, code.expand(*z.shape[:-1], 2)], -1))
                pyro.sample(f"x_{t}", dist.Categorical(logits=logits), obs=x[:, t].long())
                before = x[:, t].long()

    return Given(model, _guide(encoder), torch.randint(0, 3, (9, 6)).float())


def one_number():
    decoder, encoder = _linear(1, 2), _linear(4, 1)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Poisson(decoder(_prior()).squeeze(-1).exp()), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            _encode(encoder, x.unsqueeze(-1))

    return Given(model, guide, torch.poisson(torch.full((9,), 2.0)))


def discrete_latents():
    decoder, encoder = _linear(4, 3), _linear(3, 4)

    def model(x):
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            y = pyro.sample("y", dist.OneHotCategorical(torch.ones(3)))
            pyro.sample("x", dist.Normal(decoder(y), 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.OneHotCategorical(logits=encoder(x)))

    return Given(model, guide, torch.randn(9, 4))


PROGRAMS = {
    make.__name__: make
    for make in (
        label_as_a_site,
        deterministic_sites,
        x_in_two_parts,
        sequence_with_masks,
        teacher_forcing,
        total_count,
        classes,
        factor_in_the_guide,
        outcome_in_both,
        plate_without_size,
        subsampled_plate,
        another_argument,
        module_as_a_program,
        guide_of_zuko,
        double_precision,
        discrete_latents,
        prior_on_x,
        tokens,
        one_number,
    )
}
