"""Exact nearest neighbours: among images by integers, among vectors by the order of candidates in double precision.

Pixels are integers, and so are their squared distances |q|^2 + |r|^2 - 2 q r. Taken as int8 (0 is then grey level 128),
inner products fit into int32, which processors with such instructions (VNNI) and GPUs compute several times as fast as
those of floats. Where there are none, the products are taken in float32, 1,024 columns at a time: none of their partial
sums is above 2^24, below which float32 holds every integer, so these are exact too, in whatever order they are summed.

For vectors, faiss finds candidates in single precision through inner products, where small distances between long
vectors drown in rounding. Vectors are therefore centred, as many candidates are taken as the error bound asks for, and
they are ranked by differences in double precision.
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

CANDIDATES = 8
BATCH = 256
BLOCK_BYTES = 32 * 2**20
"""Of a block of images as float32, which is gone through for every batch of queries."""
EXACT_COLUMNS = 2**10
"""Products of int8 are at most 2^14, so that so many of them are summed exactly in float32."""
INT32_COLUMNS = 2**15
"""So many columns keep |r|^2 - 2 q r within int32."""
ROUNDING = 2.0**-24


def nearest_images(
    queries: np.ndarray, references: np.ndarray, k: int = 1, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest references of each query by Euclidean distance of pixels; of equally near ones the lowest first.

    Args:
        queries: uint8 (n, ...).
        references: uint8 (m, ...) of the same shape, m >= k.
        device: where products are taken.

    Returns:
        Indices (n, k), and distances (n, k) in grey levels, float64: roots of exact integers.
    """
    device = device if device.startswith("cuda") else "cpu"
    in_integers = has_fast_int8(device)
    pad = 8 if device != "cpu" else 1
    queries, references = (pixels.reshape(len(pixels), -1) for pixels in (queries, references))
    best = np.empty((len(queries), 0), np.int64)
    squared = np.empty((len(queries), 0), np.int64)
    rows = max(BATCH, BLOCK_BYTES // (4 * references.shape[1]))
    for first in range(0, len(references), rows):
        block = _Block(references[first : first + rows], device, in_integers, pad)
        found = [block.nearest(queries[start : start + BATCH], k) for start in range(0, len(queries), BATCH)]
        indices, distances = (np.concatenate(parts) for parts in zip(*found, strict=True))
        best, squared = smallest(np.hstack([best, indices + first]), np.hstack([squared, distances]), k)
    return best, np.sqrt(squared)


def nearest(
    queries: np.ndarray, references: np.ndarray, k: int = 1, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest references of each query in Euclidean distance; of equally near ones the lowest index first.

    Args:
        queries: (n, d) float32.
        references: (m, d) float32, m >= k.
        device: where to look for candidates; a GPU is used if faiss is built for it.

    Returns:
        Indices (n, k), and distances (n, k) in float64.

    Raises:
        ValueError: a value is not finite; the message names the row.
    """
    for name, vectors in (("query", queries), ("reference", references)):
        if not np.isfinite(vectors.sum(dtype=np.float64)):
            (row, *_) = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
            raise ValueError(f"{name} {row} has values that are not finite")
    centre = references.mean(axis=0)
    centred = tuple(np.ascontiguousarray(x - centre, dtype=np.float32) for x in (queries, references))
    error = _error(*centred)
    indices = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k))
    left, wanted = np.arange(len(queries)), k + CANDIDATES
    while len(left):
        wanted = min(len(references), wanted)
        candidates, approximate = _candidates(centred[0][left], centred[1], wanted, device)
        ranked = np.full(candidates.shape, np.inf)
        could_be = approximate <= approximate[:, k - 1 : k] + 2 * error[left, None]
        for query, row, those, exact in zip(queries[left], candidates, could_be, ranked, strict=True):
            differences = references[row[those]].astype(np.float64) - query.astype(np.float64)
            exact[those] = np.linalg.norm(differences, axis=1)
        indices[left], distances[left] = smallest(candidates, ranked, k)
        # One that is no candidate lies at least as far as the last, but for the error.
        unsure = np.square(distances[left, -1]) >= approximate[:, -1] - error[left]
        left = left[unsure] if wanted < len(references) else left[:0]
        wanted *= 4
    return indices, distances


def smallest(indices: np.ndarray, distances: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k smallest of distances (n, m) with their indices, by distance and then by index: (n, k) each."""
    order = np.lexsort([indices, distances], axis=1)[:, :k]
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(distances, order, axis=1)


@cache
def has_fast_int8(device: str) -> bool:
    """Whether products of int8 are exact on `cpu` or a GPU and faster than those of float32: tried, in milliseconds.

    They are slow where torch has no kernel for the processor, and some kernels without VNNI saturate in between.
    """
    import torch

    random = np.random.default_rng(0)
    one, other = (torch.from_numpy(random.choice([-128, 127], (n, 1024)).astype(np.int8)).to(device) for n in (32, 128))
    as_floats = one.float(), other.float()

    def seconds(in_integers: bool) -> float:
        started = time.perf_counter()
        product = torch._int_mm(one, other.T) if in_integers else as_floats[0] @ as_floats[1].T
        product[0, 0].item()
        return time.perf_counter() - started

    try:
        exact = bool((torch._int_mm(one, other.T) == (as_floats[0] @ as_floats[1].T)).all())
    except (RuntimeError, NotImplementedError, AttributeError):
        return False
    return exact and min(seconds(True) for _ in range(3)) < min(seconds(False) for _ in range(3))


class _Block:
    """Some references, ready to be compared with many queries.

    `pad`: rows and columns are brought to multiples of it, which kernels of GPUs for int8 ask for, and rows above 16.
    """

    def __init__(self, pixels: np.ndarray, device: str, in_integers: bool, pad: int = 1) -> None:
        self.device, self.in_integers, self.pad, self.n = device, in_integers, pad, len(pixels)
        vectors = self._vectors(pixels)
        self.squares = squared_norms(pixels)
        self.vectors = vectors if in_integers else vectors.float()

    def nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices and squared distances, int64 (n, at most k), the lowest index first of equals."""
        import torch

        scores = self._scores(self._vectors(queries))[: len(queries), : self.n]
        found, least = [], []
        for _ in range(min(k, self.n)):
            index = _first_least(scores)
            found.append(index)
            least.append(scores.gather(1, index).to(torch.int64))
            if len(found) < k:
                scores.scatter_(1, index, torch.iinfo(scores.dtype).max)
        indices, distances = (torch.cat(parts, dim=1).cpu().numpy() for parts in (found, least))
        return indices, distances + squared_norms(queries)[:, None]

    def _vectors(self, pixels: np.ndarray) -> torch.Tensor:
        """int8 (n, d), less 128, padded with zeros."""
        import torch

        vectors = torch.from_numpy((pixels ^ 0x80).view(np.int8)).to(self.device)
        if self.pad == 1:
            return vectors
        rows, columns = (-n % self.pad for n in vectors.shape)
        return torch.nn.functional.pad(vectors, (0, columns, 0, max(rows, 24 - len(vectors))))

    def _scores(self, queries: torch.Tensor) -> torch.Tensor:
        """|r|^2 - 2 q r of all pairs: int32, or int64 where these do not fit."""
        import torch

        if not self.in_integers:
            queries = queries.float()
        width = queries.shape[1]
        dtype = torch.int32 if width <= INT32_COLUMNS else torch.int64
        columns = INT32_COLUMNS if self.in_integers else EXACT_COLUMNS
        product = torch.zeros(1, dtype=dtype, device=self.device)
        for first in range(0, width, columns):
            of_queries, of_references = (x[:, first : first + columns] for x in (queries, self.vectors))
            if self.in_integers:
                part = torch._int_mm(of_queries, of_references.T)
            elif self.device == "cpu":
                # numpy's library multiplies these a fifth faster on processors that are not Intel's.
                part = torch.from_numpy(of_queries.numpy() @ of_references.numpy().T)
            else:
                part = of_queries @ of_references.T
            product = part.to(dtype) if first == 0 else product.add_(part.to(dtype))
        squares = torch.nn.functional.pad(torch.from_numpy(self.squares), (0, len(self.vectors) - self.n))
        return torch.sub(squares.to(self.device, dtype), product, alpha=2)


def _first_least(scores: torch.Tensor) -> torch.Tensor:
    """The place (n, 1) of the least of each row, the first of equals."""
    import torch

    if scores.is_cuda:
        return scores.argmin(dim=1, keepdim=True)
    # Six times as fast as torch's.
    return torch.from_numpy(scores.numpy().argmin(axis=1, keepdims=True))


def squared_norms(pixels: np.ndarray) -> np.ndarray:
    """Squared norms, int64 (n,), of uint8 (n, d) less 128."""
    norms = np.empty(len(pixels), np.int64)
    for first in range(0, len(pixels), 64):
        # A few rows stay in cache. float32 sums the squares of so many columns exactly.
        some = (pixels[first : first + 64] ^ 0x80).view(np.int8).astype(np.float32)
        parts = [some[:, start : start + EXACT_COLUMNS] for start in range(0, some.shape[1], EXACT_COLUMNS)]
        norms[first : first + 64] = sum(np.einsum("ij,ij->i", part, part).astype(np.int64) for part in parts)
    return norms


def _error(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """How far, at most, faiss's squared distances (n,) of each query are from true ones.

    Sums of d products in any order are off by at most d roundings of the sum of their sizes (Higham, Accuracy and
    stability of numerical algorithms, 3.1); |q|^2 + |r|^2 - 2 q r has three, whose sizes are at most (|q| + |r|)^2
    together. A few more roundings are for centring and the last sums.
    """
    roundings = (queries.shape[1] + 8) * ROUNDING
    of_queries, of_references = (
        np.sqrt((1 + roundings) * np.einsum("ij,ij->i", x, x).astype(np.float64)) for x in (queries, references)
    )
    return roundings / (1 - roundings) * np.square(of_queries + of_references.max(initial=0))


def _candidates(queries: np.ndarray, references: np.ndarray, k: int, device: str) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    if device.startswith("cuda") and faiss.get_num_gpus() > 0:
        distances, indices = faiss.knn_gpu(faiss.StandardGpuResources(), queries, references, k)
    else:
        distances, indices = faiss.knn(queries, references, k)
    return indices, distances.astype(np.float64)
