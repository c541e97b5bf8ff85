"""``pyrovae export``."""

from __future__ import annotations

from pyrovae.export import TOLERANCE, Format, export_run

__all__ = ["export"]


def export(run: str, format: Format = "onnx", out: str | None = None) -> None:
    """Write a run's encoder and decoder as files that need neither pyrovae nor Pyro.

    Both take any number of data, and are compared with PyTorch before they are written. A third file, onnx.json or
    torch.json, describes their inputs and outputs.

    Args:
        run: the run's folder.
        format: onnx, or torch for a program of torch.export.
        out: folder for the files; export in the run's folder if not given.
    """
    written = export_run(run, format, out)
    for half, path in (("encoder", written.encoder), ("decoder", written.decoder)):
        print(
            f"{half} written to {path}: its largest difference to PyTorch is {written.differences[half]:.1e} "
            f"(allowed: {TOLERANCE:g})"
        )
    print(f"what they take and give is in {written.description}")
