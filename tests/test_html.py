"""HTML of results: well-formed, with all text escaped, and plots whose lengths are those of the numbers."""

import math
from xml.etree import ElementTree

import pytest

from pyrovae import History, html
from pyrovae.training import Epoch

HOSTILE = '<script>alert(1)</script> & "quotes"'
COLOURS = {"fine": "#0072B2", "bad": "#D55E00"}


def parsed(text):
    return ElementTree.fromstring(f"<div>{text}</div>")


def bars(text, colour=None):
    return [rect for rect in parsed(text).iter("rect") if colour is None or rect.get("fill") == colour]


@pytest.mark.parametrize(
    "made",
    [
        html.card(HOSTILE, html.sentences([HOSTILE])),
        html.table([HOSTILE, "a"], [[HOSTILE, "1"]]),
        html.histogram({HOSTILE: [1.0, 2.0], "b": [3.0]}, HOSTILE),
        html.line_plot([1, 2], {HOSTILE: [1.0, 2.0], "b": [0.0, 1.0]}, HOSTILE, HOSTILE),
        html.intervals([(HOSTILE, 1.0, 0.5, 1.5)], HOSTILE),
        html.staircase([(HOSTILE, 0.0, 1.5)], HOSTILE),
    ],
)
def test_all_text_is_escaped(made):
    tree = parsed(made)
    assert list(tree.iter("script")) == []
    words = "".join(tree.itertext()) + "".join(value for part in tree.iter() for value in part.attrib.values())
    assert "<script>alert(1)" in words
    fills = {part.get("fill") for part in tree.iter("text")}
    assert fills <= {"currentColor"}, "text has the colour of the page, light or dark"


def test_the_areas_of_a_histogram_are_the_counts():
    groups = {"fine": [0.0] * 6 + [10.0] * 3, "bad": [0.0, math.nan, math.inf]}
    text = html.histogram(groups, "numbers")
    low, high = (float(rect.get("height")) for rect in bars(text, COLOURS["fine"])[:2])
    assert low / high == pytest.approx(2, rel=0.01)
    above = bars(text, COLOURS["bad"])[0]
    assert float(above.get("height")) == pytest.approx(low / 6, rel=0.02)
    assert float(above.get("y")) < float(bars(text, COLOURS["fine"])[0].get("y"))
    assert html.histogram({"fine": [1.0, 1.0]}, "numbers") == ""


def test_the_lengths_of_a_staircase_are_the_differences():
    rows = [("all", 0.0, 8.0), ("half", 8.0, 4.0), ("unknown", 0.0, math.nan)]
    first, second = (float(rect.get("width")) for rect in bars(html.staircase(rows, "nats")))
    assert first / second == pytest.approx(2, rel=0.01)
    assert "−4.00" in html.staircase(rows, "nats")


def test_a_line_goes_through_its_finite_values():
    text = html.line_plot([1, 2, 3], {"a": [0.0, math.nan, 4.0]}, "epoch", "ELBO")
    points = [tuple(map(float, pair.split(","))) for pair in parsed(text).find(".//polyline").get("points").split()]
    assert len(points) == 2
    assert points[0][0] < points[1][0]
    assert points[0][1] > points[1][1]


def test_a_history_shows_its_curves_and_its_health():
    rows = [Epoch(i, -30.0 + i, -30.0, 0.01, -31.0 + i, -31.0, 0.01, 0.1, 1e-3) for i in range(1, 6)]
    words = "".join(parsed(History(rows)._repr_html_()).itertext())
    assert "5 epochs, best validation ELBO -26.00 nats per datum in epoch 5" in words
    assert "The posterior has collapsed" in words
    assert len(list(parsed(History(rows)._repr_html_()).iter("polyline"))) == 2
    assert "0 epochs" in History([])._repr_html_()
