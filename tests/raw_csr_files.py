"""Small raw_csr data sets written without the package, and the dense truth that belongs to them."""

from __future__ import annotations

import numpy as np
import pytest

ARRAYS = ("indptr", "indices", "data")


def entries(counts, rng, repeat=False, shuffle=False):
    """Return the entries (index, value) of every pattern of dense counts (Rx, Ry, Qx, Qy)."""
    found = []
    for pattern in counts.reshape(-1, counts.shape[2] * counts.shape[3]):
        index = np.flatnonzero(pattern)
        value = pattern[index]
        if repeat:
            index, value = np.repeat(index, value), np.ones(value.sum(), int)
        order = rng.permutation(len(index)) if shuffle else np.arange(len(index))
        found.append((index[order], value[order]))
    return found


def arrays(lists):
    """Return indptr, indices and data of such entries."""
    indptr = np.concatenate(([0], np.cumsum([len(index) for index, _ in lists])))
    return [indptr, *(np.concatenate([pair[k] for pair in lists]) for k in (0, 1))]


def write(path, values, shape, dtypes=("<i8", "<u2", "|u1"), filetype="raw_csr", **extra):
    """Write the TOML file and the arrays, named after it; `extra` replaces lines of [params]."""
    params = {
        "filetype": f'"{filetype}"',
        "nav_shape": list(shape[:2]),
        "sig_shape": list(shape[2:]),
    }
    lines = ["[params]", *(f"{k} = {v}" for k, v in {**params, **extra}.items()), f"[{filetype}]"]
    for name, array, dtype in zip(ARRAYS, values, dtypes, strict=True):
        file = path.with_name(f"{path.stem}_{name}.raw")
        np.asarray(array).astype(dtype).tofile(file)
        lines += [f'{name}_file = "{file.name}"', f'{name}_dtype = "{dtype}"']
    path.write_text("\n".join(lines) + "\n")


def make(
    path,
    seed=0,
    shape=(5, 7, 12, 9),
    mean=0.2,
    dtypes=("<i8", "<u2", "|u1"),
    filetype="raw_csr",
    **how,
):
    """Write a random data set and return its dense truth."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(mean, shape)
    counts[0, 1 % shape[1]] = 0
    write(path, arrays(entries(counts, rng, **how)), shape, dtypes, filetype)
    return counts


def with_libertem(path, **options):
    """Return the dense counts as LiberTEM sees them."""
    api = pytest.importorskip("libertem.api", reason="LiberTEM is not installed")
    from libertem.udf import UDF

    class Dense(UDF):
        def get_result_buffers(self):
            shape = tuple(self.meta.dataset_shape.sig)
            return {"dense": self.buffer(kind="nav", extra_shape=shape, dtype="f8")}

        def process_frame(self, frame):
            self.results.dense[:] = frame

    context = api.Context.make_with("inline")
    data_set = context.load("raw_csr", str(path), **options)
    return np.asarray(context.run_udf(data_set, Dense())["dense"].data)
