"""The documentation holds: its Python and its commands run, its lists of names and options are complete."""

import importlib
import inspect
import io
import json
import linecache
import os
import pkgutil
import re
import runpy
import shlex
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch
from browser import browser
from PIL import Image

import pyrovae
from pyrovae.cli import commands, main
from pyrovae.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.md"))  # run when the pages are built
# What a page's commands and examples leave behind, relative to the folder in which they run.
LEFT_BEHIND = {
    "README.md": ["runs/digits/evaluation/test-importance-500.json"],
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
    "pytorch.md": ["runs/mine/evaluation/test-importance-50-first20.json", "runs/other/weights.safetensors"],
    "runs.md": ["runs/small/evaluation/test-importance-100-first50.json", "runs/straight/checkpoint/state.pt"],
    "extending.md": [
        "runs/heavy/evaluation/test-importance-50-first20.json",
        "runs/lighter/weights.safetensors",
        "runs/clusters/evaluation/test-importance-50-first20.json",
    ],
}
EPOCHS = 5  # of each training of a page, at most
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
def test_every_example_of_the_page_runs(page, in_folder, monkeypatch):
    fit, text = pyrovae.fit, page.read_text()
    monkeypatch.setattr(pyrovae, "fit", lambda *data, epochs=20, **options: fit(*data, epochs=few(epochs), **options))
    namespace = {"__name__": f"examples_of_{page.stem}"}
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        if block[1] == "python":
            run_python(block[2], namespace, page, line)
        else:
            run_commands(block[2], page, line)
    for path in LEFT_BEHIND.get(page.name, []):
        assert (in_folder / path).stat().st_size > 0, f"{page.name} leaves no {path}"


def few(epochs):
    return min(int(epochs), EPOCHS)


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
        if "--epochs" in arguments:
            i = arguments.index("--epochs") + 1
            arguments[i] = str(few(arguments[i]))
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
    assert [arguments[0] for arguments in shown] == ["train", "evaluate"]
    assert [arguments for arguments in shown if arguments not in run] == []


def test_the_command_line_page_names_every_option():
    page = (ROOT / "docs" / "command_line.md").read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL))
    for name, function in COMMANDS.items():
        documented = set(re.findall(r"^\| `(?:--)?(\w+)", sections[name], re.MULTILINE))
        options = set(inspect.signature(getattr(commands, function)).parameters)
        folders = {"run", "runs"} - ({"run"} if name in ("train", "decompress") else set())
        positional = {"RUN" if option in folders else "KIND" if option == "kinds" else option for option in options}
        assert documented - {"print_config", "quiet", "trust"} == positional | documented & {"config"}, name


def test_links_between_the_pages_lead_somewhere():
    for page in [*PAGES, *NOTEBOOKS]:
        text = page.read_text()
        targets = re.findall(r"\]\(([^)#]+?)(?:#[\w-]+)?\)", text) + re.findall(r"^\[\w+\]: (\S+)$", text, re.MULTILINE)
        for target in targets:
            if not target.startswith("http") and not target.endswith(".png"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_figure_has_alternative_text():
    figures = [(page.name, alt) for page in PAGES for alt in re.findall(r"!\[(.*?)\]\(", page.read_text())]
    assert len(figures) > 30
    assert [name for name, alt in figures if len(alt.split()) < 2] == []


# What the notebooks' kernels run before the first cell: each cell runs, but not for as long as in the pages that
# are read.
SHORT = """
import functools


def at_most(function, **limits):
    def limited(*arguments, **options):
        return function(*arguments, **options | {name: min(options[name], limits[name]) for name in limits})
    return limited


def shorten(cell):
    get_ipython().events.unregister("pre_run_cell", shorten)
    import pyrovae
    from pyrovae import evaluation

    pyrovae.fit = at_most(pyrovae.fit, epochs=3)
    pyrovae.Adaptive = functools.partial(pyrovae.Adaptive, max_evaluations=10_000, num_checked=2)
    pyrovae.Annealed = at_most(pyrovae.Annealed, num_temperatures=5)
    pyrovae.diagnose = functools.partial(pyrovae.diagnose, refinement_steps=5)
    evaluation.anomaly_scores = at_most(evaluation.anomaly_scores, refinement_steps=5)


get_ipython().events.register("pre_run_cell", shorten)
"""


def build_pages(source, out, **environment):
    """Build pages in a process of its own: Sphinx changes the signatures of what it documents."""
    pytest.importorskip("furo", reason="the pages are built where the docs extra is installed")
    pytest.importorskip("myst_nb")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", "-d", str(out / "trees")]
    command += ["-c", str(ROOT / "docs"), str(source), str(out)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.mark.slow
def test_a_notebook_that_fails_is_not_built(tmp_path):
    header = re.match(r"---\n.*?---\n", NOTEBOOKS[0].read_text(), re.DOTALL)[0]
    (tmp_path / "index.md").write_text(f"{header}\n# A page\n\n```{{code-cell}}\nassert 1 + 1 == 3\n```\n")
    built = build_pages(tmp_path, tmp_path / "html")
    assert built.returncode != 0
    assert f"ExecutionError: {tmp_path}/index.md" in " ".join(built.stderr.split())


@pytest.mark.slow
def test_a_picture_without_alternative_text_is_not_built(tmp_path):
    """Also one that a notebook draws."""
    header = re.match(r"---\n.*?---\n", NOTEBOOKS[0].read_text(), re.DOTALL)[0]
    cell = "from PIL import Image\nImage.new('L', (30, 20))"
    (tmp_path / "index.md").write_text(f"{header}\n# A page\n\n```{{code-cell}}\n{cell}\n```\n")
    built = build_pages(tmp_path, tmp_path / "html")
    assert built.returncode != 0
    assert "has no alternative text" in built.stderr


@pytest.mark.slow
def test_the_pages_build_without_a_warning_and_the_api_has_every_public_name(tmp_path):
    html = tmp_path / "html"  # the results of notebooks are written beside it
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "short.py").write_text(SHORT)
    built = build_pages(ROOT / "docs", html, IPYTHONDIR=str(tmp_path / "ipython"))
    assert built.returncode == 0, built.stderr
    for notebook in NOTEBOOKS:
        page = (html / "notebooks" / f"{notebook.stem}.html").read_text()
        cells = len(re.findall("^```{code-cell}", notebook.read_text(), re.MULTILINE))
        assert page.count('class="cell_input') == cells, notebook.name
        assert cells == 0 or page.count('class="output') > cells / 2, f"{notebook.name} shows too few results"
        if cells:
            (downloaded,) = (html / "_downloads").glob(f"*/{notebook.stem}.ipynb")
            first = "".join(json.loads(downloaded.read_text())["cells"][0]["source"])
            assert re.match(r"# \w", first), f"{notebook.name} does not begin with its title where it is downloaded"
            assert "{nb-" not in first
    *_, compressed = (html / "objects.inv").read_bytes().split(b"\n", 4)
    documented = {line.split()[0] for line in zlib.decompress(compressed).decode().splitlines() if " py:" in line}
    known = {name.rpartition(".")[2] for name in documented}
    known |= {"Trace_ELBO", "TraceMeanField_ELBO", "TraceEnum_ELBO"}  # Pyro's
    missing = [name for name in public_names() if name.rpartition(".")[2] not in known]
    assert missing == []


def test_the_readme_fits_where_it_is_shown():
    readme = PAGES[0].read_text()
    assert readme.count("\n") <= 90
    with_links, without = describe(readme, "https://example.org/pyrovae"), describe(readme, None)
    assert "![Decoded codes" in with_links
    assert "](https://example.org/pyrovae/raw/main/docs/images/demo.png)" in with_links
    assert "[math]: https://example.org/pyrovae/blob/main/docs/math.md" in with_links
    for text in (with_links, without):
        targets = re.findall(r"\]\((\S+?)\)", text) + re.findall(r"^\[\w+\]: (\S+)$", text, re.MULTILINE)
        assert [target for target in targets if not target.startswith("https://")] == []
    assert "][math]" not in without
    assert "the mathematics" in without


def describe(readme, source):
    return runpy.run_path(str(ROOT / "setup.py"))["describe"](readme, source)


@pytest.mark.slow
def test_formulas_are_shown_without_a_network_and_figures_are_dark_on_a_dark_page(tmp_path):
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    (tmp_path / "curves.png").write_bytes((ROOT / "docs" / "images" / "gallery" / "compression.png").read_bytes())
    formulas = "A sum $x_1 + x_2$ and\n\n$$\n\\int p(x, z)\\,dz .\n$$\n"
    (tmp_path / "index.md").write_text(f"# Formulas\n\n{formulas}\n![Two curves](curves.png)\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", "-c", str(ROOT / "docs"), str(tmp_path)]
    built = subprocess.run([*command, str(tmp_path / "html")], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    wait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
    with browser() as page:
        page.open((tmp_path / "html" / "index.html").as_uri())
        wait(page.driver, 30).until(lambda driver: len(driver.find_elements("css selector", "mjx-container")) == 2)
        drawn = page.driver.execute_script("return document.querySelectorAll('mjx-container svg path').length")
        assert drawn > 8  # a path for each letter
        for scheme in ("light", "dark"):
            page.theme(scheme)
            shown = [
                image for image in page.driver.find_elements("css selector", "article img") if image.is_displayed()
            ]
            assert [image.get_attribute("alt") for image in shown] == ["Two curves"]
            with Image.open(io.BytesIO(shown[0].screenshot_as_png)) as picture:
                paper = picture.convert("L").getpixel((5, 5))
            assert (paper > 200) == (scheme == "light")
        assert page.foreign() == page.errors == []


def test_the_api_page_lists_what_can_be_imported_from_the_package_itself():
    table = (ROOT / "docs" / "api.md").read_text().partition("Shapes:")[0].partition("| | |")[2]
    assert sorted(re.findall(r"`(\w+)`", table)) == sorted(pyrovae.__all__)


INTERNAL = {"__main__", "arviz_import", "construction", "files", "html", "interrupts", "reprs", "tensors"}


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
