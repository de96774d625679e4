"""The operations written to be read: what every other implementation must reproduce, label for label.

Arrays are numpy's, one clip at a time. Slow on purpose; `tests/ops` holds the fast ones against it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

f32 = np.float32
COLOUR_UNIT = 1 << 16
"""Lab values are summed as integers in units of 1 / COLOUR_UNIT, so that the order of summation cannot matter."""
COLOUR_LIMIT = f32(30000)
MIDDLE = f32(50)
"""Lightness is compared relative to this, so that squares stay small beside the digits of a float."""

# linear sRGB to XYZ, rows divided by the D65 white point (CIE 1931, 2 degrees)
_WHITE = np.array([0.95047, 1.0, 1.08883])
XYZ_OF_RGB = (
    np.array(
        [
            [0.412453, 0.357580, 0.180423],
            [0.212671, 0.715160, 0.072169],
            [0.019334, 0.119193, 0.950227],
        ]
    )
    / _WHITE[:, None]
).astype(f32)


def _linear(value: np.ndarray) -> np.ndarray:
    return np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)


LINEAR_OF_BYTE = _linear(np.arange(256) / 255).astype(f32)
"""(256,) float32: linear intensity of each 8-bit sRGB value."""

LINEAR_STEPS = 4096
LINEAR_OF_STEP = _linear(np.arange(LINEAR_STEPS + 1) / LINEAR_STEPS).astype(f32)
"""(4097,) float32: the same for floating-point values, read with linear interpolation (error below 2e-7)."""


def cube_root(x: np.ndarray) -> np.ndarray:
    """Cube root of positive float32 values in operations that are rounded alike on every machine.

    A third of the exponent, read off the bits, then two steps of Halley's iteration.
    """
    x = np.asarray(x, f32)
    y = (x.view(np.int32) // 3 + np.int32(709921077)).view(f32)
    for _ in range(2):
        cube = y * y * y
        y = y * ((cube + (x + x)) / ((cube + cube) + x))
    return y


def rgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65, 2 degrees) of sRGB: (3, T, H, W) uint8, or float in [0, 1], to (3, T, H, W) float32."""
    if rgb.dtype == np.uint8:
        linear = LINEAR_OF_BYTE[rgb]
    else:
        # what is not a number is black
        place = np.where(rgb > 0, np.minimum(rgb.astype(f32), f32(1)), f32(0)) * f32(LINEAR_STEPS)
        low = np.minimum(place.astype(np.int32), LINEAR_STEPS - 1)
        start = LINEAR_OF_STEP[low]
        linear = start + (LINEAR_OF_STEP[low + 1] - start) * (place - low.astype(f32))
    r, g, b = linear
    curved = []
    for to_r, to_g, to_b in XYZ_OF_RGB:
        value = (to_r * r + to_g * g) + to_b * b
        root = cube_root(np.maximum(value, f32(0.008856)))
        curved.append(np.where(value > f32(0.008856), root, f32(7.787) * value + f32(16 / 116)))
    x, y, z = curved
    return np.stack([f32(116) * y - f32(16), f32(500) * (x - y), f32(200) * (y - z)])


def slic(
    lab: np.ndarray,
    grid: tuple[int, int, int],
    compactness: float,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    iterations: int = 10,
    centres: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Simple linear iterative clustering (Achanta et al. 2012) of a clip.

    Parameters
    ----------
    lab
        (3, T, H, W) float32.
    grid
        Clusters along t, y, x, at most as many as there are voxels; K is their product.
    compactness
        Weight of shape against colour, positive.
    spacing
        Distance between neighbouring voxels along t, y, x.
    iterations
        At most how many rounds of assignment; the first one takes the cells of the grid, unless there are `centres`.
    centres
        (K, 6) float32 to start from: L, a, b, t, y, x.

    Returns
    -------
    labels, centres
        (T, H, W) int32 in 0..K-1, not necessarily all of them; (K, 6) float32.

    A voxel takes the nearest of the centres whose window, 2 steps to each side of the centre, it lies in; of equally
    near ones the lowest. One that no window reaches keeps its label. A cluster without voxels keeps its centre.

    Distances are compared without the square of the voxel's own colour, which is the same for all centres: what is
    left of |x - c|^2 is |c|^2 - 2 c.x, three fused operations.
    """
    shape = lab.shape[1:]
    coordinates = np.indices(shape)
    cells = [(axis * n) // size for axis, n, size in zip(coordinates, grid, shape, strict=True)]
    labels = ((cells[0] * grid[1] + cells[1]) * grid[2] + cells[2]).astype(np.int32)
    weights, reach = distance_weights(shape, grid, compactness, spacing)
    if centres is None:
        centres = _means(lab, labels, np.zeros((int(np.prod(grid)), 6), f32))
        iterations -= 1
    for _ in range(iterations):
        previous = labels
        least = np.full(shape, np.inf, f32)
        labels = previous.copy()
        for k, centre in enumerate(centres):
            window = tuple(_window(c, r, n) for c, r, n in zip(centre[3:], reach, shape, strict=True))
            d_t, d_y, d_x = (
                np.arange(part.start, part.stop, dtype=f32) - c
                for part, c in zip(window, centre[3:], strict=True)
            )
            frame = (d_t * d_t) * weights[0]
            row = (d_y * d_y) * weights[1]
            column = (d_x * d_x) * weights[2]
            c_l, c_a, c_b = centre[0] - MIDDLE, centre[1], centre[2]
            square = (c_l * c_l + c_a * c_a) + c_b * c_b
            cost = (frame[:, None] + (row + square))[:, :, None] + column
            cost = fused(f32(-2) * c_b, lab[2][window], cost)
            cost = fused(f32(-2) * c_a, lab[1][window], cost)
            cost = fused(f32(-2) * c_l, lab[0][window] - MIDDLE, cost)
            less = cost < least[window]
            least[window][less] = cost[less]
            labels[window][less] = k
        if np.array_equal(labels, previous):
            break
        centres = _means(lab, labels, centres)
    return labels, centres


def distance_weights(
    shape: tuple[int, ...], grid: tuple[int, ...], compactness: float, spacing: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (3,) of the squared distances along t, y, x, and how far (3,) a centre's window reaches; float32.

    The squared distance is |dLab|^2 + (compactness / S)^2 |d|^2 with S the largest step of the grid.
    """
    step = np.array(shape, np.float64) / np.array(grid, np.float64)
    physical = np.array(spacing, np.float64)
    scale = compactness / (step * physical).max()
    return ((scale * physical) ** 2).astype(f32), (2 * step).astype(f32)


def fused(a: np.float32, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c in float32, rounded once, as a processor's fused operation does it.

    The product is exact in float64. Where the sum is not, its last bit is made odd (Boldo and Melquiond 2008), so that
    rounding it to float32 does what rounding the exact sum would.
    """
    product, c = a.astype(np.float64) * b.astype(np.float64), c.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        total = product + c
        shared = total - product
        lost = (product - (total - shared)) + (c - shared)
        even = (total.view(np.int64) & 1) == 0
        odd = np.nextafter(total, np.copysign(np.inf, lost))
        return np.where(even & np.isfinite(lost) & (lost != 0), odd, total).astype(f32)


def _window(centre: np.float32, reach: np.float32, size: int) -> slice:
    return slice(_index_within(centre - reach, size), _index_within(centre + reach + f32(1), size))


def _index_within(place: np.float32, size: int) -> int:
    """A place along an axis as an index in 0..size, cut off; what is not a number is 0."""
    if not place > 0:
        return 0
    return int(place) if place < f32(size) else size


def _means(lab: np.ndarray, labels: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Mean colour and place of each label's voxels from integer sums; a label without voxels keeps its centre."""
    count = np.bincount(labels.ravel(), minlength=len(centres))
    sums = np.zeros((len(centres), 6), np.int64)
    values = [fixed_point(channel) for channel in lab] + list(np.indices(labels.shape))
    for column, value in enumerate(values):
        np.add.at(sums[:, column], labels.ravel(), value.ravel())
    units = np.array([COLOUR_UNIT] * 3 + [1] * 3, np.float64)
    means = centres.copy()
    some = count > 0
    means[some] = (sums[some].astype(np.float64) / (count[some, None] * units)).astype(f32)
    return means


def fixed_point(values: np.ndarray) -> np.ndarray:
    """Lab values as integers in units of 1 / COLOUR_UNIT, cut off; limited so that 32 bits hold them."""
    limited = np.where(values > -COLOUR_LIMIT, np.minimum(values, COLOUR_LIMIT), -COLOUR_LIMIT)
    return (limited.astype(np.float64) * COLOUR_UNIT).astype(np.int64)


def connect_segments(labels: np.ndarray, lab: np.ndarray, min_size: int) -> np.ndarray:
    """Makes every segment one face-connected component of at least `min_size` voxels.

    Parameters
    ----------
    labels
        (T, H, W) int32, any values.
    lab
        (3, T, H, W) float32.
    min_size
        Smaller components join the neighbour nearest in mean colour, of equally near ones the one that begins first.

    Returns
    -------
    (T, H, W) int32, 0..K-1 in the order of their first voxels.

    All small components choose at once and are joined at once, and again until none is small or only one is left:
    no order of work can matter.
    """
    components = _components(labels)
    while True:
        count = np.bincount(components.ravel())
        if len(count) == 1 or count.min() >= min_size:
            return components
        sums = np.stack([_sums(fixed_point(channel), components, len(count)) for channel in lab])
        means = sums.astype(np.float64) / (count * float(COLOUR_UNIT))
        parent = np.arange(len(count))
        for component in np.nonzero(count < min_size)[0].tolist():
            neighbours = _neighbours(components, component)
            difference = means[:, neighbours] - means[:, component, None]
            d_l, d_a, d_b = difference * difference
            # the lowest number is the one that begins first
            _join(parent, component, int(neighbours[np.argmin((d_l + d_a) + d_b)]))
        roots = np.array([_root(parent, c) for c in range(len(count))])
        components = _renumbered(roots[components])


def _components(labels: np.ndarray) -> np.ndarray:
    """Face-connected components of equal labels, numbered in raster order of their first voxels."""
    found = np.full(labels.shape, -1, np.int32)
    number = 0
    for start in np.ndindex(labels.shape):
        if found[start] >= 0:
            continue
        found[start] = number
        queue = deque([start])
        while queue:
            voxel = queue.popleft()
            for other in _faces(voxel, labels.shape):
                if found[other] < 0 and labels[other] == labels[start]:
                    found[other] = number
                    queue.append(other)
        number += 1
    return found


def _faces(voxel: tuple[int, ...], shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for axis in range(3):
        for step in (-1, 1):
            place = voxel[axis] + step
            if 0 <= place < shape[axis]:
                yield (*voxel[:axis], place, *voxel[axis + 1 :])


def _neighbours(components: np.ndarray, component: int) -> np.ndarray:
    """The components that share a face with one, ascending."""
    found: set[int] = set()
    for voxel in map(tuple, np.argwhere(components == component)):
        found.update(int(components[other]) for other in _faces(voxel, components.shape))
    return np.array(sorted(found - {component}))


def _sums(values: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    total = np.zeros(count, np.int64)
    np.add.at(total, labels.ravel(), values.ravel())
    return total


def _root(parent: np.ndarray, node: int) -> int:
    while parent[node] != node:
        node = parent[node]
    return int(node)


def _join(parent: np.ndarray, a: int, b: int) -> None:
    low, high = sorted((_root(parent, a), _root(parent, b)))
    parent[high] = low


def _renumbered(labels: np.ndarray) -> np.ndarray:
    """Consecutive numbers from 0 in the order of the first voxels."""
    _, first, inverse = np.unique(labels.ravel(), return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return rank[inverse].reshape(labels.shape)


def segment_reduce(
    labels: np.ndarray,
    dense: np.ndarray | None,
    cam: np.ndarray | None,
    num_segments: int,
    reduction: str = "sum",
    signed: bool = False,
) -> np.ndarray:
    """Voxel scores summed over supervoxels: score[k] = sum over the voxels v of k of |up(cam)(v) * dense(v)|.

    Parameters
    ----------
    labels
        (T, H, W) int32.
    dense
        (C, T, H, W), whose channels combine as the sum of their absolute values; or None, which stands for 1.
    cam
        (t, h, w), brought to the labels' size by trilinear interpolation with half-pixel centres; or None, for 1.
    reduction
        "sum", "mean" or "max" over the voxels of a supervoxel; one without voxels scores 0.
    signed
        Take no absolute values.

    Returns
    -------
    (num_segments,) float32
    """
    values = np.ones(labels.shape, np.float64)
    if dense is not None:
        dense = dense.astype(np.float64)
        values = dense.sum(axis=0) if signed else np.abs(dense).sum(axis=0)
    if cam is not None:
        up = cam.astype(np.float64)
        for axis, size in enumerate(labels.shape):
            low, weight = upsampling(up.shape[axis], size)
            high = np.minimum(low + 1, up.shape[axis] - 1)
            across = tuple(-1 if a == axis else 1 for a in range(3))
            weight = weight.reshape(across).astype(np.float64)
            up = np.take(up, low, axis) * (1 - weight) + np.take(up, high, axis) * weight
        values = values * up
    if not signed:
        values = np.abs(values)
    scores = np.zeros(num_segments)
    for k in range(num_segments):
        own = values[labels == k]
        if own.size:
            scores[k] = {"sum": own.sum, "mean": own.mean, "max": own.max}[reduction]()
    return scores.astype(f32)


def upsampling(small: int, large: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of `large` places the lower of its two sources among `small`, int64, and the upper's weight, float32."""
    place = np.maximum((np.arange(large) + 0.5) * (small / large) - 0.5, 0.0)
    low = np.minimum(place.astype(np.int64), small - 1)
    return low, np.where(low < small - 1, place - low, 0.0).astype(f32)
