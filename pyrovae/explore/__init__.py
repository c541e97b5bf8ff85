"""A page to explore a run: move in its latents, draw, interpolate, sample."""

from pyrovae.explore.app import build_blocks, import_gradio
from pyrovae.explore.chart import Chart, chart_of
from pyrovae.explore.pictures import as_picture, is_picture, read_picture
from pyrovae.explore.run import RunSession, open_session
from pyrovae.explore.serve import serve
from pyrovae.explore.session import Explanation, Session
from pyrovae.explore.sliders import Sliders, sliders_of
from pyrovae.explore.table_session import TableSession

__all__ = [
    "Chart",
    "Explanation",
    "RunSession",
    "Session",
    "Sliders",
    "TableSession",
    "as_picture",
    "build_blocks",
    "chart_of",
    "import_gradio",
    "is_picture",
    "open_session",
    "read_picture",
    "serve",
    "sliders_of",
]
