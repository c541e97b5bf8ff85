"""Programs: a model and a guide made of conditionals."""

from pyrovae.vae.standard import VAE

__all__ = ["VAE"]
