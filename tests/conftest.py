"""Fixtures of several folders of tests."""

import functools

import pytest


@pytest.fixture
def short_checks(monkeypatch):
    """Let evaluations of runs check few data by short chains, and the health of models be looked at on few data.

    It is for tests that ask nothing of the verdict and of what is told of the model.
    """
    from pyrovae.evaluation.health import examined
    from pyrovae.runs import evaluation

    monkeypatch.setattr(examined, "_MEASURED", 20)
    monkeypatch.setattr(examined, "_SAMPLES", 4)

    short = functools.partial(evaluation.cross_check, num_chains=2, num_temperatures=3)
    monkeypatch.setattr(evaluation, "cross_check", short)
