"""One small file of each format, for the tests that hold for every reader."""

from __future__ import annotations

import eer_files
import h5py
import mib_files
import numpy as np
import raw_csr_files
import stempy_files
import tpx3_files

from py4dstem_eer.events import EventStore
from py4dstem_eer.writers.emd import write_events


def write_stempy(folder, layout="v3", **file_options):
    path = folder / "events.h5"
    stempy_files.make(path, layout, seed=3, **file_options)
    return path, {}


def write_emd(folder):
    """Write events as in an EMD file; its metadata are those of the file they came from."""
    path = folder / "events.h5"
    rng = np.random.default_rng(4)
    events = EventStore.from_dense(rng.poisson(0.2, (5, 7, 12, 9)), {"format": "emd"})
    with h5py.File(path, "w") as file:
        node = file.create_group("tree")
        node.attrs["emd_group_type"] = "root"
        write_events(node.create_group("metadatabundle"), events)
    return path, {}


def write_falcon(folder, version="v1", **how):
    path = folder / "events.eer"
    eer_files.make(path, version, seed=5, **how)
    return path, {"scan_shape": (5, 7)}


def write_raw_csr(folder, **how):
    path = folder / "events.toml"
    raw_csr_files.make(path, seed=6, **how)
    return path, {}


def write_merlin(folder, *kind, **how):
    path = folder / "events.mib"
    mib_files.write(path, (5, 7), *kind, seed=7, **how)
    return path, {}


def write_merlin_parts(folder):
    mib_files.write_parts(folder, "events", [9, 14, 12], (5, 7), seed=8)
    return folder / "events1.mib", {}


def write_tpx3(folder, chips=(0,), marks=True, **options):
    path = folder / "events.tpx3"
    scan = tpx3_files.Scan((5, 7), chips, per_line=20, seed=9)
    rng = np.random.default_rng(9)
    packets = tpx3_files.shuffled(scan.packets(marks), 500, rng)
    times = [(chip, word) for chip in chips for word in tpx3_files.heartbeat(scan.starts[0] // 6)]
    path.write_bytes(tpx3_files.stream([*times, *packets]))
    return path, {"scan_shape": (5, 7), **options}


#: A function of a folder that writes an example there, with its companion files and nothing else,
#: and returns its path and the options that it needs. One line for each new format.
EXAMPLES = {
    "stempy": write_stempy,
    "falcon": write_falcon,
    "raw_csr": write_raw_csr,
    "merlin": write_merlin,
    "tpx3": write_tpx3,
    "emd": write_emd,
}

#: More files that the fuzz test damages: name, format, and the function as above.
VARIANTS = {
    "stempy v1": ("stempy", lambda folder: write_stempy(folder, "v1")),
    "stempy v2": ("stempy", lambda folder: write_stempy(folder, "v2", libver="latest")),
    "falcon v0": ("falcon", lambda folder: write_falcon(folder, "v0_waste")),
    "falcon v2": ("falcon", lambda f: write_falcon(f, "v2_5_1_3", n_strips=3, final_image=True)),
    "raw_csr repeated": ("raw_csr", lambda f: write_raw_csr(f, repeat=True, shuffle=True)),
    "raw_csr float": ("raw_csr", lambda f: write_raw_csr(f, dtypes=("<u4", ">i8", "<f4"))),
    "merlin quad": ("merlin", lambda f: write_merlin(f, "R64", 6, "2x2", side=16)),
    "merlin 24 bit": ("merlin", lambda f: write_merlin(f, "R64", 24, shape=(8, 16), hdr="scan")),
    "merlin U16": ("merlin", lambda f: write_merlin(f, "U16", 12, shape=(5, 7))),
    "merlin files": ("merlin", write_merlin_parts),
    "tpx3 quad": ("tpx3", lambda f: write_tpx3(f, (0, 1, 2, 3), cluster_radius=1, superres=1)),
    "tpx3 clock": ("tpx3", lambda f: write_tpx3(f, marks=False, dwell_time=250e-9)),
    "tpx3 dwell": ("tpx3", lambda f: write_tpx3(f, dwell_time=250e-9, scan_shape=None)),
    "stempy gzip": ("stempy", lambda f: write_stempy(f, "v3", chunks=(16,), filters={"gzip": 4})),
}
