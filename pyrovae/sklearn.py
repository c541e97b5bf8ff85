"""A VAE as a scikit-learn estimator: density, outlier detector and transformer of tables."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, DensityMixin, OutlierMixin, TransformerMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from pyrovae import checks
from pyrovae.compilation import Compile, ObjectiveFactory
from pyrovae.data import DataSet
from pyrovae.evaluation import Estimator, Importance, impute, log_marginal
from pyrovae.likelihoods import Gaussian, LikelihoodFactory
from pyrovae.matmul import Precision
from pyrovae.missing import fill_missing
from pyrovae.optimizers import OptimizerFactory, SchedulerFactory
from pyrovae.posteriors import PosteriorFactory
from pyrovae.prediction import decode, encode, generate
from pyrovae.priors import PriorFactory
from pyrovae.rng import forked_rng
from pyrovae.training import fit
from pyrovae.vae import VAE

__all__ = ["VAEDensity"]

_SCORED = 2000  # largest number of training rows whose scores set the threshold of outliers


class VAEDensity(ClassNamePrefixFeaturesOutMixin, TransformerMixin, OutlierMixin, DensityMixin, BaseEstimator):
    r"""A VAE of the rows of a table, with the methods of scikit-learn's estimators.

    Its score of a row is an estimate of :math:`\log p(x)` in nats, in the units of the data: if columns are
    standardised, minus :math:`\sum_j \log s_j` for their scales :math:`s_j`. NaN are missing values: the score is then
    that of the observed ones, and :meth:`impute` estimates the others.

    Components are classes, ``functools.partial`` of classes with their options, or names: those of pyrovae's classes
    and torch's optimizers, or import paths such as ``my_package.MyPrior``.

    Args:
        latent_dim: number of latents.
        prior: p(z).
        likelihood: p(x|z); ``Bernoulli`` for columns of 0 and 1, ``Poisson`` or ``NegativeBinomial`` for counts;
            ``Gaussian`` with a learned scale for each column if None.
        posterior: q(z|x).
        standardize: True to train on columns of mean 0 and variance 1, False for the columns as they are; None for
            True if the likelihood is a density, and False if it is one of discrete values.
        initialize: True to start prior and likelihood from the training data.
        estimator: estimator of log p(x); ``Importance(100)`` if None.
        contamination: share of the training rows that :meth:`predict` calls outliers, in (0, 0.5].
        validation_size: number or fraction of rows held out of training for the validation ELBO.
        epochs: number of passes over the rows; this and the options below are those of :func:`~pyrovae.fit`.
        batch_size: number of rows in a batch.
        objective: what is maximised.
        optimizer: torch optimizer.
        scheduler: scheduler of the learning rate, or None.
        beta: weight of the KL.
        kl_warmup: number of epochs in which the weight of the KL grows; None for three tenths of them.
        max_norm: largest norm of the gradients, or None.
        patience: number of epochs without a better validation ELBO after which training stops, or None.
        restore_best: True to end with the weights of the best validation ELBO.
        accumulate: number of parts in which a batch is processed one after the other.
        compile: mode of compilation.
        precision: precision of matrix products.
        progress: True to show a progress bar.
        random_state: seed of the split, the weights and all samples; with one, fitting and scoring are reproducible.

    Attributes:
        program_: the trained :class:`~pyrovae.VAE`.
        history_: the result of each epoch.
        scaler_: the ``StandardScaler`` of the columns, or None.
        offset_: score below which a row is an outlier, in nats.
        n_features_in_: number of columns.
        feature_names_in_: names of the columns, if they have names.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(200, 3)) * [1.0, 10.0, 0.1]
        >>> vae = VAEDensity(latent_dim=2, epochs=3, random_state=0).fit(rows)
        >>> vae.score_samples(rows).shape, vae.transform(rows).shape, vae.sample(4).shape
        ((200,), (200, 2), (4, 3))
        >>> int((vae.predict(rows) == -1).sum())
        20
    """

    def __init__(
        self,
        latent_dim: int = 2,
        *,
        prior: str | PriorFactory = "StandardNormal",
        likelihood: str | LikelihoodFactory | None = None,
        posterior: str | PosteriorFactory = "DiagonalNormal",
        standardize: bool | None = None,
        initialize: bool = True,
        estimator: Estimator | None = None,
        contamination: float = 0.1,
        validation_size: float = 0.1,
        epochs: int = 100,
        batch_size: int = 128,
        objective: str | ObjectiveFactory = "Trace_ELBO",
        optimizer: str | OptimizerFactory = "Adam",
        scheduler: SchedulerFactory | None = None,
        beta: float = 1.0,
        kl_warmup: int | None = None,
        max_norm: float | None = None,
        patience: int | None = None,
        restore_best: bool = False,
        accumulate: int = 1,
        compile: Compile | Literal["auto"] = "auto",
        precision: Precision = "float32",
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.prior = prior
        self.likelihood = likelihood
        self.posterior = posterior
        self.standardize = standardize
        self.initialize = initialize
        self.estimator = estimator
        self.contamination = contamination
        self.validation_size = validation_size
        self.epochs = epochs
        self.batch_size = batch_size
        self.objective = objective
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.max_norm = max_norm
        self.patience = patience
        self.restore_best = restore_best
        self.accumulate = accumulate
        self.compile = compile
        self.precision = precision
        self.progress = progress
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> VAEDensity:
        """Train on rows ``(n, d)``; ``y`` is not used. Raises ``ValueError`` if an argument is bad."""
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2, ensure_all_finite="allow-nan")
        empty = np.isnan(X).all(0).nonzero()[0]
        if len(empty) > 0:
            raise checks.InputError(f"X must hold a value in each column, but column {empty[0]} has none: leave it out")
        checks.number("contamination", self.contamination, maximum=0.5, open_below=True)
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with self._seeded():
            shape = (X.shape[1],)
            chosen = partial(Gaussian, scale="pixel") if self.likelihood is None else self.likelihood
            likelihood = _component("likelihood", chosen, "pyrovae.likelihoods")(shape, self.latent_dim)
            scaled = not likelihood.discrete if self.standardize is None else self.standardize
            self.scaler_ = StandardScaler().fit(X) if scaled else None
            self.program_ = VAE(
                _component("prior", self.prior, "pyrovae.priors")(self.latent_dim),
                likelihood,
                _component("posterior", self.posterior, "pyrovae.posteriors")(shape, self.latent_dim),
            )
            x = self._scaled(X)
            held_out = self.validation_size
            if isinstance(held_out, float) and held_out < 1:
                held_out = max(1, round(held_out * len(x)))  # also of few rows
            data = DataSet(
                x, test_x=fill_missing(x[:1]), validation_size=held_out, seed=self._seed
            )  # no row is for tests
            if self.initialize:
                self.program_.initialize(data.train[torch.linspace(0, len(data.train) - 1, 4096).long()])
            self.history_ = fit(
                self.program_.model,
                self.program_.guide,
                data,
                epochs=self.epochs,
                batch_size=self.batch_size,
                objective=_component("objective", self.objective, "pyrovae.objectives"),
                optimizer=_component("optimizer", self.optimizer, "torch.optim"),
                scheduler=self.scheduler,
                beta=self.beta,
                kl_warmup=self.kl_warmup,
                max_norm=self.max_norm,
                patience=self.patience,
                restore_best=self.restore_best,
                accumulate=self.accumulate,
                compile=self.compile,
                precision=self.precision,
                progress=self.progress,
            )
        self._n_features_out = self.latent_dim
        self.offset_ = float(np.quantile(self._scores(X[_spread(len(X), _SCORED)]), self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return log p(x) of each row in nats, ``(n,)``, in the units of the data."""
        return self._scores(self._checked(X))

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of log p(x) over the rows in nats, larger for better models; ``y`` is not used."""
        return float(self.score_samples(X).mean())

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the score of each row less ``offset_``, ``(n,)``; negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Return 1 for each row and -1 for outliers, ``(n,)``."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def transform(self, X: Any) -> np.ndarray:
        """Return the posterior mean of each row, ``(n, latent_dim)``."""
        with self._seeded():
            return encode(self.program_.guide, self._scaled(self._checked(X)))["z"].double().numpy()

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Return the mean of p(x|z) at codes ``(n, latent_dim)``: rows ``(n, d)`` in the units of the data."""
        check_is_fitted(self)
        z = torch.as_tensor(np.asarray(X), dtype=torch.float32)
        if z.dim() != 2 or z.shape[1] != self.latent_dim:
            raise checks.InputError(f"X must be codes (n, {self.latent_dim}), but has the shape {tuple(z.shape)}")
        return self._unscaled(decode(self.program_.model, {"z": z}, (self.n_features_in_,)))

    def sample(self, n_samples: int = 1, random_state: int | np.random.RandomState | None = None) -> np.ndarray:
        """Draw rows from the model, ``(n_samples, d)``, in the units of the data.

        Args:
            n_samples: number of rows.
            random_state: seed; a new one if None.
        """
        check_is_fitted(self)
        checks.integer("n_samples", n_samples)
        with self._seeded(int(check_random_state(random_state).randint(2**31 - 1))):
            like = torch.zeros(1, self.n_features_in_)
            return self._unscaled(generate(self.program_.model, n_samples, like, noise=True))

    def impute(self, X: Any, *, return_std: bool = False) -> Any:
        """Replace missing values, NaN, by their mean given the observed ones; see :func:`~pyrovae.impute`.

        Args:
            X: rows ``(n, d)``; of a data frame, a data frame is returned.
            return_std: True to return the standard deviations too, 0 where a value was observed.

        Returns:
            rows ``(n, d)`` in the units of the data, or the tuple of these and the standard deviations.
        """
        rows = self._checked(X)
        estimator = Importance(1000) if self.estimator is None else self.estimator
        with self._seeded():
            found = impute(self.program_.model, self.program_.guide, self._scaled(rows), estimator, progress=False)
        std = found.standard_deviation.double().numpy() * (1.0 if self.scaler_ is None else self.scaler_.scale_)
        filled = np.where(np.isnan(rows), self._unscaled(found.mean), rows), std
        if hasattr(X, "columns"):
            import pandas

            filled = tuple(pandas.DataFrame(part, X.index, X.columns) for part in filled)
        return filled if return_std else filled[0]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.non_deterministic = True  # log p(x) is estimated from samples, which are other ones in other batches
        tags.transformer_tags.preserves_dtype = ["float64"]
        return tags

    def _checked(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, reset=False, ensure_all_finite="allow-nan")

    def _scaled(self, X: np.ndarray) -> Tensor:
        return torch.from_numpy(X if self.scaler_ is None else self.scaler_.transform(X)).float()

    def _unscaled(self, x: Tensor) -> np.ndarray:
        rows = x.detach().double().numpy()
        return rows if self.scaler_ is None else self.scaler_.inverse_transform(rows)

    def _scores(self, X: np.ndarray) -> np.ndarray:
        estimator = Importance(100) if self.estimator is None else self.estimator
        with self._seeded():
            found = log_marginal(self.program_.model, self.program_.guide, self._scaled(X), estimator, num_draws=0)
        log_scale = 0.0 if self.scaler_ is None else ~np.isnan(X) @ np.log(self.scaler_.scale_)
        return found.log_prob.double().numpy() - log_scale

    @contextmanager
    def _seeded(self, seed: int | None = None) -> Iterator[None]:
        with forked_rng(torch.device("cpu")):
            torch.manual_seed(self._seed if seed is None else seed)
            yield


def _spread(count: int, largest: int) -> np.ndarray:
    """Return positions from first to last, at most ``largest``: rows may be sorted."""
    return np.linspace(0, count - 1, min(count, largest)).astype(int)


def _component(name: str, given: Any, home: str) -> Callable[..., Any]:
    """Return the class that a name stands for, one of a module or by import path; others are returned as they are."""
    if not isinstance(given, str):
        return given
    module, _, attribute = given.rpartition(".")
    try:
        return getattr(importlib.import_module(module or home), attribute)
    except (ImportError, AttributeError):
        raise checks.InputError(
            f"{name} must be a class, the name of one in {home}, or an import path, but {given!r} was given"
        ) from None
