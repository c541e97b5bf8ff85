"""What the documentation says runs: its Python, its commands, its lists of names and options."""

import importlib
import inspect
import linecache
import pkgutil
import re
import shlex
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch

import pyrovae
from pyrovae.cli import commands, main
from pyrovae.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What a page's commands and examples leave behind, relative to the folder in which they run.
LEFT_BEHIND = {
    "README.md": [
        "digits.png",
        "runs/digits/report.html",
        "runs/digits/evaluation/test-importance-200.json",
        "runs/digits-mixture/weights.safetensors",
    ],
    "command_line.md": [
        "runs/nested/weights.safetensors",
        "runs/second/metrics.csv",
        "runs/deep-mixture/evaluation/test-importance-50-first20.json",
    ],
    "likelihood.md": [
        "runs/eight/evaluation/test-annealed-16-T50-first60.nc",
        "runs/eight/evaluation/test-adaptive-first60.safetensors",
        "runs/account/diagnosis/test.json",
        "runs/comparison/comparison.png",
        "runs/uneven/comparison.csv",
    ],
    "data.md": ["images.png", "runs/few/metrics.csv"],
    "swap.md": [
        "runs/refit/evaluation/test-importance-50-first20.json",
        "runs/prose/weights.safetensors",
        "runs/few-labels/weights.safetensors",
        "runs/colour/weights.safetensors",
        "autoencoder.png",
    ],
    "runs.md": ["runs/small/evaluation/test-importance-100-first50.json", "runs/straight/checkpoint/state.pt"],
    "extending.md": [
        "runs/heavy/evaluation/test-importance-50-first20.json",
        "runs/lighter/weights.safetensors",
        "runs/clusters/evaluation/test-importance-50-first20.json",
    ],
}
BLOCK = re.compile(r"^```(python|bash|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """Run in an empty folder whose modules can be imported, on one thread, and forget those modules."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before, threads = set(sys.modules), torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.slow
@pytest.mark.usefixtures("short_checks")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_example_of_the_page_runs(page, in_folder):
    text = page.read_text()
    namespace = {"__name__": f"examples_of_{page.stem}"}
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        if block[1] == "python":
            run_python(block[2], namespace, page, line)
        else:
            run_commands(block[2], page, line)
    for path in LEFT_BEHIND.get(page.name, []):
        assert (in_folder / path).stat().st_size > 0, f"{page.name} leaves no {path}"


def run_python(code, namespace, page, line):
    named = re.match(r"# (\w+\.py)\n", code)
    if named:  # the page says that the block is saved under this name
        Path(named[1]).write_text(code)
    source = "\n" * line + code
    linecache.cache[str(page)] = (len(source), None, page.read_text().splitlines(keepends=True), str(page))
    exec(compile(source, str(page), "exec"), namespace)


def run_commands(lines, page, line):
    ours = commands_of(lines)
    assert ours, f"{page.name}:{line} has no pyrovae command"
    for arguments in ours:
        try:
            status = main(arguments)
        except SystemExit as stop:  # of --help
            status = stop.code
        assert status == 0, f"{page.name}:{line}: pyrovae {shlex.join(arguments)} ended with {status}"


def commands_of(lines):
    """Split a shell block into the arguments of each of its calls of pyrovae."""
    found = []
    for line in lines.replace("\\\n", " ").splitlines():
        call = re.match(r"\s*(?:\$ )?(?:python -m )?pyrovae (.*)", line)
        if call:
            found.append(shlex.split(call[1], comments=True))
    return found


def test_a_failing_example_fails(in_folder):
    page = PAGES[0]
    with pytest.raises(AssertionError):
        run_python("assert 1 + 1 == 3", {}, page, 1)
    with pytest.raises(AssertionError, match="ended with 2"):
        run_commands("$ pyrovae evaluate runs/none-such\n", page, 1)
    with pytest.raises(UserWarning):
        run_python("import warnings\nwarnings.warn('an example must be clean')", {}, page, 1)


def test_shell_blocks_are_read_as_a_shell_reads_them():
    lines = 'cd x\n$ pyrovae train --a "[1, 2]" \\\n    --b c  # why\npython -m pyrovae report r\n'
    assert commands_of(lines) == [["train", "--a", "[1, 2]", "--b", "c"], ["report", "r"]]


def test_the_start_page_shows_commands_that_the_readme_runs():
    run = commands_of("".join(block[2] for block in BLOCK.finditer(PAGES[0].read_text()) if block[1] == "bash"))
    shown = commands_of((ROOT / "docs" / "index.md").read_text())
    assert [arguments[0] for arguments in shown] == ["train", "evaluate", "report"]
    assert [arguments for arguments in shown if arguments not in run] == []


def test_the_command_line_page_names_every_option():
    page = (ROOT / "docs" / "command_line.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL))
    for name, function in COMMANDS.items():
        documented = set(re.findall(r"^\| `(?:--)?(\w+)", sections[name], re.MULTILINE))
        options = set(inspect.signature(getattr(commands, function)).parameters)
        folders = {"run", "runs"} - ({"run"} if name == "train" else set())
        positional = {"RUN" if option in folders else "KIND" if option == "kinds" else option for option in options}
        assert documented - {"print_config", "quiet"} == positional | documented & {"config"}, name


def test_links_between_the_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[\w-]+)?\)", page.read_text()):
            if not target.startswith("http") and not target.endswith(".png"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.slow
def test_the_pages_build_without_a_warning_and_the_api_has_every_public_name(tmp_path):
    pytest.importorskip("furo", reason="the pages are built where the docs extra is installed")
    pytest.importorskip("myst_parser")
    # In a process of its own: Sphinx changes the signatures of what it documents.
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", "-d", str(tmp_path / "trees")]
    built = subprocess.run([*command, str(ROOT / "docs"), str(tmp_path)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    *_, compressed = (tmp_path / "objects.inv").read_bytes().split(b"\n", 4)
    documented = {line.split()[0] for line in zlib.decompress(compressed).decode().splitlines() if " py:" in line}
    known = {name.rpartition(".")[2] for name in documented}
    known |= {"Trace_ELBO", "TraceMeanField_ELBO", "TraceEnum_ELBO"}  # Pyro's
    missing = [name for name in public_names() if name.rpartition(".")[2] not in known]
    assert missing == []


def test_the_api_page_lists_what_can_be_imported_from_the_package_itself():
    table = (ROOT / "docs" / "api.md").read_text().partition("Shapes:")[0].partition("| | |")[2]
    assert sorted(re.findall(r"`(\w+)`", table)) == sorted(pyrovae.__all__)


INTERNAL = {"__main__", "arviz_import", "files", "interrupts", "reprs", "tensors"}


def public_names():
    """The names that the folders and modules of the package offer, but for the modules that are internal."""
    for module in pkgutil.iter_modules(pyrovae.__path__):
        if module.name not in INTERNAL:
            yield from (
                f"pyrovae.{module.name}.{name}" for name in importlib.import_module(f"pyrovae.{module.name}").__all__
            )


def test_there_is_a_page_for_each_public_part():
    pages = {path.stem for path in (ROOT / "docs" / "api").glob("*.md")}
    assert pages == {module.name for module in pkgutil.iter_modules(pyrovae.__path__)} - INTERNAL
    listed = re.findall(r"^api/(\w+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(pages)
