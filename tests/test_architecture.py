"""Imports go strictly down the floors, every module has ``__all__``, and files keep to one subject."""

import ast
from pathlib import Path

import pytest

import pyrovae

PACKAGE = Path(pyrovae.__file__).parent

# From the ground up. Homes of one floor do not import each other, but for those that one set holds together.
FLOORS = [
    [{"at_start"}],
    [{"checks"}, {"reprs"}],
    [{"files"}, {"processes"}, {"progress"}, {"tensors"}],
    [{"programs"}],
    [{"networks"}, {"flows"}, {"distributions"}, {"handlers"}, {"data"}, {"optimizers"}, {"parsing"}, {"products"}],
    [{"priors"}, {"likelihoods"}, {"posteriors"}, {"execution"}],
    [{"vae"}, {"objectives", "training"}, {"evaluation"}],
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
    names = [
        node.targets[0].id for node in tree.body if isinstance(node, ast.Assign) and hasattr(node.targets[0], "id")
    ]
    assert "__all__" in names or path.name == "__main__.py"
    assert len(path.read_text().splitlines()) <= 300


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_text_is_read_by_the_locale(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", None))
        opens = name == "open" and getattr(getattr(node.func, "value", None), "id", None) not in ("os", "Image")
        if opens or (isinstance(node.func, ast.Attribute) and name in ("read_text", "write_text", "fdopen")):
            binary = any(isinstance(word, ast.Constant) and "b" in str(word.value) for word in node.args)
            assert binary or "encoding" in {word.arg for word in node.keywords}, f"line {node.lineno}"


def test_the_package_only_lists_names():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    assert all(isinstance(node, ast.ImportFrom | ast.Expr | ast.Assign) for node in tree.body)
    assert all(hasattr(pyrovae, name) for name in pyrovae.__all__)
