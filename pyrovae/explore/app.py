"""Page of a session: Gradio's controls and their callbacks."""

from __future__ import annotations

import os
import string
from typing import TYPE_CHECKING, Any

from pyrovae import checks
from pyrovae.explore.chart import Chart
from pyrovae.explore.pictures import as_picture, is_picture, read_picture
from pyrovae.explore.session import Session
from pyrovae.explore.table_session import TableSession

if TYPE_CHECKING:
    from gradio import Blocks

__all__ = ["build_blocks", "import_gradio"]

_ESCAPED = str.maketrans(
    {mark: f"\\{mark}" for mark in string.punctuation}
)  # a folder's name must not be read as Markdown


def build_blocks(session: Session, title: str) -> Blocks:
    """Build the page of a session, with a tab for each task.

    Args:
        session: session that computes the answers.
        title: title of the page.

    Raises:
        ValueError: if Gradio is missing.
    """
    gradio = import_gradio()
    with gradio.Blocks(title=title, analytics_enabled=False, fill_width=True, delete_cache=(3600, 3600)) as blocks:
        gradio.Markdown(f"# {title.translate(_ESCAPED)}")
        if isinstance(session, TableSession):
            with gradio.Tab("Rows", id="rows"):
                _rows(gradio, blocks, session)
            with gradio.Tab("Move", id="move"):
                _move(gradio, blocks, session)
            with gradio.Tab("Sample", id="sample"):
                _marginals(gradio, session)
            return blocks
        with gradio.Tab("Move", id="move"):
            _move(gradio, blocks, session)
        with gradio.Tab("Draw", id="draw"):
            _explain(gradio, session)
        with gradio.Tab("Interpolate", id="interpolate"):
            _interpolate(gradio, session)
        with gradio.Tab("Sample", id="sample"):
            _sample(gradio, session)
    return blocks


def _move(gradio: Any, blocks: Any, session: Session) -> None:
    first = next(iter(session.axes))
    count = max(len(axes.names) for axes in session.axes.values())
    gradio.Markdown(
        f"Click or drag on the plane, or move a slider: beside it is what the code `{session.site}` is decoded to."
    )
    with gradio.Row():
        with gradio.Column(min_width=240):
            plane = _picture(gradio, "Where the codes of test data lie", "plane")
        with gradio.Column(min_width=240):
            caption = "What the code is decoded to"
            if isinstance(session, TableSession):
                image = _cells(gradio, caption, "decoded")
            else:
                image = _picture(gradio, caption, "decoded")
            start = gradio.Number(
                0, label=f"Start from test datum (0 to {len(session.x) - 1})", elem_id="start", precision=0
            )
            label = _label(gradio, session, "move-class")
        with gradio.Column(min_width=240):
            names = gradio.Radio(list(session.axes), value=first, label="Coordinates", elem_id="coordinates")
            sliders = [gradio.Slider(-1, 1, 0, step=0.01, elem_id=f"slider-{i}") for i in range(count)]
            with gradio.Row():
                across = gradio.Dropdown([], label="Across the plane", elem_id="across", min_width=120)
                up = gradio.Dropdown([], label="Up the plane", elem_id="up", min_width=120)

    def shown(name: str, i: int, j: int, chosen: int | None, values: tuple[float, ...]) -> list[Any]:
        coordinates = list(values[: len(session.axes[name].names)])
        decoded = session.view(session.move(name, coordinates, chosen))
        return [session.chart(name, i, j).marked(_at(coordinates, i, j)), decoded]

    def moved(name: str, i: int, j: int, chosen: int | None, *values: float) -> list[Any]:
        return shown(name, i, j, chosen, values)

    def clicked(event: Any, name: str, i: int, j: int, chosen: int | None, *values: float) -> list[Any]:
        chart: Chart = session.chart(name, i, j)
        coordinates = list(values)
        point = chart.point(tuple(event.index))
        for k, value in zip(
            (j, i), reversed(point), strict=True
        ):  # the horizontal value is used if both axes are the same
            coordinates[k] = round(value, 2)
        return [*shown(name, i, j, chosen, tuple(coordinates)), *coordinates]

    clicked.__annotations__ = {"event": gradio.SelectData}  # tells Gradio to pass the event

    def began(name: str, index: int | None, chosen: int | None) -> Any:
        axes = session.axes[name]
        i = _whole(gradio, session, index)
        if i is None:
            return gradio.skip()
        place = session.coordinates_of(name, i)
        chosen = session.label(i) if session.classes else chosen
        choices = [(text, i) for i, text in enumerate(axes.names)]
        j = min(1, len(axes.names) - 1)
        updates = [
            gradio.Slider(-reach, reach, round(value, 2), label=text, visible=True)
            for text, reach, value in zip(axes.names, axes.reach, place, strict=True)
        ]
        updates += [gradio.Slider(visible=False) for _ in range(count - len(updates))]
        dropdowns = [gradio.Dropdown(choices, value=0), gradio.Dropdown(choices, value=j)]
        return [*shown(name, 0, j, chosen, tuple(place)), chosen, *dropdowns, *updates]

    second = min(1, len(session.axes[first].names) - 1)
    start_code = tuple(session.coordinates_of(first, 0))
    shown(first, 0, second, session.label(0) if session.classes else None, start_code)  # so that no visit waits for it

    inputs = [names, across, up, label, *sliders]
    live = {"show_progress": "hidden", "trigger_mode": "always_last", "queue": True}
    for slider in sliders:
        slider.input(moved, inputs, [plane, image], **live)
    for control in (across, up, label):
        control.input(moved, inputs, [plane, image], **live)
    plane.select(clicked, inputs, [plane, image, *sliders], **live)
    beginning = [began, [names, start, label], [plane, image, label, across, up, *sliders]]
    gradio.on([blocks.load, names.input, start.submit, start.input], *beginning, **live)


def _rows(gradio: Any, blocks: Any, session: TableSession) -> None:
    gradio.Markdown(
        "Click on the map, or give the number of a row: beside it are its cells, those worst explained first."
    )
    with gradio.Row():
        with gradio.Column(min_width=240):
            plane = _picture(gradio, "Where the codes of test rows lie", "map")
            colour = gradio.Dropdown(session.colours, value=session.colours[0], label="Colour", elem_id="colour")
            index = gradio.Number(0, label=f"Test row (0 to {len(session.x) - 1})", elem_id="row", precision=0)
        with gradio.Column(min_width=240):
            explanation = gradio.Markdown(elem_id="explanation")
            table = _cells(gradio, "Its cells; loss: nats of log p below the column's mean", "cells")

    def shown(chosen: str, number: int | None) -> Any:
        i = _whole(gradio, session, number)
        if i is None:
            return gradio.skip()
        words, cells = session.row(i)
        return [session.marked(chosen, i), f"**{words.translate(_ESCAPED)}**", cells]

    def clicked(event: Any, chosen: str) -> list[Any]:
        i = session.nearest(chosen, tuple(event.index))
        return [*shown(chosen, i), i]

    clicked.__annotations__ = {"event": gradio.SelectData}  # tells Gradio to pass the event
    shown(session.colours[0], 0)  # so that no visit waits for it
    live = {"show_progress": "hidden", "trigger_mode": "always_last"}
    plane.select(clicked, colour, [plane, explanation, table, index], **live)
    asked = [blocks.load, colour.input, index.submit, index.input]
    gradio.on(asked, shown, [colour, index], [plane, explanation, table], **live)


def _marginals(gradio: Any, session: TableSession) -> None:
    with gradio.Row():
        label = _label(gradio, session, "sample-class")
        seed = gradio.Number(0, label="Seed", precision=0, elem_id="seed")
        again = gradio.Button("Draw new ones", variant="primary", elem_id="again")
    picture = _picture(gradio, "Each column, of test rows and of 1,000 rows that the model draws", "marginals")

    def drawn(chosen: int | None, number: int | None) -> Any:
        return session.marginals(chosen, seed=abs(int(number or 0)))

    shown = {"show_progress": "hidden", "trigger_mode": "always_last"}
    again.click(_next_seed, seed, seed).then(drawn, [label, seed], picture, **shown)
    gradio.on([label.input, seed.submit], drawn, [label, seed], picture, **shown)
    picture.attach_load_event(lambda: drawn(session.classes[0] if session.classes else None, 0), None)


def _explain(gradio: Any, session: Session) -> None:
    drawable = is_picture(session.data.data_shape)
    gradio.Markdown(
        "Draw with the brush, drop a picture, or take a test datum: its code, its reconstruction, and how well the "
        "program explains it, against test data."
        if drawable
        else "Take a test datum: its code, its reconstruction, and how well the program explains it."
    )
    with gradio.Row():
        with gradio.Column():
            if drawable:
                editor = gradio.ImageEditor(
                    label="Picture",
                    elem_id="editor",
                    sources=("upload", "clipboard"),
                    transforms=(),
                    brush=gradio.Brush(default_size=22, colors=["#000000"], color_mode="fixed"),
                    layers=False,
                    canvas_size=(280, 280),
                    format="png",
                    buttons=[],
                )
                drawn = gradio.Button("Explain the picture", variant="primary", elem_id="explain-picture")
            label = _label(gradio, session, "draw-class")
            index = gradio.Number(0, label=f"Test datum (0 to {len(session.x) - 1})", elem_id="test-datum", precision=0)
            taken = gradio.Button("Explain the test datum", elem_id="explain-test-datum")
        with gradio.Column():
            seen = _picture(gradio, "As the program sees it, and its reconstruction", "explained")
            words = gradio.Markdown(elem_id="explanation")
            code = gradio.Dataframe(headers=["latent", "mean"], label="Code", elem_id="code", interactive=False)

    def explained(x: Any, chosen: int | None) -> list[Any]:
        found = session.explain(x, chosen)
        pair = as_picture(session.pair(x, found), 2)
        return [pair, f"**{found}**", found.rows()]

    def of_picture(value: dict[str, Any] | None, chosen: int | None) -> list[Any]:
        if value is None or value.get("composite") is None:
            raise gradio.Error("Draw something, or drop a picture, first.", print_exception=False)
        return explained(read_picture(value["composite"], session.data), chosen)

    def of_test_datum(number: int | None, chosen: int | None) -> Any:
        i = _whole(gradio, session, number)
        if i is None:
            return gradio.skip()
        return explained(session.datum(i), session.label(i) if session.classes else chosen)

    outputs = [seen, words, code]
    if drawable:
        drawn.click(of_picture, [editor, label], outputs)
    taken.click(of_test_datum, [index, label], outputs)


def _interpolate(gradio: Any, session: Session) -> None:
    gradio.Markdown("Two test data at the ends; between them, what lies between their codes, decoded.")
    last = len(session.x) - 1
    with gradio.Row():
        ends = [
            gradio.Slider(0, last, value, step=1, label=text, elem_id=name)
            for name, text, value in (("from", "From test datum", 0), ("to", "To test datum", min(1, last)))
        ]
        way = gradio.Radio(["straight", "as on a sphere"], value="straight", label="Way", elem_id="way")
    strip = _picture(gradio, "From the one to the other", "strip")

    def between(first: float, second: float, chosen: str) -> Any:
        x = session.between(int(first), int(second), spherical=chosen != "straight")
        return as_picture(x, len(x))

    gradio.on(
        [part.input for part in (*ends, way)],
        between,
        [*ends, way],
        strip,
        show_progress="hidden",
        trigger_mode="always_last",
    )
    strip.attach_load_event(lambda: between(0, min(1, last), "straight"), None)


def _sample(gradio: Any, session: Session) -> None:
    with gradio.Row():
        label = _label(gradio, session, "sample-class")
        noise = gradio.Checkbox(False, label="Draw the values too, and do not take their means", elem_id="noise")
        seed = gradio.Number(0, label="Seed", precision=0, elem_id="seed")
        again = gradio.Button("Draw new ones", variant="primary", elem_id="again")
    samples = _picture(gradio, "New data", "samples")

    def drawn(chosen: int | None, draws: bool, number: int | None) -> Any:
        return as_picture(session.sample(48, chosen, noise=draws, seed=abs(int(number or 0))), 12)

    shown = {"show_progress": "hidden", "trigger_mode": "always_last"}
    again.click(_next_seed, seed, seed).then(drawn, [label, noise, seed], samples, **shown)
    gradio.on([label.input, noise.input, seed.submit], drawn, [label, noise, seed], samples, **shown)
    samples.attach_load_event(lambda: drawn(session.classes[0] if session.classes else None, False, 0), None)


def _picture(gradio: Any, caption: str, name: str) -> Any:
    """Place a picture under its caption; Gradio's own label would cover a corner of it."""
    gradio.Markdown(f"**{caption}**")
    return gradio.Image(label=caption, show_label=False, alt_text=caption, elem_id=name, format="png", buttons=[])


def _cells(gradio: Any, caption: str, name: str) -> Any:
    """Place a table under its caption; Gradio's own shows only the columns that fit on a phone."""
    gradio.Markdown(f"**{caption}**")
    return gradio.HTML(label=caption, show_label=False, elem_id=name, elem_classes="cells")


def _next_seed(number: int | None) -> int:
    return abs(int(number or 0)) + 1


def _label(gradio: Any, session: Session, name: str) -> Any:
    classes = session.classes or []
    return gradio.Dropdown(
        classes, value=classes[0] if classes else None, label="Class", visible=bool(classes), elem_id=name
    )


def _at(coordinates: list[float], i: int, j: int) -> tuple[float, float]:
    return coordinates[i], coordinates[j]


def _whole(gradio: Any, session: Session, number: int | None) -> int | None:
    """Return the number of a test datum, or None while the field is empty, or after a warning.

    It is no error, after which Gradio would drop what is typed next.
    """
    if number is None:
        return None
    if not 0 <= number < len(session.x):
        gradio.Warning(f"Give the number of a test datum, from 0 to {len(session.x) - 1}.")
        return None
    return int(number)


def import_gradio() -> Any:
    """Import Gradio, with all requests to other machines disabled.

    Raises:
        ValueError: if it is not installed.
    """
    for name in ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_ENABLE_TELEMETRY"):
        os.environ[name] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio
    except ImportError as error:
        raise checks.InputError(
            f"explore needs packages that come with pip install 'pyrovae[explore]', but {error.name} is missing"
        ) from error
    return gradio
