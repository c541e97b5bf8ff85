"""Sphinx's configuration; build with ``sphinx-build -W -b html docs docs/_build/html``."""

import sys
from importlib.metadata import version as version_of
from importlib.resources import files
from pathlib import Path

from sphinx.application import Sphinx

project = "pyrovae"
author = "the pyrovae authors"
project_copyright = "the pyrovae authors"
version = release = version_of("pyrovae")
language = "en"

sys.path.insert(0, str(Path(__file__).parent))  # for the extensions in this folder
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
extensions += ["alternative_text", "dark_figures", "notebook_downloads"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
default_role = "code"

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

nb_execution_mode = "auto"  # notebooks are kept without results, so that each build runs each of them once
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # seconds a cell
nb_output_stderr = "remove"  # progress bars
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
add_module_names = False
toc_object_entries_show_parents = "hide"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# MathJax from a package instead of a content delivery network, so that formulas are shown without a network. This one
# file contains its fonts, as paths.
mathjax_path = "tex-svg.js"
html_static_path = ["_static", str(files("sphinx-mathjax-offline") / "static/mathjax/tex-svg.js")]
html_css_files = ["pages.css", "notebooks.css"]
html_js_files = ["wide_formulas.js"]

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"pyrovae {version}"
html_copy_source = False
html_show_sphinx = False


def setup(app: Sphinx) -> None:
    """Keep napoleon from taking what stands before a colon in a property's docstring for its type."""
    kept: dict[str, list[str]] = {}

    def keep(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
        if what in ("property", "attribute", "data"):
            kept[name] = list(lines)

    def restore(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
        if name in kept:
            lines[:] = kept.pop(name)

    app.connect("autodoc-process-docstring", keep, priority=400)  # napoleon's is 500
    app.connect("autodoc-process-docstring", restore, priority=600)
