"""Exact nearest neighbours, for the projection onto the manifold.

faiss finds candidates in single precision through inner products, where small distances between long vectors drown in
rounding; vectors are therefore centred, and the candidates are ranked by differences in double precision. References
are embedded block by block and queries batch by batch, so memory does not grow with either.
"""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path

import numpy as np

from gmbench.data.images import ImageSet
from gmbench.errors import MethodError
from gmbench.manifold.space import Space
from gmbench.support.cache import Cache
from gmbench.support.files import sha256_file
from gmbench.support.progress import Progress

CANDIDATES = 8
BATCH = 256
BLOCK_BYTES = 512 * 2**20


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
    candidates = _candidates(queries, references, min(len(references), k + CANDIDATES), device)
    distances = np.empty(candidates.shape)
    for i, (query, row) in enumerate(zip(queries, candidates, strict=True)):
        distances[i] = np.linalg.norm(references[row].astype(np.float64) - query.astype(np.float64), axis=1)
    return _smallest(candidates, distances, k)


def project(
    images: ImageSet, manifold: ImageSet, space: Space, cache: Cache, progress: Progress, device: str = "cpu"
) -> np.ndarray:
    """The projection of each image (Definition 3.1): index (n,) of its nearest manifold image, never the image itself.

    Kept in the cache by images, manifold, space and the code of both.

    Raises:
        MethodError: the space gives a vector with values that are not finite; the message names the image and row.
    """
    code = [sha256_file(Path(path)) for path in (__file__, inspect.getfile(type(space)))]
    parts = {"images": images.digest, "manifold": manifold.digest, "code": code, **space.describe()}
    return cache.array("projections", lambda: _project(images, manifold, space, progress, device), **parts)


def random_projection(images: ImageSet, manifold: ImageSet) -> np.ndarray:
    """An index (n,) into the manifold for each image, which its id draws: what does the nearest image do that any
    other would not? Never the image itself."""
    drawn = np.array([int.from_bytes(hashlib.sha256(str(id).encode()).digest()[:8]) for id in images.ids], np.uint64)
    index = (drawn % np.uint64(len(manifold))).astype(int)
    is_self = manifold.ids[index] == images.ids
    return np.where(is_self, (index + 1) % len(manifold), index)


def _project(images: ImageSet, manifold: ImageSet, space: Space, progress: Progress, device: str) -> np.ndarray:
    own = {id: index for index, id in enumerate(manifold.ids)}
    self_index = np.array([own.get(id, -1) for id in images.ids])
    k = 2 if (self_index >= 0).any() else 1
    width = space.embed(manifold.pixels(slice(0, 1))).size
    block = max(BATCH, BLOCK_BYTES // (4 * width))
    best = np.full((len(images), k), -1)
    best_distance = np.full((len(images), k), np.inf)
    for first in range(0, len(manifold), block):
        references = _embedded(manifold[first : first + block], space, progress)
        with progress.phase("projecting", len(images)) as phase:
            for start in range(0, len(images), BATCH):
                rows = slice(start, start + BATCH)
                queries = _finite(space.embed(images.pixels(rows)).reshape(-1, width), space, images.ids[rows])
                found, distance = nearest(queries, references, min(k, len(references)), device)
                best[rows], best_distance[rows] = _smallest(
                    np.hstack([best[rows], found + first]), np.hstack([best_distance[rows], distance]), k
                )
                phase.advance(len(queries))
    is_self = best[:, 0] == self_index
    return np.where(is_self, best[:, -1], best[:, 0])


def _embedded(images: ImageSet, space: Space, progress: Progress) -> np.ndarray:
    batches = progress.track(images.id_batches(BATCH), f"encoding {len(images):,} images", -(-len(images) // BATCH))
    return np.concatenate([_finite(space.embed(batch).reshape(len(batch), -1), space, ids) for batch, ids in batches])


def _finite(vectors: np.ndarray, space: Space, ids: np.ndarray) -> np.ndarray:
    """The vectors, all of whose values are finite: with one that is not, a search finds nothing for any image."""
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise MethodError(
            f"{type(space).__name__}: the vector of image {ids[wrong[0]]} (row {wrong[0]} of {len(vectors)}) "
            "has values that are not finite. Give finite vectors for every image."
        )
    return vectors


def _smallest(indices: np.ndarray, distances: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort([indices, distances], axis=1)[:, :k]
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(distances, order, axis=1)


def _candidates(queries: np.ndarray, references: np.ndarray, k: int, device: str) -> np.ndarray:
    import faiss

    centre = references.mean(axis=0)
    queries, references = (np.ascontiguousarray(x - centre, dtype=np.float32) for x in (queries, references))
    if device.startswith("cuda") and faiss.get_num_gpus() > 0:
        return faiss.knn_gpu(faiss.StandardGpuResources(), queries, references, k)[1]
    return faiss.knn(queries, references, k)[1]
