"""Variational autoencoders as Pyro programs, with marginal likelihoods that come with their error."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from pyrovae import interrupts as interrupts  # first: it says what interrupts all that follows

if TYPE_CHECKING:  # imported when one of the names is first asked for, because PyTorch takes seconds
    from pyrovae.checks import InputError
    from pyrovae.columns import Column, Schema
    from pyrovae.data import (
        CIFAR10,
        KMNIST,
        MNIST,
        ArrayFile,
        BinarizedMNIST,
        CaltechSilhouettes,
        DataSet,
        Digits,
        FashionMNIST,
        FreyFaces,
        ImageFolder,
        Omniglot,
        OmniglotBurda,
        PartlyLabelled,
        Table,
    )
    from pyrovae.evaluation import (
        Adaptive,
        AdaptiveResult,
        Annealed,
        Certificate,
        Comparison,
        Convergence,
        CrossCheck,
        Diagnosis,
        Estimator,
        Importance,
        Imputation,
        LogMarginal,
        Sandwich,
        compare,
        convergence,
        cross_check,
        diagnose,
        impute,
        log_marginal,
        log_weights,
        sandwich,
    )
    from pyrovae.flows import (
        AffineAutoregressive,
        AffineCoupling,
        Flow,
        Planar,
        Radial,
        Spline,
        SplineAutoregressive,
        SplineCoupling,
    )
    from pyrovae.likelihoods import (
        Bernoulli,
        Categorical,
        ContinuousBernoulli,
        DiscretizedLogistic,
        DiscretizedLogisticMixture,
        Gaussian,
        Laplace,
        Likelihood,
        LogNormal,
        NegativeBinomial,
        Ordinal,
        Poisson,
        StudentT,
        TableLikelihood,
    )
    from pyrovae.networks import (
        MLP,
        ConvolutionalDecoder,
        ConvolutionalEncoder,
        GatedMLP,
        ResNetDecoder,
        ResNetEncoder,
        TableEncoder,
        WithLinear,
        WithMask,
    )
    from pyrovae.objectives import (
        CIWAE,
        IWAE,
        MIWAE,
        MMD,
        PIWAE,
        RWS,
        STL,
        BetaTCVAE,
        DReG,
        FreeBits,
        NonFiniteLoss,
        Objective,
        Renyi,
        Trace_ELBO,
        TraceEnum_ELBO,
        TraceMeanField_ELBO,
    )
    from pyrovae.posteriors import (
        DiagonalNormal,
        FlowPosterior,
        FullCovarianceNormal,
        LowRankNormal,
        MixturePosterior,
        PointPosterior,
        Posterior,
        VonMisesFisher,
    )
    from pyrovae.prediction import decode, encode, generate, prior_grid, reconstruct, simulate
    from pyrovae.priors import (
        FlowPrior,
        GaussianMixture,
        LearnedNormal,
        Prior,
        SphericalUniform,
        StandardNormal,
        VampPrior,
    )
    from pyrovae.programs import Program
    from pyrovae.runs import load, save
    from pyrovae.training import History, fit, refit_prior
    from pyrovae.vae import (
        VAE,
        Autoencoder,
        ConditionalVAE,
        FunctionalVAE,
        HierarchicalVAE,
        SemiSupervisedVAE,
        SphericalVAE,
    )

__version__ = version("pyrovae")

__all__ = [
    "CIFAR10",
    "CIWAE",
    "IWAE",
    "KMNIST",
    "MIWAE",
    "MLP",
    "MMD",
    "MNIST",
    "PIWAE",
    "RWS",
    "STL",
    "VAE",
    "Adaptive",
    "AdaptiveResult",
    "AffineAutoregressive",
    "AffineCoupling",
    "Annealed",
    "ArrayFile",
    "Autoencoder",
    "Bernoulli",
    "BetaTCVAE",
    "BinarizedMNIST",
    "CaltechSilhouettes",
    "Categorical",
    "Certificate",
    "Column",
    "Comparison",
    "ConditionalVAE",
    "ContinuousBernoulli",
    "Convergence",
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
    "CrossCheck",
    "DReG",
    "DataSet",
    "Diagnosis",
    "DiagonalNormal",
    "Digits",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Estimator",
    "FashionMNIST",
    "Flow",
    "FlowPosterior",
    "FlowPrior",
    "FreeBits",
    "FreyFaces",
    "FullCovarianceNormal",
    "FunctionalVAE",
    "GatedMLP",
    "Gaussian",
    "GaussianMixture",
    "HierarchicalVAE",
    "History",
    "ImageFolder",
    "Importance",
    "Imputation",
    "InputError",
    "Laplace",
    "LearnedNormal",
    "Likelihood",
    "LogMarginal",
    "LogNormal",
    "LowRankNormal",
    "MixturePosterior",
    "NegativeBinomial",
    "NonFiniteLoss",
    "Objective",
    "Omniglot",
    "OmniglotBurda",
    "Ordinal",
    "PartlyLabelled",
    "Planar",
    "PointPosterior",
    "Poisson",
    "Posterior",
    "Prior",
    "Program",
    "Radial",
    "Renyi",
    "ResNetDecoder",
    "ResNetEncoder",
    "Sandwich",
    "Schema",
    "SemiSupervisedVAE",
    "SphericalUniform",
    "SphericalVAE",
    "Spline",
    "SplineAutoregressive",
    "SplineCoupling",
    "StandardNormal",
    "StudentT",
    "Table",
    "TableEncoder",
    "TableLikelihood",
    "TraceEnum_ELBO",
    "TraceMeanField_ELBO",
    "Trace_ELBO",
    "VampPrior",
    "VonMisesFisher",
    "WithLinear",
    "WithMask",
    "compare",
    "convergence",
    "cross_check",
    "decode",
    "diagnose",
    "encode",
    "fit",
    "generate",
    "impute",
    "load",
    "log_marginal",
    "log_weights",
    "prior_grid",
    "reconstruct",
    "refit_prior",
    "sandwich",
    "save",
    "simulate",
]

_HOMES = (
    "checks",
    "columns",
    "data",
    "evaluation",
    "flows",
    "likelihoods",
    "networks",
    "objectives",
    "posteriors",
    "prediction",
    "priors",
    "programs",
    "runs",
    "training",
    "vae",
)


if not TYPE_CHECKING:  # to a type checker, what is not imported above does not exist

    def __getattr__(name: str) -> object:
        """Import all public names when the first one is asked for, or a submodule."""
        if name in __all__:
            for home in map(import_module, (f"{__name__}.{home}" for home in _HOMES)):
                globals().update({public: vars(home)[public] for public in home.__all__ if public in __all__})
            return globals()[name]
        try:
            return import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
