"""Health of a trained program: what its latents, scales, likelihood and prior say against the model.

A check is a function of an :class:`Examined` program that returns a sentence, or None if nothing is wrong. To add one,
write it and append it to ``CHECKS``.
"""

from pyrovae.evaluation.health.checklist import CHECKS, Check, check_health, findings
from pyrovae.evaluation.health.examined import Examined
from pyrovae.evaluation.health.latents import COLLAPSED

__all__ = ["CHECKS", "COLLAPSED", "Check", "Examined", "check_health", "findings"]
