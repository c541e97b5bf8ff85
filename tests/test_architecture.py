"""Imports go strictly down the floors, the picture shows them, and every module has a docstring and ``__all__``."""

import ast
import importlib.util
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import pyrovae

PACKAGE = Path(pyrovae.__file__).parent
ROOT = Path(__file__).parent.parent
_SPEC = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "architecture.py")
architecture = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(architecture)
architecture.PACKAGE = PACKAGE  # an installed wheel is elsewhere

# From the ground up. Homes of one floor do not import each other, but for those that one set holds together.
FLOORS = [
    [{"interrupts"}],
    [{"checks"}, {"reprs"}, {"html"}],
    [
        {"construction"},
        {"files"},
        {"distributed"},
        {"progress"},
        {"tensors"},
        {"missing"},
        {"columns"},
        {"rng"},
        {"arviz_import"},
        {"vector_constants"},
    ],
    [{"programs"}, {"linear_kernels"}],
    [{"networks"}, {"flows"}, {"distributions"}, {"handlers"}, {"data"}, {"optimizers"}, {"parsing"}, {"matmul"}],
    [{"priors"}, {"likelihoods"}, {"posteriors"}],
    [{"execution"}],
    [{"vae"}],
    [{"objectives"}, {"prediction"}],
    [{"evaluation"}, {"compilation"}],
    [{"training"}, {"codec"}],
    [{"figures"}, {"sklearn"}, {"tracking"}],
    [{"runs"}],
    [{"report"}, {"export"}, {"explore"}, {"sweeps"}],
    [{"sharing"}],
    [{"cli"}],
    [{"__main__"}],
]
HEIGHT = {home: height for height, floor in enumerate(FLOORS) for group in floor for home in group}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    own = architecture.part_of(path)
    group = next(group for floor in FLOORS for group in floor if own in group)
    for other in architecture.imported_parts(path):
        assert other in HEIGHT, f"{path.name} imports {other}, which has no floor"
        assert HEIGHT[other] < HEIGHT[own] or other in group, f"{own} must not import {other}"


def test_the_picture_and_the_table_are_up_to_date():
    """``python docs/architecture.py`` makes both."""
    docs = ROOT / "docs"
    assert (docs / "images" / "architecture.svg").read_text() == architecture.picture()
    page = (docs / "architecture.md").read_text()
    assert page == architecture.with_table(page)


def test_the_picture_has_no_line_that_goes_up():
    levels = architecture.levels_of(architecture.import_graph())
    assert {part for level in levels for part in level} == {*HEIGHT} - {"__main__"}
    level = {part: height for height, parts in enumerate(levels) for part in parts}
    assert all(level[above] > level[below] for above, below in architecture.direct_imports(architecture.import_graph()))


def test_every_file_that_the_page_names_exists():
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"([\w/]+\.py)`", text)
    assert len(named) > 40
    missing = [name for name in named if not any((folder / name).exists() for folder in (ROOT, PACKAGE))]
    assert missing == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_offers(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    targets = [node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None) for node in tree.body]
    assert "__all__" in [getattr(target, "id", None) for target in targets] or path.name == "__main__.py"


def test_the_package_only_lists_names():
    """What a type checker is told to import is what the first use of a name imports, and nothing is defined beside."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    typed, _ = (node for node in tree.body if isinstance(node, ast.If))
    named = {alias.name: node.module for node in typed.body for alias in node.names}
    assert sorted(named) == sorted(pyrovae.__all__)
    for name, module in named.items():
        assert getattr(pyrovae, name) is getattr(import_module(module), name)
    others = [node for node in tree.body if not isinstance(node, ast.ImportFrom | ast.Expr | ast.Assign | ast.If)]
    assert [node.name for node in others] == ["__dir__"]


@pytest.mark.slow
def test_the_names_are_there_before_they_are_used():
    code = "import pyrovae; print({*dir(pyrovae)} >= {*pyrovae.__all__}, pyrovae.evaluation.__name__)"
    code += "; from pyrovae import *; print(VAE.__name__, hasattr(pyrovae, 'NoSuch'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "pyrovae.evaluation", "VAE", "False"]
