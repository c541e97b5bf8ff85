"""Sphinx extension: below the title of each notebook, a link to download it.

A line of MyST in the notebook itself would be shown as it is written where the downloaded notebook is opened.
"""

import os
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class NotebookDownload(SphinxTransform):
    """Insert the link into a page that was made from a notebook, as MyST-NB's role ``nb-download`` makes it."""

    default_priority = 100  # before downloads are collected

    def apply(self, **kwargs: Any) -> None:
        """Insert the link."""
        if "mystnb" not in str(self.env.metadata[self.env.docname].get("file_format")):
            return
        name = f"{self.env.docname}.ipynb"
        written = os.path.relpath(Path(self.env.mystnb_config.output_folder, name), self.env.srcdir)  # type: ignore[attr-defined]
        link = download_reference("", reftarget=f"/{Path(written).as_posix()}")
        link += nodes.literal("", Path(name).name, classes=["xref", "download", "myst-nb"])
        title = next(self.document.findall(nodes.title))
        line = nodes.paragraph("", "", link, nodes.Text(" is this page as a Jupyter notebook."))
        title.parent.insert(title.parent.index(title) + 1, line)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_transform(NotebookDownload)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
