"""The slow, obvious, dense truth, written from the definitions; shares no code with the package.

Axes are (Rx, Ry, Qx, Qy). Lengths Å, frequencies Å⁻¹, angles rad, energies eV.
"""

from __future__ import annotations

import numpy as np

PLANCK, LIGHT = 6.62607015e-34, 299792458.0
ELECTRON_MASS, CHARGE = 9.1093837015e-31, 1.602176634e-19


def wavelength(energy):
    """λ = h c / sqrt(E (E + 2 m c²))."""
    joule = energy * CHARGE
    rest = ELECTRON_MASS * LIGHT**2
    return 1e10 * PLANCK * LIGHT / np.sqrt(joule * (joule + 2 * rest))


def chi(polar, kx, ky, lam):
    """χ(k) = (2π/λ) Σ θ^(m+1)/(m+1) C_mn cos n(φ − φ_mn); `polar` may leave symbols out."""
    p = {name: 0.0 for m, n in TERMS for name in (f"C{m}{n}", f"phi{m}{n}")}
    p.update(polar)
    theta = lam * np.hypot(kx, ky)
    phi = np.arctan2(ky, kx)
    total = np.zeros(np.broadcast(kx, ky).shape)
    for m, n in TERMS:
        term = p[f"C{m}{n}"] * np.cos(n * (phi - p[f"phi{m}{n}"]))
        total += 2 * np.pi / lam * theta ** (m + 1) / (m + 1) * term
    return total


TERMS = (
    (1, 0),
    (1, 2),
    (2, 1),
    (2, 3),
    (3, 0),
    (3, 2),
    (3, 4),
    (4, 1),
    (4, 3),
    (4, 5),
    (5, 0),
    (5, 2),
    (5, 4),
    (5, 6),
)


def relative_angles(polar, rotation, transpose):
    """Aberration angles as seen by the detector."""
    turned = dict(polar)
    for name, value in polar.items():
        if name.startswith("phi"):
            angle = value - rotation
            turned[name] = np.pi / 2 - angle if transpose else angle
    return turned


def inside_aperture(kx, ky, lam, semiangle):
    return lam * np.hypot(kx, ky) <= semiangle * 1e-3


def aperture(polar, kx, ky, lam, semiangle):
    """A(k) = [λ|k| ≤ α] exp(−iχ(k))."""
    return inside_aperture(kx, ky, lam, semiangle) * np.exp(-1j * chi(polar, kx, ky, lam))


def scan_frequencies(shape, step, rotation=0.0, transpose=False):
    """All scan frequencies (Rx, Ry), seen in the detector's frame."""
    fx, fy = np.meshgrid(
        np.fft.fftfreq(shape[0], step[0]), np.fft.fftfreq(shape[1], step[1]), indexing="ij"
    )
    c, s = np.cos(-rotation), np.sin(-rotation)
    qx, qy = fx * c - fy * s, fy * c + fx * s
    return (qy, qx) if transpose else (qx, qy)


def ssb(
    data,
    kx,
    ky,
    step,
    energy,
    semiangle,
    polar=None,
    rotation=0.0,
    transpose=False,
    sideband="both",
    triple_overlap=True,
):
    """Single-sideband ptychography; kx (Qx,), ky (Qy,) are the detector frequencies.

    Returns the object, complex (Rx, Ry).
    """
    lam = wavelength(energy)
    polar = relative_angles(polar or {}, rotation, transpose)
    kx, ky = np.meshgrid(kx, ky, indexing="ij")
    g = np.fft.fft2(np.asarray(data, float), axes=(0, 1))
    qx, qy = scan_frequencies(g.shape[:2], step, rotation, transpose)
    a = aperture(polar, kx, ky, lam, semiangle)
    psi = np.zeros(g.shape[:2], complex)
    for i in range(g.shape[0]):
        for j in range(g.shape[1]):
            if i == 0 and j == 0:
                psi[i, j] = np.abs(g[0, 0]).sum()
                continue
            minus = aperture(polar, kx - qx[i, j], ky - qy[i, j], lam, semiangle)
            plus = aperture(polar, kx + qx[i, j], ky + qy[i, j], lam, semiangle)
            gamma = _sidebands(a, minus, plus, sideband, triple_overlap)
            used = np.abs(gamma) > 1e-3
            psi[i, j] = np.sum(g[i, j][used] * np.conj(gamma[used]) / np.abs(gamma[used]))
    return np.fft.ifft2(psi) / np.asarray(data, float).sum(axis=(2, 3)).mean()


def _sidebands(a, minus, plus, sideband, triple_overlap):
    """γ(k, Q) = A*(k) A(k − Q) − A(k) A*(k + Q), of the wanted sidebands and overlaps."""
    in_a, in_minus, in_plus = (np.abs(x) > 0.5 for x in (a, minus, plus))
    right = np.conj(a) * minus
    left = a * np.conj(plus)
    if not triple_overlap:
        right = right * (in_a & in_minus & ~in_plus)
        left = left * (in_a & in_plus & ~in_minus)
    return {"both": right - left, "right": right, "left": -left}[sideband]


def centre_of_mass(data, mask=None):
    """Centre of mass (2, Rx, Ry) [px]; NaN where nothing was counted."""
    mask = np.ones(data.shape[2:]) if mask is None else mask
    com = np.full((2, *data.shape[:2]), np.nan)
    for rx in range(data.shape[0]):
        for ry in range(data.shape[1]):
            pattern = data[rx, ry].astype(float) * mask
            if pattern.sum() > 0:
                rows, columns = np.indices(pattern.shape)
                com[0, rx, ry] = (rows * pattern).sum() / pattern.sum()
                com[1, rx, ry] = (columns * pattern).sum() / pattern.sum()
    return com


def virtual_image(data, mask):
    """Sum of every pattern under a mask (Rx, Ry)."""
    return (data.astype(float) * mask).sum(axis=(2, 3))


def annulus(shape, center, inner, outer):
    """True at pixels whose distance r from `center` is inner ≤ r < outer."""
    rows, columns = np.indices(shape)
    r = np.hypot(rows - center[0], columns - center[1])
    return (r >= inner) & (r < outer)


def binned(data, factor):
    """Detector binned by a whole factor; rows and columns left over at the end are dropped."""
    rows, columns = data.shape[2] // factor, data.shape[3] // factor
    out = np.zeros((*data.shape[:2], rows, columns), data.dtype)
    for i in range(rows * factor):
        for j in range(columns * factor):
            out[:, :, i // factor, j // factor] += data[:, :, i, j]
    return out


def centred(data, center, pixels_per_bin, size):
    """Pixel (r, c) goes to floor((r − r0)/b + size/2), likewise for columns; outside is dropped."""
    out = np.zeros((*data.shape[:2], size, size), data.dtype)
    for r in range(data.shape[2]):
        for c in range(data.shape[3]):
            i = int(np.floor((r - center[0]) / pixels_per_bin + size / 2))
            j = int(np.floor((c - center[1]) / pixels_per_bin + size / 2))
            if 0 <= i < size and 0 <= j < size:
                out[:, :, i, j] += data[:, :, r, c]
    return out


def canonical_csr(data):
    """indptr, indices and counts (always present) of dense data."""
    indptr, indices, counts = [0], [], []
    for pattern in data.reshape(-1, data.shape[2] * data.shape[3]):
        for index, count in enumerate(pattern):
            if count:
                indices.append(index)
                counts.append(int(count))
        indptr.append(len(indices))
    return np.array(indptr), np.array(indices, int), np.array(counts, object)


def rotated_com(com, angle, transpose):
    """Centre of mass (2, Rx, Ry) turned from the detector's into the scan's frame."""
    x, y = (com[1], com[0]) if transpose else (com[0], com[1])
    return np.stack([np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y])


def summed_curl(com):
    """Mean squared curl of a field (2, Rx, Ry), by centred differences inside the scan."""
    along_y = com[0][1:-1, 2:] - com[0][1:-1, :-2]
    along_x = com[1][2:, 1:-1] - com[1][:-2, 1:-1]
    return np.mean((along_x - along_y) ** 2)


def rotation_search(com, angles=None):
    """Rotation [rad] in [−π/2, π/2) and transpose of least curl, by trying `angles`."""
    angles = np.deg2rad(np.arange(-90, 90, 0.5)) if angles is None else angles
    tried = [
        (summed_curl(rotated_com(com, angle, transpose)), angle, transpose)
        for transpose in (False, True)
        for angle in angles
    ]
    _, angle, transpose = min(tried, key=lambda item: item[0])
    return angle, transpose


def dpc_direct(com, step, padding_factor=1):
    """Phase [rad] whose gradient is 2π times the centre of mass (2, Rx, Ry) [Å⁻¹]."""
    shape = tuple(round(n * padding_factor) for n in com.shape[1:])
    gradient = np.zeros((2, *shape))
    gradient[:, : com.shape[1], : com.shape[2]] = 2 * np.pi * com
    qx = np.fft.fftfreq(shape[0], step[0])[:, None]
    qy = np.fft.fftfreq(shape[1], step[1])[None, :]
    q2 = qx**2 + qy**2
    q2[0, 0] = 1.0
    gx, gy = np.fft.fft2(gradient, axes=(1, 2))
    spectrum = (qx * gx + qy * gy) / (2j * np.pi * q2)
    spectrum[0, 0] = 0.0
    return np.fft.ifft2(spectrum).real[: com.shape[1], : com.shape[2]]


def correlation(a, b):
    """Pearson correlation of two images."""
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]
