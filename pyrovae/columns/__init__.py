"""Columns of tables: their kinds, their categories, and the conversion of data frames to numbers and back."""

from pyrovae.columns.column import Column
from pyrovae.columns.kinds import KINDS, Kind
from pyrovae.columns.schema import Schema
from pyrovae.columns.values import category_name, is_frame, known, numbers_of, without_arrow

__all__ = [
    "KINDS",
    "Column",
    "Kind",
    "Schema",
    "category_name",
    "is_frame",
    "known",
    "numbers_of",
    "without_arrow",
]
