"""A run's page: its numbers and pictures in one self-contained HTML file."""

from pyrovae.report.page import write_report

__all__ = ["write_report"]
