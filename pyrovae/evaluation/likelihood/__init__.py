"""Estimators of log p(x): importance sampling and annealing, their errors, bounds from both sides."""

__all__: list[str] = []
