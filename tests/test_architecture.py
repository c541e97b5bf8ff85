"""Imports go strictly down the floors, and every module has a docstring and ``__all__``."""

import ast
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
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    assert all(isinstance(node, ast.ImportFrom | ast.Expr | ast.Assign) for node in tree.body)
    assert all(hasattr(pyrovae, name) for name in pyrovae.__all__)
