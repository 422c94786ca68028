"""Where arrays live and how a kernel starts: the only file that knows cupy and numba.cuda.

A kernel is one scalar function ``body(i, *arrays)`` that computes everything that belongs to item
``i``. The same text is compiled for the CPU (a loop over items in each of several threads) and for
NVIDIA GPUs (one thread per item), so both give the same result by construction.

On the CPU the threads are Python's, and the compiled loops release its lock: that takes a fraction
of the compile time of numba's own parallel loops, and several threads of a program may launch
kernels at once, which not every threading layer of numba allows.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import os
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from .compiled import compiled
from .errors import DeviceError, MemoryBudgetError, ParameterError

GPU_INSTALL_LINE = 'python -m pip install "py4dstem-eer[gpu]"'
THREADS_PER_BLOCK = 128
#: Threads of a GPU that run in step and read memory together.
WARP = 32

_CPU_LAUNCHER = """
def {name}(begin, end, {arrays}):
    for i in range(begin, end):
        body(i, {arrays})
"""

#: Parts that a thread works on one after another; many, so that none waits for the slowest.
_PARTS_PER_THREAD = 8

_GPU_LAUNCHER = """
def {name}(n_items, {arrays}):
    i = cuda.grid(1)
    if i < n_items:
        body(i, {arrays})
"""


@dataclass(frozen=True)
class Device:
    """An array library, its FFTs, and the name under which the user knows them.

    Attributes
    ----------
    name : {"cpu", "gpu"}
    xp : module
        numpy, or cupy on a GPU (numpy again under numba's CUDA simulator).
    fft : module
        scipy.fft or cupyx.scipy.fft.
    ndimage : module
        scipy.ndimage or cupyx.scipy.ndimage.
    """

    name: str
    xp: ModuleType
    fft: ModuleType
    ndimage: ModuleType

    @property
    def lanes(self) -> int:
        """How many neighbouring items should read neighbouring memory: 1, or a GPU's warp."""
        if self.name == "cpu":
            return 1
        return 2 if _simulating() else WARP  # a simulated thread takes a millisecond

    def asarray(self, array: Any, dtype: Any = None) -> Any:
        """Return `array` on this device."""
        array = self.xp.asarray(array, dtype=dtype)
        if _simulating() and not array.flags.writeable:
            return array.copy()  # the simulator writes every argument back
        return array

    def asnumpy(self, array: Any) -> np.ndarray:
        """Return `array` as a numpy array in main memory."""
        return array.get() if hasattr(array, "get") else array

    def resident(self, array: Any) -> Any:
        """Return `array` on this device in the form that kernels take without any conversion.

        For tables that every redraw reads: to look at a cupy array from numba takes longer than
        some kernels run.
        """
        return _kernel_argument(self.asarray(array)) if self.name == "gpu" else self.asarray(array)

    def synchronize(self) -> None:
        """Wait until everything that was launched is done; for measuring."""
        if hasattr(self.xp, "cuda"):
            self.xp.cuda.get_current_stream().synchronize()

    @contextlib.contextmanager
    def holding(self, n_bytes: int, what: str, advice: str) -> Iterator[None]:
        """Turn a lack of memory into an error that says how much is needed, and what to do.

        Raises
        ------
        MemoryBudgetError
        """
        try:
            yield
        except MemoryError as error:  # cupy's is one too
            raise MemoryBudgetError(
                f"{what} needs {n_bytes / 2**30:.3g} GiB of memory at a time, more than is left on "
                f'device="{self.name}": {advice}'
            ) from error

    def fft_options(self) -> dict[str, int]:
        """Return the keyword arguments that let the FFT library use all CPU cores."""
        return {"workers": n_threads()} if self.name == "cpu" else {}


def get_device(name: str) -> Device:
    """Return the device called `name`.

    Raises
    ------
    ParameterError
        If `name` is neither "cpu" nor "gpu".
    ImportError
        If a GPU is asked for and cupy is not installed.
    DeviceError
        If a GPU is asked for and there is none.
    """
    if name == "cpu":
        return _cpu()
    if name == "gpu":
        return _simulated_gpu() if _simulating() else _gpu()
    raise ParameterError(f'device is {name!r}; it must be "cpu" or "gpu"')


@functools.cache
def _cpu() -> Device:
    import scipy.fft
    import scipy.ndimage

    return Device("cpu", np, scipy.fft, scipy.ndimage)


@functools.cache
def _simulated_gpu() -> Device:
    import scipy.fft
    import scipy.ndimage

    return Device("gpu", np, scipy.fft, scipy.ndimage)


@functools.cache
def _gpu() -> Device:
    try:
        import cupy
        import cupyx.scipy.fft
        import cupyx.scipy.ndimage
    except ImportError as error:
        raise ImportError(f'device="gpu" needs cupy: {GPU_INSTALL_LINE}') from error
    from numba import cuda

    if not cuda.is_available():
        raise DeviceError('device="gpu", but no NVIDIA GPU was found; use device="cpu"')
    return Device("gpu", cupy, cupyx.scipy.fft, cupyx.scipy.ndimage)


def _simulating() -> bool:
    import numba

    return bool(numba.config.ENABLE_CUDASIM)  # type: ignore[attr-defined]


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads(), thread_name_prefix="py4dstem_eer")


# threads do not survive a fork: the child must start its own
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)


def n_threads() -> int:
    """Return how many CPU threads kernels use; NUMBA_NUM_THREADS sets it."""
    import numba

    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def _run_in_threads(launcher: Callable[..., None], n_items: int, arrays: tuple) -> None:
    n_parts = min(n_items, _PARTS_PER_THREAD * n_threads())
    if n_threads() == 1 or n_parts == 1:
        launcher(0, n_items, *arrays)
        return
    edges = [n_items * part // n_parts for part in range(n_parts + 1)]
    launcher(0, 0, *arrays)  # compiles, once and not in every thread
    parts = [_pool().submit(launcher, a, b, *arrays) for a, b in itertools.pairwise(edges)]
    for part in parts:
        part.result()


def _kernel_argument(array: Any) -> Any:
    """Return an array of cupy as numba's, without waiting for the stream that both share."""
    if not hasattr(array, "__cuda_array_interface__"):
        return array
    from numba import cuda

    return cuda.as_cuda_array(array, sync=False)


def _for_gpu(function: Callable[..., Any]) -> Any:
    """Return a function as device code, its scalar helpers too, which are compiled for the CPU.

    For the CUDA simulator all are plain Python: its arrays mean nothing to compiled helpers.
    """
    from numba import cuda

    helpers = {
        name: _for_gpu(value.py_func)
        for name, value in function.__globals__.items()
        if name in function.__code__.co_names and hasattr(value, "py_func")
    }
    names = {**function.__globals__, **helpers}
    copy = types.FunctionType(function.__code__, names, function.__name__)
    return copy if _simulating() else cuda.jit(device=True)(copy)


class Kernel:
    """A scalar body, compiled on first use for the device that it is launched on."""

    def __init__(self, body: Callable[..., None], fastmath: bool | set[str] = False) -> None:
        self.body = body
        self.fastmath = fastmath
        functools.update_wrapper(self, body)  # type: ignore[arg-type]

    def launch(self, device: Device, n_items: int, *arrays: Any) -> None:
        """Run the body once for every item ``0 <= i < n_items``."""
        if n_items == 0:
            return
        if device.name == "cpu":
            _run_in_threads(self._cpu_launcher, n_items, arrays)
        else:
            threads = min(n_items, THREADS_PER_BLOCK) if _simulating() else THREADS_PER_BLOCK
            blocks = -(-n_items // threads)
            arguments = (_kernel_argument(array) for array in arrays)
            self.gpu_launcher[blocks, threads](n_items, *arguments)

    def on_cpu(self, n_items: int, *arrays: Any) -> None:
        """Run the body for every item on the CPU, for code that has no use for a GPU."""
        # readers come here: a Device would import scipy, which takes longer than to describe a file
        if n_items:
            _run_in_threads(self._cpu_launcher, n_items, arrays)

    @functools.cached_property
    def _cpu_launcher(self) -> Callable[..., None]:
        body = compiled(self.body, fastmath=self.fastmath)
        launcher = self._define(_CPU_LAUNCHER, {"body": body})
        return compiled(launcher, fastmath=self.fastmath)

    @functools.cached_property
    def gpu_launcher(self) -> Any:
        """The CUDA kernel: one thread for every item; compiled when it is first launched."""
        from numba import cuda

        names = {"cuda": cuda, "body": _for_gpu(self.body)}
        return cuda.jit(self._define(_GPU_LAUNCHER, names))

    def _define(self, source: str, names: dict[str, Any]) -> Callable[..., None]:
        """Define the launcher as if it stood in the body's own file.

        numba keeps compiled code on disk only for functions that belong to a file, and finds
        changes by that file's date; a closure would be compiled anew in every process.
        """
        name = f"launch_{self.body.__name__}"
        arrays = ", ".join(list(inspect.signature(self.body).parameters)[1:])
        code = compile(source.format(name=name, arrays=arrays), inspect.getfile(self.body), "exec")
        names["__name__"] = self.body.__module__
        exec(code, names)  # the source is the constant template above
        return names[name]


def kernel(body: Callable[..., None] | None = None, *, fastmath: bool | set[str] = False) -> Any:
    """Turn ``body(i, *arrays)`` into a `Kernel` that runs on the CPU and on the GPU."""
    if body is None:
        return lambda function: Kernel(function, fastmath)
    return Kernel(body, fastmath)
