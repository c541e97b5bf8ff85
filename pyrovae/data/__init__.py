"""Data sets in memory or on disk: splits, binarisation, dequantisation and batches."""

from pyrovae.data.benchmarks import KMNIST, MNIST, Digits, FashionMNIST, MissingFiles, Omniglot, or_digits
from pyrovae.data.dataset import DataSet
from pyrovae.data.description import describe
from pyrovae.data.labels import PartlyLabelled
from pyrovae.data.local_files import ArrayFile, FreyFaces, ImageFolder
from pyrovae.data.split import Binarization, Split, SplitName
from pyrovae.data.subsets import observed, of_classes

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
    "SplitName",
    "describe",
    "observed",
    "of_classes",
    "or_digits",
]
