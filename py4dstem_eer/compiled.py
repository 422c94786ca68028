"""Functions that numba compiles, when they are first needed.

Nothing imports numba before something is to be compiled: that takes longer than to describe a file.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

_MAKING = threading.RLock()
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


class CompiledFunction:
    """What numba makes of a function, made when it is first called or compiled into a caller.

    Parameters
    ----------
    make : callable
        Returns numba's function.
    py_func : callable, optional
        The function as it is written, for other compilers.
    """

    def __init__(self, make: Callable[[], Any], py_func: Callable[..., Any] | None = None) -> None:
        self._make = make
        self._made: Any = None
        if py_func is not None:
            self.py_func = py_func
        functools.update_wrapper(self, py_func or make)

    def __call__(self, *arguments: Any) -> Any:
        """Call the compiled function."""
        return self._compiled()(*arguments)

    @property
    def _numba_type_(self) -> Any:
        # numba asks objects that it does not know for this where compiled code names them
        return self._compiled()._numba_type_

    def _compiled(self) -> Any:
        if self._made is None:
            with _MAKING:  # callers keep only a weak reference, so that there must never be two
                if self._made is None:
                    self._made = self._make()
        return self._made


def scalar_function(function: Callable[..., Any]) -> CompiledFunction:
    """Decorate a scalar helper that kernel bodies call; it works on both devices."""
    return CompiledFunction(lambda: compiled(function), function)


#: The same for functions of arrays that Python calls, where items depend on those before them.
serial_function = scalar_function


def inlined_function(function: Callable[..., Any]) -> CompiledFunction:
    """Decorate a loop over arrays that kernel bodies call.

    Where a loop is not inlined it is not known which arrays overlap, nor that its bounds are 32-bit
    numbers, and it is not turned into vectors.
    """
    return CompiledFunction(lambda: compiled(function, forceinline=True), function)


def compiled(function: Callable[..., Any], **options: Any) -> Any:
    """Return what numba makes of a function, kept on disk for the next process."""
    import numba

    return numba.njit(**_OPTIONS, **options)(function)


def _bit_instruction(build: Callable[[Any, Any], Any]) -> CompiledFunction:
    """Return a function of a uint64 that is one instruction of the processor.

    Anything made of arithmetic takes what it is used for twice as long.

    Parameters
    ----------
    build : callable
        Makes the instruction, given llvmlite's builder and the argument.
    """

    def make() -> Any:
        from numba import njit, types
        from numba.extending import intrinsic

        @intrinsic
        def instruction(context, word):
            def generate(context, builder, signature, arguments):
                return build(builder, arguments[0])

            return types.uint64(types.uint64), generate

        return njit(lambda word: instruction(word))  # type: ignore[call-arg]

    return CompiledFunction(make)


def _count_trailing_zeros(builder: Any, word: Any) -> Any:
    from llvmlite import ir

    defined_for_zero = ir.Constant(ir.IntType(1), 0)
    return builder.cttz(word, defined_for_zero)


#: Counts the zeros below the lowest set bit; of 0 they are 64.
trailing_zeros = _bit_instruction(_count_trailing_zeros)
#: Counts the bits that are set.
set_bits = _bit_instruction(lambda builder, word: builder.ctpop(word))
