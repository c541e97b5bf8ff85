"""Size of chunks: the number of latents that a model processes at a time, chosen by cache or memory."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyrovae import checks
from pyrovae.execution import MaskMissing, evaluating, trace
from pyrovae.missing import has_missing
from pyrovae.programs import Arguments, PyroFunction
from pyrovae.rng import forked_rng

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Chunks"]

T = TypeVar("T")

_DEFAULT = 2000  # latents at a time, if a run of the model does not show its memory use
_IN_CACHE = 2**22  # numbers in the largest tensor of a chunk, on a CPU
_IN_MEMORY = 2**29  # bytes of all tensors of a chunk together, on a CPU
_MOST = {"cpu": 2**15, "cuda": 2**18}  # largest number of latents at a time, by device


class Chunks:
    """Chunks of data and samples that fit the machine.

    Args:
        chunk_size: number of latents that the model processes at a time. By default it is chosen from the memory use of
            a small run of the model. On a CPU, the largest tensor then has about 16 MiB and all tensors together have
            at most 512 MiB, on every machine; on a GPU, a chunk takes a quarter of the free memory, rounded down to a
            power of two.
        bar: progress bar to count the finished data.

    Attributes:
        bar: the progress bar, or None.
        size: the number of latents, halved whenever memory did not suffice.

    Raises:
        ValueError: if ``chunk_size`` is not positive.
    """

    def __init__(self, chunk_size: int | None, bar: tqdm[Any] | None = None) -> None:
        self.size = _DEFAULT if chunk_size is None else checks.integer("chunk_size", chunk_size)
        self._is_chosen = chunk_size is not None
        self.bar = bar

    def choose(self, model: PyroFunction, arguments: Arguments) -> None:
        """Choose the size by a run of the model on some of the data, unless it is given or chosen already."""
        if not self._is_chosen:
            self.size = _choose_size(model, arguments) or _DEFAULT
            self._is_chosen = True

    def in_parts(self, work: Callable[..., T], arguments: Arguments, at_a_time: Callable[[int], int]) -> list[T]:
        """Call ``work`` on successive parts of the data; if memory does not suffice, retry with smaller chunks.

        Retries use fresh noise: equally valid, but not reproducible from the seed alone.

        Args:
            work: function of parts of the arguments that processes chunks of :attr:`size` latents.
            arguments: tensors of N data.
            at_a_time: returns the number of data per call for a chunk size; at least one is used.
        """
        found: list[T] = []
        start = 0
        while start < len(arguments[0]):
            stop = start + max(1, at_a_time(self.size))
            try:
                found.append(work(*(part[start:stop] for part in arguments)))
                if self.bar is not None:
                    self.bar.update(min(stop, len(arguments[0])) - start)
                start = stop
                continue
            except (RuntimeError, ValueError, MemoryError) as error:
                if self.size == 1 or not _is_out_of_memory(error):
                    raise
            self._halve()
        return found

    def _halve(self) -> None:
        warnings.warn(
            f"chunk_size {self.size} takes more memory than there is: it is halved to {self.size // 2}", stacklevel=4
        )
        self.size //= 2
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Tell whether an error or one of its causes is a lack of memory."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            return True
        if "not enough memory" in str(error) or "DefaultCPUAllocator: can't allocate" in str(error):
            return True
        error = error.__cause__
    return False


def _choose_size(model: PyroFunction, arguments: Arguments) -> int | None:
    """Choose a number of latents; None if the model does not run, or makes other tensors for more data."""
    device = arguments[0].device
    try:
        with evaluating(model), forked_rng(device):
            # The first run registers the modules.
            _, few, more = (_sizes(model, arguments, count) for count in (2, 2, 4))
    except Exception:  # the evaluation itself reports what is wrong
        return None
    if len(few) != len(more):
        return None
    growth = [(after - before) / 2 for before, after in zip(few, more, strict=True)]  # bytes of each further datum
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
        size = (free - torch.cuda.memory_allocated(device)) / 4 / max(sum(growth), 1)
        size = 2 ** int(math.log2(max(size, 1)))  # so that it rarely depends on other use of the memory
    else:
        size = min(4 * _IN_CACHE / max(*growth, 1), _IN_MEMORY / max(sum(growth), 1))
    return max(1, min(int(size), _MOST.get(device.type, _MOST["cpu"])))


def _sizes(model: PyroFunction, arguments: Arguments, count: int) -> list[int]:
    some = torch.arange(count) % len(arguments[0])
    if has_missing(arguments[0]):
        model = MaskMissing()(model)
    with _RecordSizes() as sizes:
        trace(model, tuple(part[some.to(part.device)] for part in arguments))
    return sizes.found


class _RecordSizes(TorchFunctionMode):
    """A mode that records the bytes of each tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[int] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor):
            # Expanded tensors take no memory, such as a VampPrior's components for each latent.
            self.found.append(min(made.nbytes, made.untyped_storage().nbytes()))
        return made
