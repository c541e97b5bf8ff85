"""Run the tests with several versions of Python and packages, and write the table of docs/versions.md.

    python scripts/versions/matrix.py --python python3.11 python3.13 --oldest python3.11

makes a virtual environment for each, installs the package with what its tests need, runs the tests, and adds a row for
each. An environment is deleted afterwards unless --keep is given: it has some 6 GB, most of them CUDA's. --existing
PYTHON runs the tests in an environment that is there. What stands after -- are arguments of pytest, such as -n 4; by
default, all tests are run, and by --fast those that are not marked slow.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "versions.md"
ROWS = ROOT / "docs" / "versions.json"
EXTRAS = ".[dev,docs]"
PACKAGES = ("torch", "pyro-ppl", "numpy", "pandas", "arviz", "xarray", "scikit-learn")
_MARKS = "<!-- made by scripts/versions/matrix.py -->", "<!-- end -->"
_VERSIONS = (
    "import json, platform; from importlib.metadata import version; "
    f"print(json.dumps(dict(Python=platform.python_version(), **{{name: version(name) for name in {PACKAGES!r}}})))"
)


def main() -> int:
    arguments, pytest = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, pytest = arguments[:at], arguments[at + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="*", default=[], help="interpreters to test with the newest packages")
    parser.add_argument("--oldest", nargs="*", default=[], help="interpreters to test with oldest.txt")
    parser.add_argument("--existing", nargs="*", default=[], help="interpreters of environments that are ready")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "versions", help="for the environments")
    parser.add_argument("--fast", action="store_true", help='leave out the tests marked slow; the table says "fast"')
    parser.add_argument("--tests", help="what the table calls the tests, where the arguments of pytest choose others")
    parser.add_argument("--keep", action="store_true", help="keep the environments")
    options = parser.parse_args(arguments)
    tests = options.tests or ("fast" if options.fast else "all")
    pytest = ["-m", "not slow", *pytest] if options.fast else pytest
    wanted = [(name, []) for name in options.python]
    wanted += [(name, ["-c", str(Path(__file__).with_name("oldest.txt"))]) for name in options.oldest]
    rows = []
    for number, (python, constraints) in enumerate(wanted):
        environment = options.folder / f"{number}-{Path(python).name}"
        subprocess.run([python, "-m", "venv", environment], check=True)
        own = str(environment / "bin" / "python")
        subprocess.run([own, "-m", "pip", "install", "-q", *constraints, "-e", EXTRAS], cwd=ROOT, check=True)
        rows.append(tested(own, pytest, tests))
        write([rows[-1]])  # at once: the next one may take an hour
        if not options.keep:
            shutil.rmtree(environment)
    for python in options.existing:
        rows.append(tested(python, pytest, tests))
        write([rows[-1]])
    return int(any(row["failed"] for row in rows))


def tested(python: str, arguments: list[str], tests: str) -> dict[str, object]:
    """Run the tests with an interpreter, and return its versions and their counts."""
    versions = json.loads(subprocess.run([python, "-c", _VERSIONS], check=True, capture_output=True, text=True).stdout)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [python, "-m", "pytest", "-q", *arguments]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as running:
        last = ""
        for line in running.stdout or ():
            print(line, end="", flush=True)
            last = line.strip() or last
    return {"versions": versions, **counted(last), "tests": tests, "date": datetime.date.today().isoformat()}


def counted(line: str) -> dict[str, int]:
    """Return the numbers of the last line of pytest.

    >>> counted("2 failed, 30 passed, 1 skipped, 1 error in 3.2s")
    {'passed': 30, 'failed': 3, 'skipped': 1}
    """
    found = {name: int(number) for number, name in re.findall(r"(\d+) (passed|failed|skipped|error)s?\b", line)}
    if not found:
        raise SystemExit(f"pytest did not end with its counts, but with: {line}")
    failed = found.get("failed", 0) + found.get("error", 0)
    return {"passed": found.get("passed", 0), "failed": failed, "skipped": found.get("skipped", 0)}


def write(rows: list[dict[str, object]]) -> None:
    """Replace the rows of the same versions and tests, and write the table anew."""
    known = json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.exists() else []
    same = [(row["versions"], row["tests"]) for row in rows]
    known = [row for row in known if (row["versions"], row["tests"]) not in same] + rows
    known.sort(key=lambda row: [int(part) for part in re.findall(r"\d+", row["versions"]["Python"])])
    ROWS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_MARKS[0])
    PAGE.write_text("\n".join([before + _MARKS[0], table(known), _MARKS[1] + rest.partition(_MARKS[1])[2]]), "utf-8")


def table(rows: list[dict]) -> str:
    """Return rows as a Markdown table."""
    head = ["Python", *PACKAGES, "tests", "passed", "failed", "skipped", "date"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        versions = [row["versions"][name] for name in ("Python", *PACKAGES)]
        lines.append([*versions, *(str(row[name]) for name in ("tests", "passed", "failed", "skipped", "date"))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
