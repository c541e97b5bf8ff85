"""Sharing of runs by a folder or the Hugging Face Hub: pushed with a model card, pulled with their hashes checked."""

from pyrovae.sharing.transfer import Pulled, Pushed, pull, push

__all__ = ["Pulled", "Pushed", "pull", "push"]
