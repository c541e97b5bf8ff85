"""Parts of the ELBO, in nats: inference gaps, rate and distortion, the aggregate posterior."""

__all__: list[str] = []
