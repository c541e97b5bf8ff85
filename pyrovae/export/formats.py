"""Export formats: modules recorded for any number of data as bytes, and compared with PyTorch."""

from __future__ import annotations

import builtins
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import pyro
import torch
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.programs import private_modules

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["TOLERANCE", "Exported", "Format", "export_module"]

Format: TypeAlias = Literal["onnx", "torch"]

TOLERANCE = 1e-5
"""Largest allowed difference to PyTorch; relative for numbers above 1."""


@dataclass(frozen=True)
class Exported:
    """An exported module.

    Attributes:
        content: bytes of the file.
        difference: largest difference to PyTorch that was found, relative for numbers above 1.
        shapes: shapes of inputs and outputs by name, with ``batch`` in place of the number of data.
        types: their types by name, such as ``float32``.
    """

    content: bytes = field(repr=False)
    difference: float
    shapes: dict[str, list[str | int]]
    types: dict[str, str]


def export_module(
    module: nn.Module,
    batches: Sequence[tuple[Tensor, ...]],
    inputs: Sequence[str],
    outputs: Sequence[str],
    format: Format = "onnx",
) -> Exported:
    """Record a module for any number of data, and compare the recording with the module.

    Args:
        module: map from tensors to a tensor or a tuple of tensors, with the data along the first dimension of each.
        batches: inputs of the comparison; the first, of at least two data, is used for the recording.
        inputs: names of the inputs.
        outputs: names of the outputs.
        format: ``onnx``, or ``torch`` for the format of torch.export.

    Raises:
        ValueError: if the module cannot be recorded, or the recording gives other numbers.

    Example:
        >>> batches = [(torch.rand(3, 4),), (torch.rand(1, 4),)]
        >>> exported = export_module(torch.nn.Linear(4, 2), batches, ["x"], ["y"], "torch")
        >>> exported.shapes, exported.difference <= TOLERANCE
        ({'x': ['batch', 4], 'y': ['batch', 2]}, True)
    """
    checks.choice("format", format, ("onnx", "torch"))
    write, read = {"onnx": (_write_onnx, _read_onnx), "torch": (_write_torch, _read_torch)}[format]
    with _quietly(), private_modules(), pyro.validation_enabled(False), torch.no_grad():
        due = [_as_tuple(module(*batch)) for batch in batches]
        try:
            content = write(_recorded(module, batches[0]), inputs, outputs)
            run = read(content)
            found = [run(*batch) for batch in batches]
        except checks.InputError:
            raise
        except Exception as error:  # torch, onnxscript and onnxruntime raise many kinds
            raise checks.InputError(
                f"format must be one that has all that computes {', '.join(outputs)}, but as {format} it cannot be "
                f"recorded for any number of data: {checks.reason(error)}"
            ) from error
    pairs = [pair for there, here in zip(found, due, strict=True) for pair in zip(there, here, strict=True)]
    difference = max(_difference(there, here) for there, here in pairs)
    if not difference <= TOLERANCE:
        raise checks.InputError(
            f"format must be one that gives PyTorch's numbers, but {format} gives others of {', '.join(outputs)}: "
            f"they differ by {difference:.1e}"
        )
    tensors = dict(zip([*inputs, *outputs], [*batches[0], *due[0]], strict=True))
    return Exported(
        content,
        difference,
        {name: ["batch", *tensor.shape[1:]] for name, tensor in tensors.items()},
        {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()},
    )


def _difference(found: Tensor, due: Tensor) -> float:
    if found.shape != due.shape:
        return float("inf")
    found, due = found.double(), due.double()
    return ((found - due).abs() / due.abs().clamp(min=1)).max().item()


def _as_tuple(values: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return values if isinstance(values, tuple) else (values,)


def _recorded(module: nn.Module, arguments: tuple[Tensor, ...]) -> ExportedProgram:
    batch = torch.export.Dim("batch")
    with _symbolic_len():
        recorded = torch.export.export(
            _Flat(module), arguments, dynamic_shapes=(tuple({0: batch} for _ in arguments),), strict=False
        )
    _forget_unused(recorded)
    return recorded


class _Flat(nn.Module):
    """A module with a variable number of tensors as arguments, which torch.export treats as one argument."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        return _as_tuple(self.module(*arguments))


def _forget_unused(recorded: ExportedProgram) -> None:
    """Remove parameters on which no output depends: the decoder's from an encoder, and the other way round."""
    recorded.graph.eliminate_dead_code()
    nodes = {node.name: node for node in recorded.graph.nodes if node.op == "placeholder"}
    kept = []
    for spec in recorded.graph_signature.input_specs:
        node = nodes[spec.arg.name]
        if spec.target is None or node.users:
            kept.append(spec)
        else:
            recorded.graph.erase_node(node)
            recorded.state_dict.pop(spec.target, None)
            recorded.constants.pop(spec.target, None)
    recorded.graph_signature.input_specs[:] = kept
    recorded.graph_module.recompile()


def _write_torch(recorded: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    file = io.BytesIO()
    torch.export.save(recorded, file)
    return file.getvalue()


def _read_torch(content: bytes) -> Callable[..., tuple[Tensor, ...]]:
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda *arguments: _as_tuple(module(*arguments))


def _write_onnx(recorded: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise checks.InputError(
            f"format=onnx needs packages that come with pip install 'pyrovae[onnx]', but {error.name} is missing"
        ) from error
    made = torch.onnx.export(recorded, dynamo=True, verbose=False, input_names=list(inputs), output_names=list(outputs))
    assert made is not None
    return made.model_proto.SerializeToString()


def _read_onnx(content: bytes) -> Callable[..., tuple[Tensor, ...]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # failures are raised as exceptions
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [part.name for part in session.get_inputs()]

    def run(*arguments: Tensor) -> tuple[Tensor, ...]:
        found = session.run(None, {name: part.numpy() for name, part in zip(names, arguments, strict=True)})
        return tuple(torch.from_numpy(part) for part in found)

    return run


@contextmanager
def _symbolic_len() -> Iterator[None]:
    """Make ``len(x)`` of a tensor return the symbolic size in a recording, for any number of data.

    Python's own ``len`` returns a number, and ``pyro.plate("data", len(x))`` would be recorded for that number only.
    """
    number = builtins.len

    def length(thing: Any) -> Any:
        return thing.shape[0] if isinstance(thing, Tensor) else number(thing)

    builtins.len = length
    try:
        yield
    finally:
        builtins.len = number


@contextmanager
def _quietly() -> Iterator[None]:
    """Suppress log messages and warnings of torch and onnxscript."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
