"""Variational autoencoders as Pyro programs, with marginal likelihoods that come with their error."""

from pyrovae.data import MNIST, KMNIST, ArrayFile, DataSet, Digits, FashionMNIST, FreyFaces, ImageFolder, Omniglot
from pyrovae.evaluation import (
    LogMarginal,
    decode,
    encode,
    generate,
    log_marginal,
    log_weights,
    reconstruct,
)
from pyrovae.likelihoods import Bernoulli, Gaussian, Likelihood
from pyrovae.networks import MLP, ConvolutionalDecoder, ConvolutionalEncoder
from pyrovae.posteriors import DiagonalNormal, Posterior
from pyrovae.priors import Prior, StandardNormal
from pyrovae.training import History, fit
from pyrovae.vae import VAE
