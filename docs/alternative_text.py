"""A warning for each picture without alternative text, as an extension of Sphinx; ``make docs`` makes it an error."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


def check_pictures(app: Sphinx, tree: nodes.document) -> None:
    """Warn of pictures whose text is missing or is one word, such as a file's name."""
    for node in tree.findall(nodes.image):
        if len(node.get("alt", "").split()) < 2:
            LOGGER.warning("the picture %s has no alternative text", node["uri"], location=node)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the extension."""
    app.connect("doctree-read", check_pictures, priority=390)  # before their dark variants are added
    return {"parallel_read_safe": True}
