"""Report of a run: its results and figures in one self-contained HTML file."""

from pyrovae.report.page import write_report

__all__ = ["write_report"]
