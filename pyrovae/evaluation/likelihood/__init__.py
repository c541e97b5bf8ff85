"""Estimates of log p(x): importance sampling, annealing, their errors, bounds from both sides."""

__all__: list[str] = []
