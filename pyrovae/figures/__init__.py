"""Pictures: arrays in, a matplotlib ``Figure`` out, no global state of matplotlib touched."""

from pyrovae.figures.against import line_panels, rate_distortion_plane
from pyrovae.figures.annealing import annealing_paths
from pyrovae.figures.anomaly import roc_curves, score_histogram
from pyrovae.figures.base import image_grid, save
from pyrovae.figures.breakdown import elbo_breakdown
from pyrovae.figures.convergence import convergence_plot
from pyrovae.figures.film import Frame, film, film_strip
from pyrovae.figures.images import manifold, reconstructions, samples
from pyrovae.figures.latents import latent_map, latent_maps
from pyrovae.figures.likelihood import error_map, extremes, pareto_map, weight_tails
from pyrovae.figures.posterior import forest, plane_posteriors
from pyrovae.figures.rows import labelled_rows, thumbnail_map
from pyrovae.figures.runs import comparison
from pyrovae.figures.training import training_curves

__all__ = [
    "Frame",
    "annealing_paths",
    "comparison",
    "convergence_plot",
    "elbo_breakdown",
    "error_map",
    "extremes",
    "film",
    "film_strip",
    "forest",
    "image_grid",
    "labelled_rows",
    "latent_map",
    "latent_maps",
    "line_panels",
    "manifold",
    "pareto_map",
    "plane_posteriors",
    "rate_distortion_plane",
    "reconstructions",
    "roc_curves",
    "samples",
    "save",
    "score_histogram",
    "thumbnail_map",
    "training_curves",
    "weight_tails",
]
