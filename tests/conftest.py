"""Fixtures of several folders of tests."""

import functools

import pytest


@pytest.fixture
def short_checks(monkeypatch):
    """Let evaluations of runs check few data by short chains, where nothing is asked of the verdict."""
    from pyrovae.runs import evaluation

    short = functools.partial(evaluation.cross_check, num_chains=2, num_temperatures=3)
    monkeypatch.setattr(evaluation, "cross_check", short)
