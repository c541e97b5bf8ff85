"""Data sets in memory or on disk: splits, binarisation, dequantisation and batches."""

from pyrovae.data.benchmarks import CIFAR10, KMNIST, MNIST, Digits, FashionMNIST, MissingFiles, Omniglot, or_digits
from pyrovae.data.conversion import as_data_set
from pyrovae.data.dataset import DataSet
from pyrovae.data.description import describe
from pyrovae.data.labels import PartlyLabelled
from pyrovae.data.local_files import ArrayFile, FreyFaces, ImageFolder
from pyrovae.data.published_splits import BinarizedMNIST, CaltechSilhouettes, OmniglotBurda
from pyrovae.data.split import Binarization, Split, SplitName
from pyrovae.data.subsets import observed, of_classes
from pyrovae.data.table import Table

__all__ = [
    "CIFAR10",
    "KMNIST",
    "MNIST",
    "ArrayFile",
    "Binarization",
    "BinarizedMNIST",
    "CaltechSilhouettes",
    "DataSet",
    "Digits",
    "FashionMNIST",
    "FreyFaces",
    "ImageFolder",
    "MissingFiles",
    "Omniglot",
    "OmniglotBurda",
    "PartlyLabelled",
    "Split",
    "SplitName",
    "Table",
    "as_data_set",
    "describe",
    "observed",
    "of_classes",
    "or_digits",
]
