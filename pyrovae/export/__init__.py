"""Export of a program's encoder and decoder as ONNX or torch.export files."""

from pyrovae.export.folder import ExportedFiles, export_run, pixel_values
from pyrovae.export.formats import TOLERANCE, Exported, Format, export_module
from pyrovae.export.modules import Decoder, Encoder

__all__ = [
    "TOLERANCE",
    "Decoder",
    "Encoder",
    "Exported",
    "ExportedFiles",
    "Format",
    "export_module",
    "export_run",
    "pixel_values",
]
