"""Records of what the benchmarks measured: a JSON file for each script, with settings, machine and raw figures."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pyrovae.files import write_text

__all__ = ["FOLDER", "PACKAGES", "command", "keep", "machine", "read", "versions"]

FOLDER = "docs/performance"
PACKAGES = ("torch", "pyro-ppl", "numpyro", "jax", "pythae")
_LIMITS = ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")


def keep(folder: str, name: str, settings: dict[str, Any], results: dict[str, Any]) -> None:
    """Write a record into ``name.json``; it replaces one of the same settings from the same machine."""
    of_now = {"settings": settings, "machine": machine()}
    others = [old for old in read(folder, name) if any(old[key] != value for key, value in of_now.items())]
    head = {"command": command(sys.argv), "date": time.strftime("%Y-%m-%d"), "versions": versions()}
    records = [*others, head | of_now | {"results": results}]
    write_text(Path(folder, f"{name}.json"), json.dumps({"records": records}, indent=1, allow_nan=False) + "\n")


def read(folder: str, name: str) -> list[dict[str, Any]]:
    """Read the records of ``name.json``; there are none if the file does not exist."""
    path = Path(folder, f"{name}.json")
    return list(json.loads(path.read_text(encoding="utf-8"))["records"]) if path.exists() else []


def machine() -> dict[str, Any]:
    """Return the processor with its sets of vector instructions, the number of cores, and what limits the sets.

    The limits are the environment variables by which torch, MKL, oneDNN and XLA are held to fewer instructions.
    """
    info: dict[str, str] = {}
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        info = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = info.get("model name") or platform.processor() or platform.machine()
    if "cpu family" in info:
        name += f", family {info['cpu family']}, model {info['model']}"
    flags = sorted(flag for flag in info.get("flags", "").split() if flag.startswith(("avx2", "avx512", "avx_", "amx")))
    given = {variable: os.environ[variable] for variable in _LIMITS if variable in os.environ}
    isa = [word for word in os.environ.get("XLA_FLAGS", "").split() if word.startswith("--xla_cpu_max_isa")]
    limits = given | ({"XLA_FLAGS": isa[-1]} if isa else {})
    return {"processor": name, "flags": flags, "cores": os.cpu_count(), "limits": limits}


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that are compared; None of one that is not installed."""
    return {"Python": platform.python_version()} | {package: _installed(package) for package in PACKAGES}


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def command(words: list[str]) -> str:
    """Return the command line of a script, without the folders of this machine."""
    kept, rest = ["python", f"scripts/benchmarks/{Path(words[0]).name}"], iter(words[1:])
    for word in rest:
        if word == "--root":
            kept += [word, "DIR"]
            next(rest, None)
        elif word == "--out":
            next(rest, None)
        elif word.startswith("--root="):
            kept.append("--root=DIR")
        elif not word.startswith("--out="):
            kept.append(word)
    return shlex.join(kept)
