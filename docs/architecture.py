"""Draw the package's parts and their imports, and list them: ``python docs/architecture.py``.

It writes ``images/architecture.svg`` and the table in ``architecture.md``. Both follow from the imports alone, and
``tests/test_architecture.py`` fails where they are not up to date.
"""

import ast
import html
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "pyrovae"
BEGIN, END = "<!-- made by architecture.py -->\n", "<!-- end -->\n"

WIDTH, MARGIN, GAP = 400, 10, 10  # in units that are pixels on a telephone
BOX_HEIGHT, ROW_HEIGHT, LEVEL_GAP = 30, 38, 22
PER_ROW = 4

STYLE = """
.ground { fill: #ffffff } .box { fill: #eef2f9; stroke: #5b76a8 } .line { stroke: #a9b6cc } .name { fill: #14202f }
@media (prefers-color-scheme: dark) {
  .ground { fill: #16191f } .box { fill: #263246; stroke: #7f9ccf } .line { stroke: #55657f } .name { fill: #e8edf5 }
}
"""


def part_of(path: Path) -> str:
    """Return the folder or module at the top of the package that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> Iterator[str]:
    """Yield the parts of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pyrovae":
            names = node.module.split(".")
            yield from [names[1]] if len(names) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("pyrovae."))


def import_graph() -> dict[str, set[str]]:
    """Return for each part of the package the other parts that it imports."""
    graph: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path not in (PACKAGE / "__init__.py", PACKAGE / "__main__.py"):
            part = part_of(path)
            graph.setdefault(part, set()).update(set(imported_parts(path)) - {part})
    return graph


def levels_of(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the parts from the bottom up: each is one level above the highest that it imports."""
    level: dict[str, int] = {}

    def height(part: str) -> int:
        if part not in level:
            level[part] = 1 + max((height(other) for other in graph[part]), default=-1)
        return level[part]

    parts = sorted(graph, key=lambda part: (height(part), part))
    return [[part for part in parts if level[part] == i] for i in range(max(level.values()) + 1)]


def direct_imports(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return the imports that do not follow from others: the transitive reduction of the graph."""

    def reached(part: str) -> set[str]:
        return set().union(*({other} | reached(other) for other in graph[part]))

    return [
        (part, other)
        for part in sorted(graph)
        for other in sorted(graph[part])
        if not any(other in reached(between) for between in graph[part])
    ]


def picture() -> str:
    """Return the parts as an SVG: one box each, above those that it imports.

    Lines to the lowest level are left out: the whole package uses it.
    """
    graph = import_graph()
    ground = levels_of(graph)[0]
    edges = [(above, below) for above, below in direct_imports(graph) if below not in ground]
    places: dict[str, tuple[float, float, float]] = {}  # left, top, width
    top = float(MARGIN)
    for level in reversed(levels_of(graph)):
        importers = {part: [places[a] for a, b in edges if b == part and a in places] for part in level}
        middles = {
            part: sum(left + width / 2 for left, _, width in above) / len(above) if above else WIDTH / 2
            for part, above in importers.items()
        }
        ordered = sorted(level, key=lambda part: (middles[part], part))  # below what imports it
        num_rows = -(-len(ordered) // PER_ROW)
        for row in range(num_rows):
            parts = ordered[row::num_rows]
            width = (WIDTH - 2 * MARGIN - (PER_ROW - 1) * GAP) / PER_ROW
            left = (WIDTH - len(parts) * width - (len(parts) - 1) * GAP) / 2
            for i, part in enumerate(parts):
                places[part] = (left + i * (width + GAP), top, width)
            top += ROW_HEIGHT
        top += LEVEL_GAP
    height = top - LEVEL_GAP - (ROW_HEIGHT - BOX_HEIGHT) + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH * 1.5:g}" '
        'role="img" font-family="system-ui, sans-serif" font-size="12.5">',
        "<title>The parts of pyrovae and their imports</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height:g}" rx="6"/>',
    ]
    for above, below in edges:
        left, y, width = places[above]
        to_left, to_y, to_width = places[below]
        lines.append(
            f'<line class="line" x1="{left + width / 2:g}" y1="{y + BOX_HEIGHT:g}" x2="{to_left + to_width / 2:g}" '
            f'y2="{to_y:g}"/>'
        )
    for part, (left, y, width) in places.items():
        lines.append(f'<rect class="box" x="{left:g}" y="{y:g}" width="{width:g}" height="{BOX_HEIGHT}" rx="5"/>')
        lines.append(
            f'<text class="name" x="{left + width / 2:g}" y="{y + BOX_HEIGHT / 2:g}" text-anchor="middle" '
            f'dominant-baseline="central">{html.escape(part)}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


def table() -> str:
    """Return the parts as a Markdown table, from the top down, with the first sentence of each."""
    graph = import_graph()
    rows = ["| part | what it is |", "|---|---|"]
    for level in reversed(levels_of(graph)):
        for part in level:
            folder = PACKAGE / part
            source = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
            what = (ast.get_docstring(ast.parse(source.read_text())) or "").split("\n\n")[0].replace("\n", " ")
            what = what.replace("``", "`").replace(":class:", "").replace("|", "\\|")
            rows.append(f"| `{part}` | {what} |")
    return "\n".join([*rows, ""])


def with_table(page: str) -> str:
    """Return the page with the present table between its two marks."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


def main() -> None:
    """Write the picture and the table."""
    (DOCS / "images" / "architecture.svg").write_text(picture())
    page = DOCS / "architecture.md"
    page.write_text(with_table(page.read_text()))


if __name__ == "__main__":
    main()
