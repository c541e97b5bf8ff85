"""What is stated about versions is what ran, and what is published is whole."""

import re
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from script_modules import module_of

import pyrovae

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def matrix(monkeypatch):
    return module_of("versions/matrix", monkeypatch)


def row(matrix, python, **changes):
    versions = {"Python": python, **dict.fromkeys(matrix.PACKAGES, "1.0")}
    return {
        "versions": versions,
        "passed": 3,
        "failed": 0,
        "skipped": 1,
        "tests": "all",
        "date": "2026-11-30",
        **changes,
    }


def test_the_last_line_of_pytest_is_counted(matrix):
    assert matrix.counted("2 failed, 30 passed, 1 skipped, 4 errors in 3.20s (0:00:03)") == {
        "passed": 30,
        "failed": 6,
        "skipped": 1,
    }
    with pytest.raises(SystemExit, match="did not end with its counts, but with: Killed"):
        matrix.counted("Killed")


def test_a_repeated_run_replaces_its_row(matrix, tmp_path, monkeypatch):
    page = tmp_path / "versions.md"
    page.write_text("Before.\n<!-- made by scripts/versions/matrix.py -->\nold\n<!-- end -->\nAfter.\n")
    monkeypatch.setattr(matrix, "PAGE", page)
    monkeypatch.setattr(matrix, "ROWS", tmp_path / "versions.json")
    for added in (
        row(matrix, "3.13.1"),
        row(matrix, "3.9.2"),
        row(matrix, "3.13.1", failed=2),
        row(matrix, "3.13.1", tests="some"),
    ):
        matrix.write([added])
    text = page.read_text()
    assert text.startswith("Before.\n")
    assert text.endswith("<!-- end -->\nAfter.\n")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    head, _, *rows = lines
    assert [line[0] for line in rows] == ["3.9.2", "3.13.1", "3.13.1"]
    assert sorted(line[head.index("failed")] for line in rows[1:]) == ["0", "2"]


def test_the_page_is_the_table_of_what_ran_and_the_classifiers_are_of_it(matrix):
    rows = yaml.safe_load((ROOT / "docs" / "versions.json").read_text())
    assert matrix.table(rows) in (ROOT / "docs" / "versions.md").read_text()
    ran = {".".join(line["versions"]["Python"].split(".")[:2]) for line in rows if line["failed"] == 0}
    stated = {found[1] for line in PROJECT["classifiers"] if (found := re.search(r":: Python :: (3\.\d+)$", line))}
    assert stated
    assert stated <= ran


def test_one_version_is_told_everywhere():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {pyrovae.__version__, version("pyrovae"), PROJECT["version"], cited["version"]} == {PROJECT["version"]}


def test_an_archive_without_a_template_is_not_published(tmp_path, monkeypatch):
    check_distribution = module_of("versions/check_distribution", monkeypatch)
    whole = {
        *check_distribution.NEEDED,
        *(path.relative_to(ROOT).as_posix() for path in (ROOT / "pyrovae").rglob("*.py")),
    }
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        for name in sorted(whole - {"pyrovae/report/templates/report.js"}):
            archive.writestr(name, "")
    with pytest.raises(SystemExit, match=r"a\.whl lacks pyrovae/report/templates/report\.js"):
        check_distribution.check_contents(tmp_path / "a.whl", tmp_path / "a.whl")


def test_actions_are_pinned_to_a_commit_with_its_version_beside_it():
    """A tag can be moved to other code; Dependabot reads the comment."""
    used = [
        line.strip().removeprefix("- ")
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in path.read_text().splitlines()
        if line.strip().removeprefix("- ").startswith("uses:")
    ]
    assert used
    assert [line for line in used if not re.fullmatch(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []
