"""Nearest neighbours and projections are exact, and no image projects onto itself."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import image_set, make_images
from scipy.spatial.distance import cdist

import gmbench.manifold.projection
from gmbench.data.dataset import Dataset
from gmbench.manifold.freq import Frequency
from gmbench.manifold.projection import nearest, project
from gmbench.manifold.rgb import RGB
from gmbench.manifold.space import Space
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress


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


def test_of_equally_near_references_the_first_counts() -> None:
    """Ties are broken by index, so that results do not depend on the library's order."""
    references = np.array([[2, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], dtype=np.float32)
    indices, distances = nearest(np.zeros((1, 2), dtype=np.float32), references, k=3)
    assert indices.tolist() == [[1, 2, 3]]
    assert distances.tolist() == [[1, 1, 1]]


def test_projection_does_not_depend_on_block_size(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """References that come in many blocks give the same projections as in one."""
    whole = project(tiny["test"], tiny["manifold"], RGB(), Cache(), Progress())
    monkeypatch.setattr(gmbench.manifold.projection, "BATCH", 7)
    monkeypatch.setattr(gmbench.manifold.projection, "BLOCK_BYTES", 1)
    in_blocks = project(tiny["test"], tiny["manifold"], RGB(), Cache(tmp_path), Progress())
    np.testing.assert_array_equal(whole, in_blocks)


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
    monkeypatch.setattr(gmbench.manifold.projection, "_project", lambda *_: pytest.fail("computed again"))
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
