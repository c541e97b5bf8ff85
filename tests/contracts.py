"""The classes that contract tests run over, and the conditionals among them, made with small networks."""

import inspect
from functools import partial
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
import torch

from pyrovae import (
    MLP,
    VAE,
    ConvolutionalDecoder,
    ConvolutionalEncoder,
    DiagonalNormal,
    Likelihood,
    Posterior,
    Prior,
    TableLikelihood,
)
from pyrovae import vae as programs

D = 3


small = partial(MLP, hidden_features=(16,))


def subclasses(base):
    found = [cls for cls in base.__subclasses__() if cls.__module__.startswith("pyrovae.")]
    concrete = [cls for cls in found if not inspect.isabstract(cls)]
    return concrete + [below for cls in found for below in subclasses(cls)]


def variants(cls):
    """Yield no options, and each value of each option that has a few by name."""
    yield {}
    for name, hint in get_type_hints(cls.__init__).items():
        if get_origin(hint) is Literal:
            default = inspect.signature(cls).parameters[name].default
            yield from ({name: value} for value in get_args(hint) if value != default)


def made(cls, *arguments, **options):
    conditional = cls(*arguments, **options)
    if isinstance(conditional, Prior):
        # Kept where nn.Module does not register it, as the VAE keeps it in its own place.
        conditional.connect(DiagonalNormal((5,), D, small))
    return conditional


def cases():
    def case(cls, shape, *arguments, **options):
        name = "-".join([cls.__name__, *map(str, options.values()), *([] if shape is None else [str(shape)])])
        return pytest.param(partial(made, cls, *arguments, **options), shape, id=name)

    for cls in subclasses(Prior):
        yield from (case(cls, None, D, **options) for options in variants(cls))
    for cls in subclasses(Posterior):
        for options in variants(cls):
            yield from (case(cls, shape, shape, D, small, **options) for shape in ((5,), (1, 8, 8)))
            yield case(cls, (1, 9, 6), (1, 9, 6), D, ConvolutionalEncoder, **options)
    for cls in subclasses(Likelihood):
        for options in variants(cls):
            yield case(cls, (5,), (5,), D, small, **options)
            if cls is not TableLikelihood:  # of rows alone
                yield case(cls, (3, 4, 4), (3, 4, 4), D, small, **options)
                yield case(cls, (1, 9, 6), (1, 9, 6), D, ConvolutionalDecoder, **options)


def distribution(conditional, shape, batch, dtype=torch.float32):
    """Call a conditional on input of the given batch shape; return what it gives, its batch and its event shape."""
    if isinstance(conditional, Prior):
        return conditional(), (), (D,)
    if isinstance(conditional, Posterior):
        return conditional(torch.rand(*batch, *shape, dtype=dtype)), batch, (D,)
    return conditional(torch.randn(*batch, D, dtype=dtype)), batch, shape


def classes(base):
    below = [cls for cls in base.__subclasses__() if cls.__module__.startswith("pyrovae.")]
    found = {cls: None for top in below for cls in [top, *classes(top)]}
    return [cls for cls in found if not inspect.isabstract(cls) and not cls.__name__.startswith("_")]


def program_classes():
    found = [value for value in vars(programs).values() if isinstance(value, type) and hasattr(value, "guide")]
    return [cls for cls in found if cls not in (VAE, programs.FunctionalVAE)]  # made of parts, not of shapes


def image_likelihoods():
    return [cls for cls in classes(Likelihood) if cls is not TableLikelihood]  # which is one of rows
