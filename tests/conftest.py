"""Fixtures of several folders of tests."""

import pytest


@pytest.fixture
def short_checks(monkeypatch):
    """Shorten the checks of evaluations, in tests that ask nothing of the verdict and of what is told of the model."""
    from short_checks import shorten

    shorten(monkeypatch.setattr)
