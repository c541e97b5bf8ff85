"""A page to explore a run: move in its latents, draw, interpolate, sample."""

from pyrovae.explore.app import blocks_of, gradio_here
from pyrovae.explore.axes import Axes, axes_of
from pyrovae.explore.chart import Chart, chart_of
from pyrovae.explore.pictures import as_picture, is_picture, read_picture
from pyrovae.explore.serve import serve
from pyrovae.explore.session import Explanation, Session

__all__ = [
    "Axes",
    "Chart",
    "Explanation",
    "Session",
    "as_picture",
    "axes_of",
    "blocks_of",
    "chart_of",
    "gradio_here",
    "is_picture",
    "read_picture",
    "serve",
]
