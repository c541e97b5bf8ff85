"""Pictures: arrays in, a matplotlib ``Figure`` out, no global state of matplotlib touched."""

from pyrovae.figures.annealing import annealing_paths
from pyrovae.figures.base import image_grid, save
from pyrovae.figures.breakdown import nats
from pyrovae.figures.convergence import convergence_plot
from pyrovae.figures.images import manifold, reconstructions, samples
from pyrovae.figures.latents import latent_map
from pyrovae.figures.likelihood import error_map, extremes, pareto_map, weight_tails
from pyrovae.figures.runs import comparison
from pyrovae.figures.training import training_curves

__all__ = [
    "annealing_paths",
    "comparison",
    "convergence_plot",
    "error_map",
    "extremes",
    "image_grid",
    "latent_map",
    "manifold",
    "nats",
    "pareto_map",
    "reconstructions",
    "samples",
    "save",
    "training_curves",
    "weight_tails",
]
