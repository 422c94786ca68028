"""Small stempy files of every layout version, written in a few lines that share nothing with the
package, and the dense truth that belongs to them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

LAYOUTS = ("v0", "v1", "v2", "v2_no_mark", "v3", "v3_one_frame")


def random_frames(rng, scan, detector, n_frames, mean=6.0):
    """Return frames[position][frame] = ascending unique pixels; some frames are empty."""
    n_pixels = detector[0] * detector[1]

    def frame():
        n = min(int(rng.poisson(mean)), n_pixels) if rng.random() > 0.2 else 0
        return np.sort(rng.choice(n_pixels, n, replace=False)).astype(np.uint32)

    return [[frame() for _ in range(n_frames)] for _ in range(scan[0] * scan[1])]


def dense(frames, scan, detector):
    """Return the counts (Rx, Ry, Qx, Qy)."""
    array = np.zeros((scan[0] * scan[1], detector[0] * detector[1]), np.int64)
    for position, lists in enumerate(frames):
        for pixels in lists:
            np.add.at(array[position], pixels, 1)
    return array.reshape(*scan, *detector)


def create(path, sizes, **file_options):
    """Create a HDF5 file; `sizes` are those of addresses and lengths in it [bytes]."""
    if sizes == (8, 8):
        return h5py.File(path, "w", **file_options)
    plist = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    plist.set_sizes(*sizes)
    return h5py.File(h5py.h5f.create(str(path).encode(), h5py.h5f.ACC_TRUNC, plist))


def create_frames(group, n, chunks, filters):
    """Create the dataset of lists; h5py itself refuses to compress those, HDF5 does not."""
    kind = h5py.vlen_dtype(np.uint32)
    if not filters:
        return group.create_dataset("frames", (n,), kind, chunks=chunks)
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(chunks)
    if "shuffle" in filters:
        plist.set_shuffle()
    plist.set_deflate(filters["gzip"])
    space, name = h5py.h5s.create_simple((n,)), b"frames"
    identifier = h5py.h5d.create(
        group.id, name, h5py.h5t.py_create(kind, logical=True), space, plist
    )
    return h5py.Dataset(identifier)


def write_lists(dataset, rows):
    """Write all lists; assigning to the dataset is wrong where all have one element."""
    cells = np.empty(len(rows), dataset.dtype)
    for k, row in enumerate(rows):
        cells[k] = np.asarray(row, np.uint32)
    space = h5py.h5s.create_simple((len(rows),))
    dataset.id.write(space, space, cells)


def write_tables(
    path: Path,
    rows,
    positions,
    scan,
    detector,
    version=None,
    user=None,
    chunks=None,
    filters=None,
    sizes=(8, 8),
    **file_options,
):
    """Write lists and their positions; scan and detector are None where the file does not say."""
    with create(path, sizes, **file_options) as file:
        if version is not None:
            file.attrs["version"] = version
        group = file.create_group("electron_events")
        table = group.create_dataset("scan_positions", data=np.asarray(positions))
        dataset = create_frames(group, len(rows), chunks, filters or {})
        if scan is not None:
            table.attrs["Nx"], table.attrs["Ny"] = scan[1], scan[0]
        if detector is not None:
            dataset.attrs["Nx"], dataset.attrs["Ny"] = detector
        write_lists(dataset, rows)
        counting = file.create_group("metadata/electron_counting")
        counting.attrs["background_threshold"] = 14.5
        counting.attrs["threshold_calculated"] = True
        if user:
            file.create_group("user").attrs.update(user)


def write_layout(path, layout, frames, scan, detector, rng, **file_options):
    """Write `frames` in one of LAYOUTS."""
    flat = [lists for position in frames for lists in position]
    n_positions, n_frames = len(frames), len(frames[0])
    tables = (scan, None if layout == "v0" else detector)
    if layout in ("v0", "v1"):
        joined = [rng.permutation(np.concatenate(position)) for position in frames]
        positions = np.arange(n_positions, dtype=np.int32)
        write_tables(path, joined, positions, *tables, **file_options)
    elif layout.startswith("v2"):
        positions = np.repeat(np.arange(n_positions), n_frames)
        order = rng.permutation(len(flat))
        order = order[[len(flat[k]) > 0 for k in order]]  # frames without electrons are missing
        version = 2 if layout == "v2" else None
        rows = [flat[k] for k in order]
        write_tables(path, rows, positions[order], *tables, version=version, **file_options)
    else:
        write_tables(path, flat, np.arange(n_positions), *tables, version=3, **file_options)


def make(path, layout, seed=0, scan=(5, 7), detector=(12, 9), **file_options):
    """Write a random file and return its dense truth."""
    rng = np.random.default_rng(seed)
    if layout == "v0":
        detector = (576, 576)
    n_frames = 1 if layout in ("v0", "v3_one_frame") else 3
    frames = random_frames(rng, scan, detector, n_frames)
    write_layout(path, layout, frames, scan, detector, rng, **file_options)
    return dense(frames, scan, detector)
