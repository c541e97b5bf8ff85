"""``save``: a program that was trained in Python as a run's folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
import yaml
from jsonargparse import Namespace
from pyro import poutine
from torch import Tensor, nn
from torch.utils.data import Dataset

from pyrovae import checks
from pyrovae.columns import Schema
from pyrovae.construction import constructor_arguments, import_path, options_of
from pyrovae.data import ArrayFile, DataSet, Table, as_data_set
from pyrovae.execution import allow_missing, evaluating, trace
from pyrovae.files import atomic_write, write_text
from pyrovae.missing import has_missing
from pyrovae.parsing import Parser
from pyrovae.programs import Batch, arguments_of, private_modules
from pyrovae.rng import forked_rng
from pyrovae.runs.configuration import assemble, components_of, fill_defaults, program_for
from pyrovae.runs.data_record import DataRecord
from pyrovae.runs.folder import Run
from pyrovae.runs.program import first_data
from pyrovae.training import History
from pyrovae.vae import VAE

__all__ = ["save"]


def save(
    folder: str | os.PathLike[str],
    program: Any,
    data: DataSet | Batch | Dataset[Any],
    history: History | None = None,
    *,
    config: Mapping[str, Any] | None = None,
) -> Run:
    """Save a program that was trained in Python as a run, for :func:`load` and all commands that take a run.

    The folder gets the program's weights, the history, and a configuration from which program and data can be made
    again. This needs classes that can be imported, and constructors whose arguments are numbers, strings, classes, or
    ``functools.partial`` of classes with named arguments; pyrovae's base classes keep these arguments. A program must
    be a :class:`~pyrovae.VAE`, or a :class:`~pyrovae.Program` made of ``(data_shape, latent_dim, ...)``, as
    ``--program`` wants it. Tensors and arrays of a :class:`~pyrovae.DataSet` are written to ``data.npz`` in the folder;
    the other data sets are read again from where they were. Before anything is written, program and data are made from
    the configuration and compared with those given.

    Args:
        folder: a new folder.
        program: the trained program.
        data: the data that it was trained on, as they were given to :func:`~pyrovae.fit`.
        history: result of :func:`~pyrovae.fit`.
        config: parts of the configuration that cannot be found out, as in a run's ``config.yaml``: ``data``;
            ``program`` (or ``prior``, ``likelihood`` and ``posterior``) with ``latent_dim``.

    Returns:
        the run's folder.

    Raises:
        ValueError: if the folder holds a run, or program or data would not be the same when they are loaded.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> data, vae = assemble(latent_dim=2)
        >>> with TemporaryDirectory() as folder:
        ...     run = save(f"{folder}/run", vae, data)
        ...     type(load(run.folder).program).__name__
        'VAE'
    """
    run, given = Run(folder), dict(config or {})
    if history is not None:
        checks.instance("history", history, History)
    if not callable(getattr(program, "model", None)) or not callable(getattr(program, "guide", None)):
        raise checks.InputError(f"program must have the methods model and guide, but {type(program).__name__} has not")
    data = as_data_set(data, program.model, program.guide)
    run.refuse_existing("folder must be a new one")
    parts = dict(given) if _PROGRAM & given.keys() else {**_program_options(program, data), **given}
    dataset, described = (None, given["data"]) if "data" in given else _data_options(data, run)
    text = _configuration({**parts, "data": described})
    remade = _remade_data(text) if dataset is None else dataset
    if (difference := DataRecord.of(data).difference(DataRecord.of(remade))) is not None:
        raise checks.InputError(f"data must be the same when they are made again from config, but {difference}")
    _check_program(program, text, data)
    with run.locked():
        run.refuse_existing("folder must be a new one")
        if dataset is not None:
            _write_arrays(run, data)
        run.save_program(program, history)
        run.create(text, DataRecord.of(remade))
    return run


_PROGRAM = {"program", "prior", "likelihood", "posterior"}


def _program_options(program: nn.Module, data: DataSet) -> dict[str, Any]:
    """Return the options that make a program: those of its conditionals, or of the whole."""
    if type(program) is VAE:
        sizes = {"prior": ["latent_dim"], "likelihood": ["data_shape", "latent_dim"]}
        sizes["posterior"] = sizes["likelihood"]
        found: dict[str, Any] = {
            name: _class_and_options(name, getattr(program, name), names) for name, names in sizes.items()
        }
        return {**found, "latent_dim": program.prior.latent_dim}
    arguments = _arguments(program, "program")
    first = list(arguments)[:2]
    shape, latent_dim = [arguments[name] for name in first] if len(first) == 2 else (None, None)
    if not isinstance(latent_dim, int) or not isinstance(shape, tuple | list) or tuple(shape) != data.data_shape:
        raise checks.InputError(
            f"program must be made of (data_shape, latent_dim, ...) to be saved, but {type(program).__name__} is made "
            f"of ({', '.join(arguments)})"
        )
    return {"program": _class_and_options("program", program, first), "latent_dim": latent_dim}


def _class_and_options(name: str, made: Any, skip: list[str]) -> dict[str, Any]:
    skip = [*skip, "schema"]  # that of the data
    options = {key: value for key, value in _arguments(made, name).items() if key not in skip and value is not None}
    described = {key: options_of(f"{name}.{key}", _without_schema(value)) for key, value in options.items()}
    return {"class_path": import_path(type(made)), "init_args": described}


def _without_schema(value: Any) -> Any:
    """Return a factory of a network without the columns of a table, which are those of the data."""
    if not isinstance(value, partial):
        return value
    kept = {key: _without_schema(part) for key, part in value.keywords.items() if not isinstance(part, Schema)}
    return partial(value.func, *value.args, **kept) if kept or value.args else value.func


def _arguments(made: Any, name: str) -> dict[str, Any]:
    found = constructor_arguments(made)
    if found is None:
        raise checks.InputError(
            f"{name} must have kept the arguments of its constructor, as subclasses of pyrovae's base classes do that "
            f"call super().__init__(), but {type(made).__name__} has not: give {name} in config"
        )
    return found


def _data_options(data: DataSet, run: Run) -> tuple[DataSet | None, dict[str, Any]]:
    """Return the options that make the data again; and the data made again, if their arrays are to be written."""
    if type(data) is not DataSet and constructor_arguments(data) is not None:
        try:
            described = _class_and_options("data", data, [])
            remade = _remade_data(_configuration({"data": described}))
            if DataRecord.of(data).difference(DataRecord.of(remade)) is None:
                return None, described
        except checks.InputError:  # arguments are arrays, or a class of a notebook
            pass
    if isinstance(data, Table):
        return _table_options(data, run)
    arrays, options = _arrays(data)
    remade = DataSet(**arrays, **options)
    if DataRecord.of(data).difference(DataRecord.of(remade)) is not None:
        raise checks.InputError(
            "data must be those of a data set as its class makes them, but some were taken out or replaced afterwards: "
            "give data in config"
        )
    return remade, {
        "class_path": import_path(ArrayFile),
        "init_args": {"path": str(run.folder / "data.npz"), **options},
    }


def _table_options(data: Table, run: Run) -> tuple[DataSet, dict[str, Any]]:
    """Return a table as it will be read again from the run's folder, and the options that do so."""
    if data.stored_apart:
        raise checks.InputError("data must have their test rows in the same table to be saved, or be read from files")
    options: dict[str, Any] = {"label": None if data.schema.label is None else data.schema.label.name}
    options |= {"validation_size": len(data.validation), "test_size": len(data.test), "seed": data.seed}
    remade = Table(_frame_of(data), schema=data.schema, **options)
    if DataRecord.of(data).difference(DataRecord.of(remade)) is not None:
        raise checks.InputError(
            "data must be those of a table as its class makes them, but some were taken out or replaced afterwards: "
            "give data in config"
        )
    path = str(run.folder / "data.csv")
    return remade, {"class_path": import_path(Table), "init_args": {"path": path, **options}}


def _frame_of(data: Table) -> Any:
    """Return all rows of a table with their labels, as a data frame."""
    import pandas

    frame, rows = data.to_frame(data.all.astype(torch.float64)[:]), data.all
    if data.schema.label is not None and rows.labels is not None:
        categories = list(data.schema.label.categories)
        frame[data.schema.label.name] = pandas.Categorical.from_codes(rows.labels.cpu().numpy(), categories)
    return frame


def _arrays(data: DataSet) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the stored arrays of a data set, and its other arguments."""
    whole = data.all
    x, labels = whole.stored.cpu(), None if whole.labels is None else whole.labels.cpu()
    sizes = {
        f"{name}_": len(getattr(data, name)) for name in data.stored_apart
    }  # in the order in which they are stored
    parts: dict[str, Tensor] = {}
    start = 0
    for name, size in {"": len(x) - sum(sizes.values()), **sizes}.items():
        parts |= {f"{name}x": x[start : start + size]}
        parts |= {f"{name}labels": labels[start : start + size]} if labels is not None else {}
        start += size
    levels = None if x.is_floating_point() else data.levels
    options: dict[str, Any] = {
        "binarization": data.binarization,
        "dequantize": data.dequantize,
        "seed": data.seed,
        "levels": levels,
    }
    options |= {
        f"{name}_size": len(getattr(data, name)) for name in ("validation", "test") if name not in data.stored_apart
    }
    options |= {"channels": "first"} if x.dim() == 4 else {}
    arrays = {name: part.numpy() for name, part in parts.items()}
    return arrays, {name: value for name, value in options.items() if value is not None}


def _write_arrays(run: Run, data: DataSet) -> None:
    if isinstance(data, Table):
        write_text(run.folder / "data.csv", _frame_of(data).to_csv(index=False))
        return
    with atomic_write(run.folder / "data.npz") as file:
        arrays: dict[str, Any] = _arrays(data)[0]
        np.savez(file, **arrays)


def _configuration(parts: Mapping[str, Any]) -> str:
    """Return components as the YAML of a run, with the defaults of their classes."""
    given = Parser()
    names = given.add_function_arguments(assemble)
    unknown = parts.keys() - set(names)
    if unknown:
        raise checks.InputError(f"config must hold {', '.join(names)}, but holds {sorted(unknown)[0]}")
    skip: set[str | int] = {"prior", "likelihood", "posterior"} if parts.get("program") is not None else set()
    parser, options = fill_defaults(assemble, given.parse_object(dict(parts), defaults=False), skip=skip)
    text: str = parser.dump(Namespace(**vars(options)))
    return text


def _remade_data(text: str) -> DataSet:
    chosen = components_of({"data": yaml.safe_load(text)["data"]}, set())
    return checks.make("data", chosen["data"], DataSet, like="Digits")


def _check_program(program: nn.Module, text: str, data: DataSet) -> None:
    """Check that the program that is made from the configuration is the same, by a run of both on a few data."""
    chosen = components_of(yaml.safe_load(text), {"data"})
    again: nn.Module = program_for(data, **chosen)
    own, other = program.state_dict(), again.state_dict()
    for name in sorted(own.keys() | other.keys()):
        described = [_described(state.get(name)) for state in (own, other)]
        if described[0] != described[1]:
            raise checks.InputError(
                f"program must be the same when it is made again from its class, but {name} has {described[0]}, and "
                f"would have {described[1]}"
            )
    again.load_state_dict(own)
    again.to(data.test.device)
    first, second = (_log_weight(made, data) for made in (program, again))
    if not torch.allclose(first, second, rtol=1e-4, atol=1e-4, equal_nan=True):
        raise checks.InputError(
            "program must be the same when it is made again from its class, but log p(x, z) - log q(z|x) of the first "
            f"data is {first.item():.6g}, and would be {second.item():.6g}: an attribute was changed after it was made"
        )


def _described(tensor: Tensor | None) -> str:
    return "no value" if tensor is None else f"shape {tuple(tensor.shape)} and type {tensor.dtype}"


def _log_weight(program: Any, data: DataSet) -> Tensor:
    """Return log p(x, z) - log q(z|x) of one sample for a few data."""
    model: Callable[..., Any] = program.model
    batch = first_data(program, data.test, 3)
    arguments, guide = arguments_of(batch, model, program.guide), program.guide
    if has_missing(arguments[0]):
        model, guide = allow_missing(model, guide)
    with forked_rng(arguments[0].device), private_modules(), evaluating(model, program.guide):
        torch.manual_seed(0)
        guided = trace(guide, arguments)
        traced = trace(partial(poutine.replay, trace=guided)(model), arguments)
        _check_parameters(program, [guided, traced])
        return torch.as_tensor(traced.log_prob_sum() - guided.log_prob_sum()).double()


def _check_parameters(program: nn.Module, traces: list[Any]) -> None:
    """Check that all parameters are the module's: those of ``pyro.param`` alone would be lost."""
    own = {id(parameter) for parameter in program.parameters()}
    for name, site in (item for found in traces for item in found.nodes.items()):
        if site["type"] == "param" and id(site["value"]) not in own:
            raise checks.InputError(
                f"program must hold its parameters in modules to be saved, but {name} is one of pyro.param alone"
            )
