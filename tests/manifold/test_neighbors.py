"""Nearest neighbours and projections are exact, and no image projects onto itself."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

import gmbench.manifold.neighbors
import gmbench.manifold.projection
from conftest import image_set, make_images
from gmbench.data.dataset import Dataset
from gmbench.data.images import ImageSet
from gmbench.manifold.freq import Frequency
from gmbench.manifold.neighbors import has_fast_int8, nearest, nearest_images, squared_norms
from gmbench.manifold.projection import project
from gmbench.manifold.rgb import RGB
from gmbench.manifold.space import Space
from gmbench.support.cache import Cache
from gmbench.support.progress import Phase, Progress


def test_nearest_agrees_with_brute_force_in_double_precision() -> None:
    """On long vectors that lie close together, where single precision alone would go wrong."""
    random = np.random.default_rng(0)
    base = random.uniform(0, 255, 3072)
    references = (base + random.normal(0, 0.05, (300, 3072))).astype(np.float32)
    queries = (base + random.normal(0, 0.05, (40, 3072))).astype(np.float32)
    exact = cdist(queries.astype(np.float64), references.astype(np.float64))
    indices, distances = nearest(queries, references, k=1)
    np.testing.assert_array_equal(indices[:, 0], exact.argmin(axis=1))
    np.testing.assert_allclose(distances[:, 0], exact[np.arange(40), indices[:, 0]], rtol=1e-9)


@pytest.mark.parametrize("k", [1, 5])
def test_nearest_on_images(k: int) -> None:
    """On images as they are, neighbours and distances are those of brute force."""
    queries, references = (RGB().embed(make_images("real", n, n)).reshape(n, -1) for n in (30, 200))
    exact = cdist(queries.astype(np.float64), references.astype(np.float64))
    indices, distances = nearest(queries, references, k=k)
    np.testing.assert_array_equal(indices, np.argsort(exact, axis=1, kind="stable")[:, :k])
    np.testing.assert_allclose(distances, np.sort(exact, axis=1)[:, :k], rtol=1e-9)


@pytest.fixture(params=[True, False], ids=["int8", "float32"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of int8, and those of float32, whatever this processor does faster."""
    monkeypatch.setattr(gmbench.manifold.neighbors, "has_fast_int8", lambda _: request.param)


def in_float64(queries: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Squared distances of uint8 images, all of whose integers float64 holds."""
    one, other = (x.reshape(len(x), -1).astype(np.float64) for x in (queries, references))
    return cdist(one, other, "sqeuclidean")


@pytest.mark.usefixtures("_either_way")
class TestImagesByIntegers:
    """Neighbours of uint8 images, by either kind of product."""

    @pytest.mark.parametrize("shape", [(1,), (5, 7, 3), (32, 32, 3)])
    @pytest.mark.parametrize("k", [1, 3])
    def test_equal_to_double_precision(self, shape: tuple[int, ...], k: int) -> None:
        """Indices and distances, of references in several blocks, whatever their number and width."""
        random = np.random.default_rng(len(shape))
        queries, references = (random.integers(0, 256, (n, *shape), dtype=np.uint8) for n in (37, 611))
        exact = in_float64(queries, references)
        indices, distances = nearest_images(queries, references, k=k)
        np.testing.assert_array_equal(indices, np.argsort(exact, axis=1, kind="stable")[:, :k])
        np.testing.assert_array_equal(distances, np.sqrt(np.sort(exact, axis=1)[:, :k]))

    def test_neighbours_that_differ_by_one_level_of_one_pixel(self) -> None:
        """Far from the query, so that single precision does not tell them apart."""
        query = np.zeros((1, 64, 64, 3), np.uint8)
        references = np.full((200, 64, 64, 3), 255, np.uint8)
        references[137, 5, 6, 1] = 254
        indices, distances = nearest_images(query, references)
        assert indices.tolist() == [[137]]
        assert distances[0, 0] ** 2 == pytest.approx(64 * 64 * 3 * 255**2 - 255**2 + 254**2, abs=1e-3)

    def test_of_equally_near_ones_the_first_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Within a block and over blocks."""
        monkeypatch.setattr(gmbench.manifold.neighbors, "BATCH", 4)
        monkeypatch.setattr(gmbench.manifold.neighbors, "BLOCK_BYTES", 1)
        references = np.array([9, 3, 7, 3, 7, 5, 3, 7, 9, 3], np.uint8)[:, None]
        indices, distances = nearest_images(np.array([[5], [3]], np.uint8), references, k=5)
        assert indices.tolist() == [[5, 1, 2, 3, 4], [1, 3, 6, 9, 5]]
        assert distances.tolist() == [[0, 2, 2, 2, 2], [0, 0, 0, 0, 2]]

    def test_black_and_white_images_of_any_size(self) -> None:
        """The largest products, of images so wide that their sums need more than 32 bits."""
        black, white = (np.full((1, 3 * 200 * 200), level, np.uint8) for level in (0, 255))
        indices, distances = nearest_images(black, np.concatenate([white, white, black + 1, white]))
        assert indices.tolist() == [[2]]
        assert distances[0, 0] == pytest.approx(np.sqrt(3 * 200 * 200))
        assert nearest_images(black, white)[1][0, 0] == 255 * np.sqrt(3 * 200 * 200)


def test_norms_are_exact() -> None:
    """Of images of extremes, in which float32 would round the sum."""
    pixels = np.random.default_rng(0).choice([0, 1, 255], (70, 5000)).astype(np.uint8)
    np.testing.assert_array_equal(squared_norms(pixels), np.square(pixels.astype(np.int64) - 128).sum(axis=1))


def test_int8_is_used_only_where_it_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that saturates, as some do without VNNI, is not trusted however fast it is."""
    has_fast_int8.cache_clear()
    monkeypatch.setattr(torch, "_int_mm", lambda one, other: torch.zeros(len(one), other.shape[1], dtype=torch.int32))
    assert not has_fast_int8("cpu")
    has_fast_int8.cache_clear()


def test_padding_for_gpus_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels of GPUs want multiples of eight and more than sixteen rows."""
    random = np.random.default_rng(0)
    queries, references = (random.integers(0, 256, (n, 43), dtype=np.uint8) for n in (5, 21))
    asked = []

    def int_mm(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        asked.extend([*one.shape, *other.shape])
        assert one.shape[0] > 16
        return one.int() @ other.int()

    monkeypatch.setattr(torch, "_int_mm", int_mm)
    block = gmbench.manifold.neighbors._Block(references, "cpu", True, pad=8)
    indices, squared = block.nearest(queries, 2)
    assert not any(n % 8 for n in asked)
    exact = in_float64(queries, references)
    np.testing.assert_array_equal(indices, np.argsort(exact, axis=1, kind="stable")[:, :2])
    np.testing.assert_array_equal(squared, np.sort(exact, axis=1)[:, :2])


def test_more_candidates_than_single_precision_tells_apart() -> None:
    """Forty vectors whose distances differ by less than the rounding of single precision: the nearest is found."""
    random = np.random.default_rng(0)
    direction = random.normal(size=512)
    direction /= np.linalg.norm(direction)
    far = 1000 * (1 - np.arange(40)[::-1, None] * 1e-7) * direction
    references = np.concatenate([-far, far[random.permutation(40)]]).astype(np.float32)
    query = np.zeros((1, 512), np.float32)
    exact = np.linalg.norm(references.astype(np.float64), axis=1)
    for k in (1, 3):
        indices, distances = nearest(query, references, k=k)
        np.testing.assert_array_equal(indices[0], np.argsort(exact, kind="stable")[:k])
        np.testing.assert_array_equal(distances[0], np.sort(exact)[:k])


def test_of_equally_near_references_the_first_counts() -> None:
    """Ties are broken by index, so that results do not depend on the library's order."""
    references = np.array([[2, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], dtype=np.float32)
    indices, distances = nearest(np.zeros((1, 2), dtype=np.float32), references, k=3)
    assert indices.tolist() == [[1, 2, 3]]
    assert distances.tolist() == [[1, 1, 1]]


def test_projection_does_not_depend_on_block_size(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that come in many pieces, and references in many blocks, give the same projections as in one."""
    for space in (RGB(), Frequency()):
        whole = project(tiny["test"], tiny["manifold"], space, Cache(), Progress())
        with monkeypatch.context() as patched:
            for name, small in (("BATCH", 7), ("BLOCK_BYTES", 1), ("PIECE_BYTES", 1)):
                patched.setattr(gmbench.manifold.projection, name, small)
            in_blocks = project(tiny["test"], tiny["manifold"], space, Cache(tmp_path), Progress())
        np.testing.assert_array_equal(whole, in_blocks)


def test_a_projection_that_was_stopped_goes_on(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that were projected before are not projected again."""
    images, manifold = tiny["test"], tiny["manifold"]
    whole = project(images, manifold, RGB(), Cache(), Progress())
    monkeypatch.setattr(gmbench.manifold.projection, "BATCH", 5)
    monkeypatch.setattr(gmbench.manifold.projection, "PIECE_BYTES", 1)
    done = []
    nearest_to = gmbench.manifold.projection._Manifold.nearest_to

    def stopping(self: gmbench.manifold.projection._Manifold, piece: ImageSet, phase: Phase) -> np.ndarray:
        if len(done) == 2:
            done.append("stopped")
            raise KeyboardInterrupt
        done.append(piece.ids[0])
        return nearest_to(self, piece, phase)

    monkeypatch.setattr(gmbench.manifold.projection._Manifold, "nearest_to", stopping)
    with pytest.raises(KeyboardInterrupt):
        project(images, manifold, RGB(), Cache(), Progress())
    np.testing.assert_array_equal(project(images, manifold, RGB(), Cache(), Progress()), whole)
    assert len(done) == len(set(done)) == -(-len(images) // 5) + 1


@pytest.mark.parametrize("space", [RGB(), Frequency()], ids=["rgb", "freq"])
def test_no_image_projects_onto_itself(tiny: Dataset, space: RGB | Frequency) -> None:
    """Manifold images, projected onto the manifold, get their nearest other image; all others never meet themselves."""
    manifold = tiny["manifold"]
    onto_others = project(manifold, manifold, space, Cache(), Progress())
    assert (onto_others != np.arange(len(manifold))).all()
    vectors = space.embed(manifold.pixels()).reshape(len(manifold), -1).astype(np.float64)
    distances = cdist(vectors, vectors)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_array_equal(onto_others, distances.argmin(axis=1))
    for role in ("train", "val", "test"):
        projected = project(tiny[role], manifold, space, Cache(), Progress())
        assert not set(tiny[role].ids) & set(manifold.ids[projected])


def test_a_kept_projection_is_read_not_computed(tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call with the same images, manifold and space is answered from the cache."""
    first = project(tiny["val"], tiny["manifold"], RGB(), Cache(), Progress())
    monkeypatch.setattr(gmbench.manifold.projection, "_Manifold", lambda *_: pytest.fail("computed again"))
    np.testing.assert_array_equal(project(tiny["val"], tiny["manifold"], RGB(), Cache(), Progress()), first)


def test_projections_onto_other_manifolds_are_kept_apart(tiny: Dataset) -> None:
    """A manifold with one image fewer is another manifold."""
    images = image_set(make_images("real", 20, 5))
    whole = project(images, tiny["manifold"], RGB(), Cache(), Progress())
    without_first = project(images, tiny["manifold"][1:], RGB(), Cache(), Progress())
    others = whole != 0
    np.testing.assert_array_equal(whole[others], without_first[others] + 1)


def test_projections_by_other_code_are_kept_apart(tiny: Dataset, tmp_path: Path) -> None:
    """A space whose file has changed is another space, whatever it calls itself."""
    import importlib.util

    def space_in(name: str) -> Space:
        path = tmp_path / f"{name}.py"
        path.write_text(
            "from gmbench.manifold.rgb import RGB\n\nclass Other(RGB):\n"
            "    def embed(self, pixels):\n        return super().embed(pixels) ** 8\n"
        )
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module.Other()

    first = project(tiny["test"], tiny["manifold"], RGB(), Cache(), Progress())
    assert not np.array_equal(first, project(tiny["test"], tiny["manifold"], space_in("a_space"), Cache(), Progress()))
