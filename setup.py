"""Build the package with a description whose links also work where the README is shown without its files."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup


def describe(readme: str, source: str | None) -> str:
    """Return the README with links to the source's address, or without links where there is none."""
    if source is None:
        readme = re.sub(r"^!\[.*\n\n\*(.*\n)+?\n", "", readme, flags=re.MULTILINE)  # the picture with its caption
        readme = re.sub(r"^\[\w+\]: .*\n", "", readme, flags=re.MULTILINE)
        return re.sub(r"\[([^\]]+)\]\[\w+\]", r"\1", readme)
    readme = re.sub(r"(!\[.*?\]\()(docs/)", rf"\1{source}/raw/main/\2", readme)
    return re.sub(r"^(\[\w+\]: )", rf"\1{source}/blob/main/", readme, flags=re.MULTILINE)


if __name__ == "__main__":
    root = Path(__file__).parent
    address = re.search(r'^(?:Source|Repository) = "(.+?)/?"', (root / "pyproject.toml").read_text(), re.MULTILINE)
    setup(
        long_description=describe((root / "README.md").read_text(), address and address[1]),
        long_description_content_type="text/markdown",
    )
