"""Check what is published: build it, look into it, install the wheel, and run the fast tests from another folder.

    python scripts/versions/check_distribution.py --python .venv/bin/python

makes dist/ anew. The tests run in a new environment with everything that they need, unless --packages names the
site-packages of another one, whose packages then serve, except pyrovae. What stands after -- are arguments of pytest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEEDED = ("pyrovae/py.typed", "pyrovae/report/templates/report.html", "pyrovae/report/templates/report.js")


def main() -> int:
    arguments, pytest = sys.argv[1:], ["tests", "-m", "not slow"]
    if "--" in arguments:
        at = arguments.index("--")
        arguments, pytest = arguments[:at], arguments[at + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has build and twine")
    parser.add_argument("--packages", type=Path, help="site-packages to use in place of installing what the tests need")
    options = parser.parse_args(arguments)
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    subprocess.run([options.python, "-m", "build", "--outdir", dist, ROOT], check=True)
    subprocess.run([options.python, "-m", "twine", "check", "--strict", *dist.iterdir()], check=True)
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    check_contents(wheel, source)
    with tempfile.TemporaryDirectory() as elsewhere:
        python = Path(elsewhere) / "environment" / "bin" / "python"
        subprocess.run([options.python, "-m", "venv", python.parents[1]], check=True)
        install = [python, "-m", "pip", "install", "-q"]
        if options.packages is None:
            subprocess.run([*install, f"{wheel}[dev,docs]"], check=True)
        else:
            subprocess.run([*install, "--no-deps", wheel], check=True)
            (own,) = python.parents[1].glob("lib/python*/site-packages")
            (own / "others.pth").write_text(f"{options.packages.resolve()}\n")
        where = [python, "-c", "import pyrovae; print(pyrovae.__file__)"]
        found = subprocess.run(where, cwd=elsewhere, check=True, capture_output=True, text=True).stdout.strip()
        if not Path(found).is_relative_to(elsewhere):
            raise SystemExit(f"the tests must import the wheel that was installed, but import {found}")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        names = [str(ROOT / word) if (ROOT / word.partition("::")[0]).exists() else word for word in pytest]
        command = [python, "-m", "pytest", "-q", "-c", ROOT / "pyproject.toml", "--rootdir", ROOT, *names]
        return subprocess.run(command, cwd=elsewhere, env=environment).returncode


def check_contents(wheel: Path, source: Path) -> None:
    """Stop if a file that is no module is missing from either archive."""
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "pyrovae").rglob("*.py")}
    for path in (wheel, source):
        missing = sorted({*NEEDED, *modules} - contents(path))
        if missing:
            raise SystemExit(f"{path.name} lacks {', '.join(missing)}")


def contents(path: Path) -> set[str]:
    """Return the names of the files in a wheel or a source archive."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return set(archive.namelist())
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


if __name__ == "__main__":
    sys.exit(main())
