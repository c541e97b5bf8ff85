"""Components of a user, one of each kind, which are not installed."""
