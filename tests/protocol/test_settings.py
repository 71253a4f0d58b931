"""Settings decide which images reach a method, and in which state: the same for every method, on every machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import gmbench.data.cards
import gmbench.protocol.laundering
from conftest import SOURCES, image_set, make_card, make_images, use_catalogue, write_dataset
from gmbench.data.dataset import Dataset, load_dataset
from gmbench.errors import DataError, NotFoundError
from gmbench.protocol.laundering import Chain, chain_of, launder, laundered
from gmbench.protocol.selection import of_sources, resized
from gmbench.protocol.settings import Roles, find_setting
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress


def roles_in(setting: str, dataset: Dataset, seed: int = 0) -> Roles:
    """The images of a run in a setting."""
    return find_setting(setting).images(dataset, seed, Cache(), Progress())


def test_clean_is_everything(tiny: Dataset) -> None:
    """No image is left out or changed."""
    roles = roles_in("clean", tiny)
    assert [len(images) for images in (roles.manifold, roles.train, roles.val, roles.test)] == [50, 126, 18, 36]


def test_an_unknown_setting() -> None:
    """A typo is answered with the nearest names, of settings or of datasets to transfer to."""
    with pytest.raises(NotFoundError, match="Nearest: few-shot-10"):
        find_setting("few-shot")
    with pytest.raises(NotFoundError, match="no dataset named 'gm-garment'"):
        find_setting("to-gm-garment")


class TestFewShot:
    """`few-shot-10`."""

    def test_ten_of_each_source(self, tiny: Dataset) -> None:
        """Ten train images per source, and no more val images than ten; the test images are clean's."""
        roles = roles_in("few-shot-10", tiny)
        assert roles.train.labels is not None
        assert roles.val.labels is not None
        assert np.bincount(roles.train.labels).tolist() == [10, 10, 10]
        assert np.bincount(roles.val.labels).tolist() == [6, 6, 6]
        assert set(roles.train.ids) <= set(tiny["train"].ids)
        assert roles.test.digest == tiny["test"].digest

    def test_drawn_by_seed(self, tiny: Dataset) -> None:
        """The same ten for every method in one seed, other ones in the next."""
        first, again, other = (roles_in("few-shot-10", tiny, seed).train for seed in (0, 0, 1))
        assert first.digest == again.digest
        assert set(first.ids) != set(other.ids)


class TestLaundering:
    """The chain of a social network, drawn from the image's id."""

    def test_the_chains_of_some_ids(self) -> None:
        """What is drawn is pinned: another draw would be another setting, and would need another name."""
        assert gmbench.protocol.laundering.NAME == "laundered/1"
        pinned = {"a": (0.982408, 0.0, 95), "d": (0.689117, 0.0, 53), "f": (0.592098, 0.730918, 61)}
        for id, (scale, sigma, quality) in pinned.items():
            assert chain_of(id) == Chain(pytest.approx(scale, abs=1e-6), pytest.approx(sigma, abs=1e-6), quality)

    def test_the_distribution_of_chains(self) -> None:
        """Over many ids: scales and qualities uniform in their ranges, three of ten images blurred."""
        chains = [chain_of(f"{i}") for i in range(4000)]
        scales, qualities = (np.array([getattr(chain, name) for chain in chains]) for name in ("scale", "quality"))
        sigmas = np.array([chain.sigma for chain in chains])
        assert 0.5 <= scales.min() < 0.51
        assert 0.99 < scales.max() <= 1
        assert scales.mean() == pytest.approx(0.75, abs=0.01)
        assert sorted(set(qualities)) == list(range(50, 96))
        assert qualities.mean() == pytest.approx(72.5, abs=0.8)
        assert (sigmas > 0).mean() == pytest.approx(0.3, abs=0.03)
        assert sigmas[sigmas > 0].min() >= 0.3
        assert sigmas.max() <= 1

    def test_a_flat_image_stays_flat(self) -> None:
        """Resizing and blur keep a constant, JPEG keeps it to a level or two."""
        flat = np.full((32, 32, 3), 120, np.uint8)
        changed = launder(flat, Chain(0.6, 0.8, 50)).astype(int)
        assert np.ptp(changed) == 0
        assert abs(changed - 120).max() <= 2

    def test_each_step_takes_detail_away(self) -> None:
        """Of white noise, a smaller scale, a wider blur and a lower quality leave less than the milder chain does."""
        noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
        mild = launder(noise, Chain(1, 0, 95)).std()
        assert launder(noise, Chain(0.5, 0, 95)).std() < 0.8 * mild
        assert launder(noise, Chain(1, 1, 95)).std() < 0.8 * mild
        assert (
            np.abs(launder(noise, Chain(1, 0, 95)) - noise.astype(float)).mean()
            < np.abs(launder(noise, Chain(1, 0, 50)) - noise.astype(float)).mean()
        )

    def test_every_role_is_laundered_once(self, tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
        """Same ids, labels and order, each image after its own chain; the second time it comes from the cache."""
        roles = roles_in("laundered", tiny)
        for role in ("manifold", "train", "val", "test"):
            before, after = tiny[role], getattr(roles, role)
            assert after.ids.tolist() == before.ids.tolist()
            assert after.labels.tolist() == before.labels.tolist()
            assert after.digest != before.digest
            row = len(before) // 2
            expected = launder(before.pixels(np.array([row]))[0], chain_of(before.ids[row]))
            np.testing.assert_array_equal(after.pixels(np.array([row]))[0], expected)
        monkeypatch.setattr(gmbench.protocol.laundering, "launder", lambda *_: pytest.fail("laundered again"))
        assert roles_in("laundered", tiny).test.digest == roles.test.digest

    def test_what_happens_to_an_image_does_not_depend_on_the_others(self) -> None:
        """One by one or all at once, the pixels are the same."""
        images = image_set(make_images("noisy", 5, 0), np.zeros(5, np.int64))
        whole = laundered(images, Cache(), Progress()).pixels()
        single = laundered(images[3:4], Cache(), Progress()).pixels()
        np.testing.assert_array_equal(whole[3:4], single)

    def test_clean_to_laundered(self, tiny: Dataset) -> None:
        """Fitted on what `clean` is fitted on, tested on what `laundered` is tested on."""
        roles, clean, changed = (roles_in(name, tiny) for name in ("clean-to-laundered", "clean", "laundered"))
        assert roles.train.digest == clean.train.digest
        assert roles.val.digest == clean.val.digest
        assert roles.manifold.digest == clean.manifold.digest
        assert roles.test.digest == changed.test.digest


class TestReleasedCode:
    """The authors' released code lets a real image project onto itself."""

    def test_the_artifact_of_a_real_image_is_zero(self, tiny: Dataset) -> None:
        """Every real test image has its twin in the manifold, at distance zero; generated ones do not."""
        from gmbench.manifold.projection import project
        from gmbench.manifold.rgb import RGB

        roles = roles_in("released-code", tiny)
        assert len(roles.manifold) == 50 + 42 + 6 + 12
        assert roles.test.labels is not None
        projections = project(roles.test, roles.manifold, RGB(), Cache(), Progress())
        same = (roles.manifold.pixels(projections) == roles.test.pixels()).all(axis=(1, 2, 3))
        np.testing.assert_array_equal(same, roles.test.labels == 0)


class TestTransfer:
    """Fitted on one dataset, tested on another."""

    @pytest.fixture
    def other(self, tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
        """A dataset with one of tiny's two generative models, under the same name, and another one."""
        card = make_card("other", per_source=30)
        sources = {"coarse": card.generators["noisy"], "blurred": card.generators["blurred"]}
        card = card.model_copy(update={"generators": sources})
        use_catalogue(monkeypatch, tmp_path, {"other": card, "tiny": tiny.card})
        folder = write_dataset(tmp_path / "other", card, first_seed=10)
        return load_dataset(card, Cache(), Progress(), folder)

    def test_the_sources_that_both_have(self, tiny: Dataset, other: Dataset) -> None:
        """Labels are places among the common sources on both sides, and the test images have their own manifold."""
        roles = roles_in("to-other", tiny)
        assert roles.train.sources == roles.test.sources == ("real", "blurred")
        for images, dataset, role in ((roles.train, tiny, "train"), (roles.test, other, "test")):
            sources = dict(zip(dataset[role].ids, np.array(dataset.card.sources)[dataset[role].labels], strict=True))
            assert [images.sources[label] for label in images.labels] == [sources[id] for id in images.ids]
        assert roles.tested_on is not None
        assert roles.tested_on.card.slug == "other"
        assert roles.test_manifold is not None
        assert roles.test_manifold.digest == other["manifold"].digest
        assert roles.manifold.digest == tiny["manifold"].digest

    def test_to_itself(self, tiny: Dataset, other: Dataset) -> None:
        """That is no transfer."""
        with pytest.raises(DataError, match="transfer needs two datasets"):
            roles_in("to-tiny", tiny)

    def test_nothing_in_common(self, tiny: Dataset, other: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
        """Real images alone are not enough."""
        apart = tiny.card.model_copy(update={"generators": {"noisy": tiny.card.generators["noisy"]}})
        with pytest.raises(DataError, match="tiny and other: transfer needs a generative model"):
            roles_in("to-other", Dataset(apart, tiny.folder, tiny.revision, tiny.roles_sha256, tiny.roles))


def test_the_smaller_resolution_counts() -> None:
    """A resized set keeps ids and labels, has another digest, and keeps a constant; one that fits is left alone."""
    images = image_set(np.full((3, 64, 64, 3), 77, np.uint8), np.array([0, 1, 2]))
    smaller = resized(images, 32, Cache(), Progress())
    assert smaller.size == (32, 32)
    assert (smaller.pixels() == 77).all()
    assert smaller.ids.tolist() == images.ids.tolist()
    assert smaller.digest != images.digest
    assert resized(smaller, 32, Cache(), Progress()) is smaller


def test_images_of_some_sources() -> None:
    """Those alone, in their order, labelled by their place in the new order."""
    images = image_set(make_images("real", 6, 0), np.array([0, 1, 2, 0, 1, 2]))
    chosen = of_sources(images, (SOURCES[2], SOURCES[0]))
    assert chosen.ids.tolist() == ["0000", "0002", "0003", "0005"]
    assert chosen.labels is not None
    assert chosen.labels.tolist() == [1, 0, 1, 0]
    np.testing.assert_array_equal(chosen.pixels(), images.pixels(np.array([0, 2, 3, 5])))
