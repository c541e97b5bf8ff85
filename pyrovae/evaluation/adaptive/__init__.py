"""The adaptive estimate: statistics so far, their errors, the allocation of the next samples."""

__all__: list[str] = []
