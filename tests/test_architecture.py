"""Imports go strictly down the floors, and every module has a docstring and ``__all__``."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import pyrovae

PACKAGE = Path(pyrovae.__file__).parent

# From the ground up. Homes of one floor do not import each other, but for those that one set holds together.
FLOORS = [
    [{"interrupts"}],
    [{"checks"}, {"reprs"}],
    [{"files"}, {"distributed"}, {"progress"}, {"tensors"}, {"rng"}],
    [{"programs"}],
    [{"networks"}, {"flows"}, {"distributions"}, {"handlers"}, {"data"}, {"optimizers"}, {"parsing"}, {"matmul"}],
    [{"priors"}, {"likelihoods"}, {"posteriors"}],
    [{"execution"}],
    [{"vae"}],
    [{"objectives"}, {"prediction"}],
    [{"evaluation"}, {"compilation"}],
    [{"training"}],
    [{"runs"}, {"figures"}],
    [{"report"}, {"export"}, {"explore"}],
    [{"cli"}],
    [{"__main__"}],
]
HEIGHT = {home: height for height, floor in enumerate(FLOORS) for group in floor for home in group}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def home(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_homes(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pyrovae":
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (name.name.split(".")[1] for name in node.names if name.name.startswith("pyrovae."))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    own = home(path)
    group = next(group for floor in FLOORS for group in floor if own in group)
    for other in imported_homes(path):
        assert other in HEIGHT, f"{path.name} imports {other}, which has no floor"
        assert HEIGHT[other] < HEIGHT[own] or other in group, f"{own} must not import {other}"


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
