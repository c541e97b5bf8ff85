"""Figures: functions of arrays that return a matplotlib ``Figure``, without global state of matplotlib."""

from pyrovae.figures.anomaly import roc_curves, score_histogram
from pyrovae.figures.base import image_grid, save
from pyrovae.figures.curves import line_panels, training_curves
from pyrovae.figures.elbo import elbo_breakdown, rate_distortion_plane
from pyrovae.figures.film import Frame, film, film_strip
from pyrovae.figures.images import labelled_rows, manifold, reconstructions, samples, thumbnail_map
from pyrovae.figures.latents import latent_map, latent_maps
from pyrovae.figures.likelihood import (
    annealing_paths,
    convergence_plot,
    error_map,
    extremes,
    pareto_map,
    weight_tails,
)
from pyrovae.figures.posterior import forest, plane_posteriors, rank_ecdf
from pyrovae.figures.runs import comparison
from pyrovae.figures.sweep import search
from pyrovae.figures.tables import column_report, marginals, pairs, worst_rows

__all__ = [
    "Frame",
    "annealing_paths",
    "column_report",
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
    "marginals",
    "pairs",
    "pareto_map",
    "plane_posteriors",
    "rank_ecdf",
    "rate_distortion_plane",
    "reconstructions",
    "roc_curves",
    "samples",
    "save",
    "score_histogram",
    "search",
    "thumbnail_map",
    "training_curves",
    "weight_tails",
    "worst_rows",
]
