"""Sphinx's configuration; build with ``sphinx-build -W -b html docs docs/_build/html``."""

from importlib.metadata import version as version_of

project = "pyrovae"
author = "the pyrovae authors"
project_copyright = "the pyrovae authors"
version = release = version_of("pyrovae")
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
default_role = "code"

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
add_module_names = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"pyrovae {version}"
html_copy_source = False
html_show_sphinx = False
