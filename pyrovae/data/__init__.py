"""Data sets as arrays in memory or on disk, their splits, binarisation, dequantisation and batches."""

from pyrovae.data.arrays import ArrayFile, FreyFaces, ImageFolder
from pyrovae.data.dataset import Binarization, DataSet, Split
from pyrovae.data.standard import MNIST, Digits, FashionMNIST, KMNIST, Omniglot

__all__ = [
    "MNIST",
    "ArrayFile",
    "Binarization",
    "DataSet",
    "Digits",
    "FashionMNIST",
    "FreyFaces",
    "ImageFolder",
    "KMNIST",
    "Omniglot",
    "Split",
]
