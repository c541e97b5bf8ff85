"""Export of a run: files of its encoder and decoder, and a description of their inputs and outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pyrovae import checks, progress
from pyrovae.data import DataSet
from pyrovae.export.formats import TOLERANCE, Exported, Format, export_module
from pyrovae.export.modules import Decoder, Encoder
from pyrovae.files import atomic_write, path_of
from pyrovae.prediction import simulate
from pyrovae.programs import Arguments, arguments_of, mode, private_modules
from pyrovae.runs import DataRecord, Run

__all__ = ["ExportedFiles", "export_run", "pixel_values"]

_BATCHES = (3, 1, 7)  # batch sizes of the comparison; the first is recorded
_ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}


_Batches: TypeAlias = list[tuple[Tensor, ...]]


@dataclass(frozen=True)
class ExportedFiles:
    """Paths of the exported files, and their differences from PyTorch.

    Attributes:
        encoder: path of the encoder.
        decoder: path of the decoder.
        description: path of the JSON file that describes both.
        differences: largest difference to PyTorch, by ``encoder`` and ``decoder``.
    """

    encoder: Path
    decoder: Path
    description: Path
    differences: dict[str, float]


def export_run(folder: str | Path, format: Format = "onnx", out: str | Path | None = None) -> ExportedFiles:
    """Write a run's encoder and decoder as files that need neither pyrovae nor Pyro.

    Both accept any number of data. Each is compared with PyTorch on simulated data and codes before anything is
    written. A JSON file beside them describes their inputs and outputs.

    Args:
        folder: the run's folder.
        format: ``onnx``, or ``torch`` for the format of torch.export.
        out: folder of the files, by default ``export`` in the run's folder.

    Raises:
        ValueError: if the folder holds no run, a module cannot be recorded, or packages of the format are missing.
    """
    checks.choice("format", format, tuple(_ENDINGS))
    run = Run(folder)
    target = run.folder / "export" if out is None else path_of("out", out)
    program, data = run.load_program(), run.describe_data()
    with torch.random.fork_rng(devices=[]), mode(program.model, program.guide, training=False):
        torch.manual_seed(0)  # seed of the data and codes of the comparison
        latents, simulated = simulate(program.model, max(_BATCHES), data.template(program))
        encoder, seen = _encoder(program, simulated)
        decoder, codes = _decoder(program, data, latents, list(simulated[1:]))
        modules: list[tuple[str, Encoder | Decoder, _Batches]] = [
            ("encoder", encoder, seen),
            ("decoder", decoder, codes),
        ]
        made = {
            name: _made(name, module, batches, format)
            for name, module, batches in progress.over(modules, "export", "file")
        }
    paths = {name: target / f"{name}{_ENDINGS[format]}" for name in made}
    description = {
        "pyrovae": version("pyrovae"),
        "torch": torch.__version__,
        "format": format,
        "run": run.folder.resolve().name,
        "program": type(program).__name__,
        "data": {"class": data.name, "shape": list(data.data_shape), "values": pixel_values(data)},
        "encoder": _described(paths["encoder"], encoder, made["encoder"], encoder.families),
        "decoder": _described(paths["decoder"], decoder, made["decoder"], {"x": decoder.family}),
        "tolerance": TOLERANCE,
        "compared_on_batches_of": sorted(_BATCHES),
    }
    for name, path in paths.items():
        with atomic_write(path) as file:
            file.write(made[name].content)
    with atomic_write(target / f"{format}.json") as file:
        file.write(json.dumps(description, indent=2).encode())
    differences = {name: exported.difference for name, exported in made.items()}
    return ExportedFiles(paths["encoder"], paths["decoder"], target / f"{format}.json", differences)


def pixel_values(data: DataSet | DataRecord) -> str:
    """Describe how the encoder's input is computed from stored data.

    Args:
        data: data that the program was trained on.

    Example:
        >>> from pyrovae import Digits
        >>> pixel_values(Digits())
        '1 with probability v / 16, else 0, for grey levels v from 0 to 16'
    """
    grey = "grey values v from 0 to 1" if data.levels is None else f"grey levels v from 0 to {data.levels - 1}"
    share = "v" if data.levels is None else f"v / {data.levels - 1}"
    if data.binarization == "threshold":
        return f"1 where {share} >= 1/2, else 0, for {grey}"
    if data.binarization != "none":
        return f"1 with probability {share}, else 0, for {grey}"
    if data.dequantize:
        return f"(v + u) / {data.levels} for {grey} and u drawn evenly from 0 to 1"
    return "as stored" if data.levels is None else f"{share} for {grey}"


def _encoder(program: Any, simulated: Arguments) -> tuple[Encoder, _Batches]:
    arguments = arguments_of(simulated, program.guide)
    index = [torch.arange(count) % len(arguments[0]) for count in _BATCHES]
    batches = [tuple(part[i] for part in arguments) for i in index]
    with private_modules(), torch.no_grad():
        return Encoder(program, batches[0]), batches


def _decoder(
    program: Any, data: DataRecord, latents: dict[str, Tensor], labels: list[Tensor]
) -> tuple[Decoder, _Batches]:
    with private_modules():
        decoder = Decoder(program, latents, data.data_shape, *labels)
    codes = [latents[name] for name in decoder.sites] + labels
    return decoder, [tuple(part[:count] for part in codes) for count in _BATCHES]


def _made(name: str, module: Encoder | Decoder, batches: _Batches, format: Format) -> Exported:
    try:
        return export_module(module, batches, module.inputs, module.outputs, format)
    except checks.InputError as error:
        raise checks.InputError(f"the {name} cannot be exported: {error}") from error


def _described(path: Path, module: Encoder | Decoder, made: Exported, families: dict[str, str]) -> dict[str, Any]:
    def tensors(names: list[str], meaning: Callable[[str], str]) -> list[dict[str, Any]]:
        return [
            {"name": name, "shape": made.shapes[name], "type": made.types[name], "meaning": meaning(name)}
            for name in names
        ]

    outputs = "mean of p(x|z)" if isinstance(module, Decoder) else None
    return {
        "file": path.name,
        "inputs": tensors(
            module.inputs, lambda name: _INPUTS.get((type(module), name), f"code of the latent site {name}")
        ),
        "outputs": tensors(module.outputs, lambda name: outputs or _OUTPUTS.get(name.rpartition("_")[2], "parameter")),
        "distributions": families,
        "largest_difference": made.difference,
    }


_INPUTS: dict[tuple[type, str], str] = {
    (Encoder, "x"): "data, as values says",
    (Encoder, "y"): "classes, counted from 0",
}
_OUTPUTS = {
    "mean": "mean of the site's q; of directions, the mean direction",
    "std": "standard deviation of each component",
    "concentration": "how close directions lie to the mean direction; 0 is not at all",
    "center": "the base's mean, mapped by the flows: near q's mean, which has no formula",
    "probs": "probability of each value; later sites are given the most probable one",
    "tril": "Cholesky factor L of the covariance L L'",
    "logits": "logarithms of the components' weights, up to a constant",
}
