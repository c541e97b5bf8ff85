"""Data sets as arrays in memory or on disk, their splits, binarisation, dequantisation and batches."""

from pyrovae.data.arrays import ArrayFile, FreyFaces, ImageFolder
from pyrovae.data.dataset import DataSet
from pyrovae.data.labels import PartlyLabelled
from pyrovae.data.parts import observed, of_classes
from pyrovae.data.split import Binarization, Split
from pyrovae.data.standard import KMNIST, MNIST, Digits, FashionMNIST, MissingFiles, Omniglot, or_digits

__all__ = [
    "KMNIST",
    "MNIST",
    "ArrayFile",
    "Binarization",
    "DataSet",
    "Digits",
    "FashionMNIST",
    "FreyFaces",
    "ImageFolder",
    "MissingFiles",
    "Omniglot",
    "PartlyLabelled",
    "Split",
    "observed",
    "of_classes",
    "or_digits",
]
