"""Record a training step of every prior, posterior, flow, likelihood, objective and program of pyrovae."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pyro
import torch
from programs_setups import counting
from sklearn.datasets import load_digits

import pyrovae as pv
from pyrovae import vae as programs
from pyrovae.compilation import Compile
from pyrovae.flows import Flow
from pyrovae.likelihoods.counts import CountLikelihood
from pyrovae.programs import uses_labels

__all__ = ["cases", "outcome", "record_all"]

SHAPE, D = (1, 8, 8), 4
BATCH_SIZE, NUM_BATCHES = 16, 6
SMALL: Any = partial(pv.MLP, hidden_features=(16,))
REPLAYED = None

Case = Callable[[], tuple[pv.Program, pv.DataSet, dict[str, Any]]]
"""Makes a program, data, and options of fit."""


def record_all(mode: Compile = "graph") -> dict[str, dict[str, str | None]]:
    """Return, by kind and by class with its options, None if a step is recorded, or why not."""
    found: dict[str, dict[str, str | None]] = {}
    for kind, name, case in cases():
        found.setdefault(kind, {})[name] = outcome(case, mode)
    return found


def outcome(case: Case, mode: Compile = "graph") -> str | None:
    """Return None if the steps of a case replay a recording (or the compiled one), or the reason why not."""
    torch.manual_seed(0)
    counts = {"replayed": 0, "compiled": 0}
    try:
        program, data, options = case()
        with warnings.catch_warnings(record=True) as caught, counting(counts), pyro.get_param_store().scope():
            warnings.simplefilter("always")
            if hasattr(program, "initialize"):
                program.initialize(data.train[:])
            sizes = {"epochs": 1, "batch_size": BATCH_SIZE, "progress": False, "compile": mode}
            pv.fit(program.model, program.guide, data, **sizes, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    told = [str(warning.message) for warning in caught if "training goes on" in str(warning.message)]
    wanted = counts["compiled" if mode == "inductor" else "replayed"]
    return " ".join(told) or (REPLAYED if wanted >= NUM_BATCHES - 2 else f"only {wanted} steps were replayed")


def cases() -> Iterator[tuple[str, str, Case]]:
    """Yield kind, name and case of every class, once for each choice of an option that has a few."""
    for cls, options in choices(pv.Prior):
        yield "prior", name_of(cls, options), partial(of_prior, cls, options)
    for cls, options in choices(pv.Posterior):
        yield "posterior", name_of(cls, options), partial(of_posterior, cls, options)
    for cls, options in choices(Flow):
        yield "flow of the posterior", name_of(cls, options), partial(of_flow, cls, options)
        if cls.invertible:
            yield "flow of the prior", name_of(cls, options), partial(of_prior, pv.FlowPrior, {"flow": cls})
    for cls, options in choices(pv.Likelihood):
        yield "likelihood", name_of(cls, options), partial(of_likelihood, cls, options)
    for cls, options in choices(pv.Objective):
        yield "objective", name_of(cls, options), partial(of_objective, cls, options)
    for cls, options in choices(pv.Program):
        if cls not in (pv.VAE, programs.FunctionalVAE):  # which are made of parts, not of shapes
            yield "program", name_of(cls, options), partial(of_program, cls, options)


def choices(base: type) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield each class of pyrovae below a base with its defaults, and with every other value of a literal option."""
    for cls in classes(base):
        yield cls, {}
        for name, hint in get_type_hints(cls.__init__).items():
            if get_origin(hint) is Literal:
                default = inspect.signature(cls).parameters[name].default
                yield from ((cls, {name: value}) for value in get_args(hint) if value != default)


def classes(base: type) -> list[Any]:
    """Return the concrete classes of pyrovae below a base."""
    below = [cls for cls in base.__subclasses__() if cls.__module__.startswith("pyrovae.")]
    found = dict.fromkeys(cls for top in below for cls in [top, *classes(top)])
    return [cls for cls in found if not inspect.isabstract(cls) and not cls.__name__.startswith("_")]


def name_of(cls: type, options: dict[str, Any]) -> str:
    return f"{cls.__name__}({', '.join(f'{key}={value!r}' for key, value in options.items())})".removesuffix("()")


def digits(**options: Any) -> pv.DataSet:
    """Return some images of digits with their labels."""
    found = load_digits()
    count = BATCH_SIZE * NUM_BATCHES
    x = found.images[:count, None].astype(np.uint8)
    y = found.target[:count]
    few = {"test_x": x[:BATCH_SIZE], "test_labels": y[:BATCH_SIZE]}
    few |= {"validation_x": x[:BATCH_SIZE], "validation_labels": y[:BATCH_SIZE]}
    return pv.DataSet(x, y, **few, **{"levels": 17, **options})


def binary() -> pv.DataSet:
    return digits(binarization="dynamic")


def standard(prior: pv.Prior, posterior: pv.Posterior) -> pv.VAE:
    return pv.VAE(prior, pv.Bernoulli(SHAPE, D, SMALL), posterior)


def partner(cls: Any) -> Any:
    """Return the posterior of a prior's support, or the other way round."""
    base, default = (pv.Posterior, pv.DiagonalNormal) if issubclass(cls, pv.Prior) else (pv.Prior, pv.StandardNormal)
    same: Any = default
    return same if same.support is cls.support else next(c for c in classes(base) if c.support is cls.support)


def of_prior(cls: Any, options: dict[str, Any]) -> Any:
    few = {"num_components": 10} if "num_components" in inspect.signature(cls).parameters else {}
    return standard(cls(D, **few, **options), partner(cls)(SHAPE, D, SMALL)), binary(), {}


def of_posterior(cls: Any, options: dict[str, Any]) -> Any:
    return standard(partner(cls)(D), cls(SHAPE, D, SMALL, **options)), binary(), {}


def of_flow(cls: Any, options: dict[str, Any]) -> Any:
    flow = partial(cls, **options)
    return standard(pv.StandardNormal(D), pv.FlowPosterior(SHAPE, D, SMALL, flow=flow)), binary(), {}


def of_likelihood(cls: Any, options: dict[str, Any]) -> Any:
    if cls is pv.TableLikelihood:
        rows = np.random.default_rng(0).normal(size=(BATCH_SIZE * NUM_BATCHES, 5))
        data = pv.DataSet(rows, test_x=rows[:BATCH_SIZE], validation_x=rows[:BATCH_SIZE])
    else:
        levels = {"levels": 17} if "levels" in inspect.signature(cls).parameters else {}
        options = levels | options
        data = counts() if issubclass(cls, CountLikelihood) else suited(cls(SHAPE, D, SMALL, **options))
    shape = data.data_shape
    likelihood = cls(shape, D, SMALL, **options)
    return pv.VAE(pv.StandardNormal(D), likelihood, pv.DiagonalNormal(shape, D, SMALL)), data, {}


def suited(likelihood: pv.Likelihood) -> pv.DataSet:
    """Return digits in the first form that a likelihood is a likelihood of."""
    for made in (binary(), digits(dequantize=True), digits()):
        if likelihood.caveat(made.kind) is None:
            try:
                likelihood.check(made.train[:])
            except ValueError:
                continue
            return made
    raise ValueError("no data suit it")


def counts() -> pv.DataSet:
    x = torch.as_tensor(load_digits().images[: BATCH_SIZE * NUM_BATCHES, None], dtype=torch.int64)
    return pv.DataSet(x, test_x=x[:BATCH_SIZE], validation_x=x[:BATCH_SIZE])


def of_objective(cls: Any, options: dict[str, Any]) -> Any:
    program = standard(pv.StandardNormal(D), pv.DiagonalNormal(SHAPE, D, SMALL))
    return program, binary(), {"objective": partial(cls, **options)}


def of_program(cls: Any, options: dict[str, Any]) -> Any:
    program, data = cls(SHAPE, D, **options), binary()
    if uses_labels(program.model) != "where known":
        return program, data, {}
    assert data.train.labels is not None
    data.train.labels[: BATCH_SIZE * NUM_BATCHES // 2] = -1
    return program, data, {"objective": pv.TraceEnum_ELBO}


if __name__ == "__main__":
    for kind, found in record_all().items():
        print(kind, *found.items(), sep="\n  ")
