"""The registry of large datasets: what table 1 of the paper lists, and what a dataset that is not here answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from conftest import make_card, write_dataset
from gmbench.data.cards import CHOICES, DatasetCard, Source, find_dataset
from gmbench.data.dataset import load_dataset
from gmbench.data.folders import data_folder
from gmbench.data.locations import state_of
from gmbench.data.manifest import Manifest, StoredFile, read_manifest, role_files, shard_path, stored_card
from gmbench.errors import DataError, UnavailableError
from gmbench.evaluators.nmi import design_alignment
from gmbench.support.cache import Cache
from gmbench.support.files import write_text
from gmbench.support.progress import Progress

TABLE_1 = {
    "gm-cifar10": (32, {
        "gan": ["BigGAN-deep", "StyleGAN2", "WGAN-gp", "DDGAN"],
        "vae": ["NVAE", "VAE-BM", "Eff-VDVAE"],
        "flow": ["GLOW", "MaCow"],
        "score": ["DDPM", "RVE", "LSGM"],
    }),
    "gm-celeba": (64, {
        "gan": ["GAN", "DCGAN", "LSGAN", "WGAN-gp/lp", "DRAGAN-gp/lp"],
        "vae": ["β-VAE", "DFC-VAE", "NVAE", "VAE-BM", "Eff-VDVAE"],
        "flow": ["GLOW"],
        "score": ["DDPM", "RVE"],
    }),
    "gm-chq": (256, {
        "gan": ["BigGAN-deep", "StyleGAN2", "StyleGAN3", "VQ-GAN", "StyleSwin", "DDGAN"],
        "vae": ["StyleALAE", "NVAE", "VAE-BM", "Eff-VDVAE"],
        "flow": ["MaCow", "Residual Flow"],
        "score": ["DDPM", "NCSN++", "RVE", "LSGM", "LDM"],
    }),
    "gm-ffhq": (256, {
        "gan": ["BigGAN-deep", "StyleGAN2", "StyleGAN3", "VQ-GAN"],
        "vae": ["NVAE", "Eff-VDVAE"],
        "flow": [],
        "score": ["NCSN++", "LDM"],
    }),
}  # fmt: skip


@pytest.mark.parametrize("slug", TABLE_1)
class TestRegistry:
    """The cards of the four datasets of the paper."""

    def test_sources_are_those_of_table_1(self, slug: str) -> None:
        """Every model of the table in its family, and no other."""
        card = find_dataset(slug)
        resolution, families = TABLE_1[slug]
        assert card.resolution == resolution
        for family, titles in families.items():
            assert [source.title for source in card.generators.values() if source.family == family] == titles

    def test_every_source_says_its_choices_and_where_they_are_from(self, slug: str) -> None:
        """All six, each known or `unknown`; the loss of every model is known."""
        for source in find_dataset(slug).generators.values():
            assert tuple(source.choices) == CHOICES
            assert source.reference
            assert source.known_choices["loss"] in ("adversarial", "likelihood", "score matching")

    def test_one_model_has_one_set_of_choices(self, slug: str) -> None:
        """The same model is described alike in every dataset."""
        for name, source in find_dataset(slug).generators.items():
            for other in TABLE_1:
                if name in find_dataset(other).generators:
                    assert find_dataset(other).generators[name].choices == source.choices

    def test_info_shows_everything_at_80_columns(  # type: ignore[no-untyped-def]
        self, command, slug: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every source with paper, code, checkpoint, command, folders, choices and their reference."""
        monkeypatch.setenv("COLUMNS", "80")
        code, out, _ = command("info", slug)
        assert code == 0
        assert max(map(len, out.splitlines())) <= 80
        text = "".join(out.split())
        for name, source in find_dataset(slug).generators.items():
            for shown in (name, source.title, source.paper, source.code, source.checkpoint, source.sample):
                assert "".join((shown or "").split()) in text
            for shown in (*source.aliases, *source.choices.values(), source.reference):
                assert "".join(shown.split()) in text

    def test_a_dataset_that_is_not_here_says_what_to_do(  # type: ignore[no-untyped-def]
        self, command, slug: str, tmp_path: Path
    ) -> None:
        """One line: import, sample where that can be, or pull and log in; nothing is asked of the network."""
        code, _, err = command("run", "--method", "durall20", "--dataset", slug, "--results", str(tmp_path))
        assert code == 2
        assert err.count("\n") == 1
        for word in (slug, f"gmbench data import {slug}", "GMBENCH_HUB_NAMESPACE", "hf auth login", "GB once"):
            assert word in err
        can_be_sampled = any(source.pipeline for source in find_dataset(slug).generators.values())
        assert (f"gmbench data sample {slug} --source " in err) == can_be_sampled


def test_the_namespace_is_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """`GMBENCH_HUB_NAMESPACE` names the account of every dataset's repository."""
    assert find_dataset("gm-chq").repository == "gmbench/gm-chq"
    monkeypatch.setenv("GMBENCH_HUB_NAMESPACE", "someone")
    assert find_dataset("gm-chq").repository == "someone/gm-chq"


@pytest.mark.parametrize("changed", [{"colour": 3}, {"revision": "main"}, {"revision": "a" * 39}])
def test_cards_stay_strict(changed: dict[str, object]) -> None:
    """No unknown field, and a revision is a commit, never a branch that can move."""
    with pytest.raises(ValidationError):
        DatasetCard(**(make_card().model_dump() | changed))


def test_a_choice_of_another_name_is_refused() -> None:
    """The six design choices and no others."""
    with pytest.raises(ValidationError, match="activation"):
        Source(title="x", family="gan", paper="none", choices={"activation": "relu"})


def test_alignment_leaves_out_what_is_unknown() -> None:
    """A source whose loss is unknown changes nothing in the alignment with losses, and counts for other choices."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 20)
    features = np.array([0.0, 0.1, 5.0, 9.0])[labels][:, None] + random.normal(0, 0.01, (80, 2))
    known = [{"loss": "a"}, {"loss": "a"}, {"loss": "b"}]
    source = Source(title="x", family="gan", paper="none", choices={"loss": "unknown", "skip": "yes"})
    assert source.known_choices == {"skip": "yes"}
    without = design_alignment(features[labels < 3], labels[labels < 3], known)
    assert design_alignment(features, labels, [*known, source.known_choices]) == without
    skips = [choices | {"skip": "no"} for choices in known]
    assert design_alignment(features, labels, [*skips, source.known_choices])["skip"].values == 2


class TestStates:
    """What `gmbench list datasets` says of a dataset."""

    def test_embedded_and_not_published(self, command) -> None:  # type: ignore[no-untyped-def]
        """A line per dataset, with its state."""
        code, out, _ = command("list", "datasets")
        lines = {line.split()[0]: line for line in out.splitlines() if line}
        assert code == 0
        assert "embedded" in lines["gm-garments"]
        assert "not published" in lines["gm-chq"]

    def test_published(self) -> None:
        """A card that pins a commit is of a published dataset."""
        card = find_dataset("gm-chq").model_copy(update={"revision": "a" * 40})
        assert state_of(card).word == "published"

    def test_local_and_partial(self, command) -> None:  # type: ignore[no-untyped-def]
        """Files in the data folder; with a source missing, the dataset says so and runs with what is there."""
        card = make_card().model_copy(update={"embedded": False})
        folder = write_dataset(data_folder() / "tiny", card)
        assert state_of(card).word == "local"
        more = card.generators | {"absent": card.generators["noisy"]}
        wanted = card.model_copy(update={"generators": more})
        manifest = read_manifest(folder).model_copy(update={"sources": {"real": 60, "blurred": 60, "noisy": 60}})
        write_text(folder / "manifest.json", manifest.model_dump_json())
        assert state_of(wanted).word == "partial"
        assert state_of(wanted).sources == ("real", "blurred", "noisy")
        dataset = load_dataset(wanted, Cache(), Progress())
        assert dataset.card.sources == ("real", "blurred", "noisy")
        assert dataset["test"].sources == dataset.card.sources

    def test_a_source_that_the_card_does_not_know(self) -> None:
        """A manifest cannot bring in sources of its own."""
        manifest = Manifest(dataset="tiny", files={}, roles_sha256="", sources={"real": 5, "other": 5})
        with pytest.raises(DataError, match="a source 'other' that its card does not know"):
            stored_card(make_card(), manifest)

    def test_nothing_is_asked_of_the_hub_without_need(self) -> None:
        """The error names the dataset, not a connection."""
        with pytest.raises(UnavailableError, match="gm-ffhq is not here and not published"):
            load_dataset(find_dataset("gm-ffhq"), Cache(), Progress())


class TestShards:
    """A role in several files."""

    def manifest(self, *names: str) -> Manifest:
        """A manifest that names these files."""
        return Manifest(dataset="tiny", files={name: StoredFile(sha256="", rows=1) for name in names}, roles_sha256="")

    def test_shards_are_read_in_order(self) -> None:
        """By number, whatever the order in the manifest."""
        names = [shard_path("train", number, 3) for number in range(3)]
        assert names[1] == "data/train-00001-of-00003.parquet"
        assert role_files(self.manifest(*reversed(names)), "train") == names

    def test_a_missing_shard_is_named(self) -> None:
        """Two of three are not a role."""
        with pytest.raises(DataError, match="names no data/train"):
            role_files(self.manifest(shard_path("train", 0, 3), shard_path("train", 1, 3)), "train")
