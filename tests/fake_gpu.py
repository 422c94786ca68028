"""A stand-in for cupy that is as strict as cupy about what is on the GPU and what is not.

Its arrays are numpy arrays that refuse to meet numpy: no numpy function takes them, no operator
mixes them with arrays in main memory, and only `get` brings them back. Kernels run on the CPU, and
take arrays of its kind only. What runs on it keeps everything on the device.
"""

from __future__ import annotations

from types import ModuleType, SimpleNamespace

import numpy as np
import scipy.fft
import scipy.ndimage

from py4dstem_eer import device as module
from py4dstem_eer.device import Device, Kernel, _run_in_threads

_ALLOWED = (int, float, complex, np.generic, np.dtype, type, str, tuple, list, slice, type(None))


class GPUArray(np.ndarray):
    """An array that lives on the stand-in."""

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"numpy.{function.__name__} was given an array of the GPU")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        for value in (*inputs, *kwargs.get("out", ())):
            if isinstance(value, np.ndarray) and not isinstance(value, GPUArray) and value.ndim:
                raise TypeError(f"{ufunc.__name__} of an array of the GPU and one in main memory")
        return _wrapped(getattr(ufunc, method)(*_plain(inputs), **_plain(kwargs)))

    def __array__(self, *_, **__):
        raise TypeError("an array of the GPU was taken for one in main memory; use asnumpy")

    def __getitem__(self, key):
        _check_key(key)
        return _wrapped(self.view(np.ndarray)[_plain(key)])

    def __setitem__(self, key, value):
        _check_key(key)
        if isinstance(value, np.ndarray) and not isinstance(value, GPUArray):
            raise TypeError("an array in main memory was assigned to one of the GPU")
        self.view(np.ndarray)[_plain(key)] = _plain(value)

    def get(self):
        return np.array(self.view(np.ndarray))


def _method(name):
    def method(self, *args, **kwargs):
        return _wrapped(getattr(self.view(np.ndarray), name)(*_plain(args), **_plain(kwargs)))

    return method


for _name in ("sum", "mean", "max", "min", "astype", "reshape", "copy", "ravel", "conj", "cumsum"):
    setattr(GPUArray, _name, _method(_name))


def _check_key(key):
    for part in key if isinstance(key, tuple) else (key,):
        if isinstance(part, np.ndarray) and not isinstance(part, GPUArray) and part.ndim:
            raise TypeError("an array of the GPU was indexed by one in main memory")


def _plain(value):
    if isinstance(value, GPUArray):
        return value.view(np.ndarray)
    if isinstance(value, (tuple, list)):
        return type(value)(_plain(v) for v in value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


def _wrapped(value):
    """Everything stays on the device, single numbers too, as in cupy."""
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value).view(GPUArray)
    return value


class _Library:
    """A module whose functions take and give arrays of the GPU only."""

    def __init__(self, real, **own):
        self._real = real
        self.__dict__.update(own)

    def __getattr__(self, name):
        attribute = getattr(self._real, name)
        if isinstance(attribute, ModuleType):
            return _Library(attribute)
        if not callable(attribute) or isinstance(attribute, type):
            return attribute

        def function(*args, **kwargs):
            _check_on_device(name, (*args, *kwargs.values()))
            return _wrapped(attribute(*_plain(args), **_plain(kwargs)))

        if isinstance(attribute, np.ufunc):
            function.at = _Library(attribute).at
        return function


def _check_on_device(name, values):
    for value in values:
        if isinstance(value, (tuple, list)):
            _check_on_device(name, value)
        elif isinstance(value, np.ndarray) and not isinstance(value, GPUArray) and value.ndim:
            raise TypeError(f"cupy.{name} was given an array in main memory")


def _asarray(array, dtype=None):
    return np.array(_plain(array), dtype=dtype).view(GPUArray)


def install(monkeypatch, record=None):
    """Let ``device="gpu"`` mean the stand-in; `record` gets (kernel, arguments) of each launch."""
    xp = _Library(np, ndarray=GPUArray, asarray=_asarray, array=_asarray)
    libraries = (xp, _Library(scipy.fft), _Library(scipy.ndimage))
    gpu = Device("gpu", *libraries)
    monkeypatch.setattr(module, "_gpu", lambda: gpu)
    real = Kernel.launch

    def launch(self, where, n_items, *arrays):
        if where.name == "cpu":
            return real(self, where, n_items, *arrays)
        for array in arrays:
            if isinstance(array, np.ndarray) and not isinstance(array, GPUArray):
                raise TypeError(f"{self.__name__} was launched with an array in main memory")
        plain = tuple(_plain(array) for array in arrays)
        if record is not None:
            record(self, (n_items, *plain))
        if n_items:
            _run_in_threads(self._cpu_launcher, n_items, plain)
        return None

    monkeypatch.setattr(Kernel, "launch", launch)
    return SimpleNamespace(device=gpu, xp=xp)
