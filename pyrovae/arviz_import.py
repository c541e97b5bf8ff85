"""Import of ArviZ without the warning that it gives when it is imported."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

__all__ = ["import_arviz"]


@cache
def import_arviz() -> Any:
    """Import ArviZ, which takes a second, and announces its next version by a ``FutureWarning``.

    Returns:
        the module.

    Example:
        >>> import_arviz().__name__
        'arviz'
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz
