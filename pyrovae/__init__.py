"""Variational autoencoders as Pyro programs, with marginal likelihoods that come with their error."""

from pyrovae.checks import InputError
from pyrovae.data import KMNIST, MNIST, ArrayFile, DataSet, Digits, FashionMNIST, FreyFaces, ImageFolder, Omniglot
from pyrovae.evaluation import (
    LogMarginal,
    decode,
    encode,
    generate,
    log_marginal,
    log_weights,
    prior_grid,
    reconstruct,
)
from pyrovae.likelihoods import Bernoulli, Gaussian, Likelihood
from pyrovae.networks import MLP, ConvolutionalDecoder, ConvolutionalEncoder
from pyrovae.objectives import NonFiniteLoss
from pyrovae.posteriors import DiagonalNormal, Posterior
from pyrovae.priors import Prior, StandardNormal
from pyrovae.training import History, fit
from pyrovae.vae import VAE

__all__ = [
    "KMNIST",
    "MLP",
    "MNIST",
    "VAE",
    "ArrayFile",
    "Bernoulli",
    "ConvolutionalDecoder",
    "ConvolutionalEncoder",
    "DataSet",
    "DiagonalNormal",
    "Digits",
    "FashionMNIST",
    "FreyFaces",
    "Gaussian",
    "History",
    "ImageFolder",
    "InputError",
    "Likelihood",
    "LogMarginal",
    "NonFiniteLoss",
    "Omniglot",
    "Posterior",
    "Prior",
    "StandardNormal",
    "decode",
    "encode",
    "fit",
    "generate",
    "log_marginal",
    "log_weights",
    "prior_grid",
    "reconstruct",
]
