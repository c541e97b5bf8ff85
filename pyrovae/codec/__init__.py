"""Lossless compression of data by a program: bits-back coding, and the bytes that it makes of the data."""

from pyrovae.codec.codec import Codec
from pyrovae.codec.compression import compress, compress_parts, decompress, decompress_parts
from pyrovae.codec.file_format import Header
from pyrovae.codec.stack import Stack

__all__ = ["Codec", "Header", "Stack", "compress", "compress_parts", "decompress", "decompress_parts"]
