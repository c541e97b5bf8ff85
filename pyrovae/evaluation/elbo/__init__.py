"""Where the nats of the ELBO go: inference gaps, rate and distortion, the aggregate posterior."""

__all__: list[str] = []
