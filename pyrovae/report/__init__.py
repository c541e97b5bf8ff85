"""Report of a run: its results and figures in one self-contained HTML file, and its model card."""

from pyrovae.report.card import model_card
from pyrovae.report.page import write_report

__all__ = ["model_card", "write_report"]
