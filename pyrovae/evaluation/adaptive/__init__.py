"""The adaptive estimator: running statistics, their errors, the allocation of the next samples."""

__all__: list[str] = []
