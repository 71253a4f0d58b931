"""Datasets to the Hub and back, against a real HTTP server on loopback, and everything that can go wrong between."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, Repository
from huggingface_hub import constants
from made_images import MODELS, N, write_images
from safetensors.torch import save_file

from conftest import make_card, write_dataset
from gmbench.data.cards import DatasetCard
from gmbench.data.dataset import load_dataset
from gmbench.data.folders import data_folder
from gmbench.data.hub import pull_dataset, push_dataset, verified_folder
from gmbench.data.locations import state_of
from gmbench.data.manifest import read_manifest
from gmbench.errors import DataError, UnavailableError
from gmbench.manifold.encoders import Encoder
from gmbench.registry import find_method
from gmbench.runs.runner import Run, perform
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress

TEST = "data/test.parquet"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The server, as the Hub that huggingface_hub talks to; waiting between tries takes no time."""
    server = Hub()
    server.start()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setenv("GMBENCH_HUB_NAMESPACE", "someone")
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def card() -> DatasetCard:
    """The card of the small dataset, as one that is not embedded."""
    return make_card().model_copy(update={"embedded": False})


@pytest.fixture
def published(hub: Hub, card: DatasetCard, tiny_folder: Path) -> Hub:
    """The small dataset is on the Hub, and not here."""
    files = {path.relative_to(tiny_folder).as_posix(): path.read_bytes() for path in tiny_folder.rglob("*.*")}
    hub.repositories[card.repository] = repository = Repository()
    repository.commit(files)
    return hub


def pull(card: DatasetCard) -> Path:
    """Pulls the dataset."""
    return pull_dataset(card, Progress())


def refusing(status: int, word: str, **headers: str):  # type: ignore[no-untyped-def]
    """Answers requests with a word in their path with a status."""
    return lambda method, path: (status, headers) if word in path else None


class TestThereAndBack:
    """Push, then pull into an empty cache."""

    def test_push_and_pull(self, hub: Hub, card: DatasetCard) -> None:
        """What is pulled is what was pushed; the second time nothing is transferred either way."""
        write_dataset(data_folder() / "tiny", card)
        revision = read_manifest(data_folder() / "tiny").revision
        commit = push_dataset(card, False, Progress())
        assert hub.repositories["someone/tiny"].branches["main"] == commit
        uploads = len(hub.asked_for("PUT"))
        push_dataset(card, False, Progress())
        assert len(hub.asked_for("PUT")) == uploads
        shutil.rmtree(data_folder() / "tiny")
        assert state_of(card).word == "not published"
        dataset = load_dataset(card, Cache(), Progress())
        assert dataset.revision == revision
        assert state_of(card).word == "cached"
        requests = len(hub.seen)
        assert load_dataset(card, Cache(), Progress()).revision == revision
        assert len(hub.seen) == requests

    def test_encoders_go_with_the_images(self, hub: Hub, card: DatasetCard) -> None:
        """They count as here once they are, and are checked as images are."""
        card = card.model_copy(update={"encoders": {"sl": "encoders/sl.safetensors"}})
        folder = data_folder() / "tiny"
        (folder / "encoders").mkdir(parents=True)
        (folder / "encoders" / "sl.safetensors").write_bytes(b"weights")
        write_dataset(folder, card)
        push_dataset(card, False, Progress())
        (folder / "encoders" / "sl.safetensors").write_bytes(b"others")
        with pytest.raises(DataError, match=r"sl\.safetensors is not the file of the manifest"):
            verified_folder(card)
        shutil.rmtree(folder)
        assert (pull(card) / "encoders" / "sl.safetensors").read_bytes() == b"weights"
        assert state_of(card).word == "cached"

    def test_methods_get_the_encoder_that_was_pulled(self, hub: Hub, card: DatasetCard, tmp_path: Path) -> None:
        """A dataset that comes from the Hub with an encoder of its own can be run with that one."""
        card = card.model_copy(update={"encoders": {"sl": "encoders/sl.safetensors"}})
        folder, encoder = data_folder() / "tiny", Encoder()
        (folder / "encoders").mkdir(parents=True)
        save_file(encoder.state_dict(), folder / "encoders" / "sl.safetensors")
        write_dataset(folder, card)
        push_dataset(card, False, Progress())
        shutil.rmtree(folder)
        run = Run(find_method("manifpt-sl"), card, given={"epochs": "1", "encoder": "own"})
        record = perform(run, tmp_path / "results", Progress()).record
        assert record.training["encoder_sha256"] == encoder.sha256

    def test_a_stopped_push_goes_on(self, hub: Hub, card: DatasetCard) -> None:
        """Objects that arrived are not uploaded again; before the end there is no commit with half of them."""
        write_dataset(data_folder() / "tiny", card)
        arrived: list[str] = []

        def breaking(method: str, path: str) -> tuple[int, dict[str, str]] | None:
            if method != "PUT":
                return None
            arrived.append(path)
            return (500, {}) if len(set(arrived)) > 2 else None

        hub.refuse = breaking
        with pytest.raises(UnavailableError, match=r"the Hub failed \(500\)"):
            push_dataset(card, False, Progress())
        assert not hub.repositories["someone/tiny"].commits[hub.repositories["someone/tiny"].branches["main"]]
        there = len(hub.objects)
        assert there >= 1
        hub.refuse, hub.seen = (lambda method, path: None), []
        push_dataset(card, False, Progress())
        assert len(hub.asked_for("PUT")) == 4 - there
        shutil.rmtree(data_folder() / "tiny")
        assert len(load_dataset(card, Cache(), Progress())["test"]) == 36

    def test_shards_of_an_earlier_version_go(self, hub: Hub, card: DatasetCard) -> None:
        """A repository has only the files of the manifest in `data/`."""
        write_dataset(data_folder() / "tiny", card)
        hub.repositories["someone/tiny"] = repository = Repository()
        repository.commit({"data/train-00000-of-00002.parquet": b"old"})
        push_dataset(card, False, Progress())
        files = repository.commits[repository.branches["main"]]
        assert sorted(path for path in files if path.startswith("data/")) == sorted(
            read_manifest(data_folder() / "tiny").files
        )

    def test_damaged_data_is_not_pushed(self, hub: Hub, card: DatasetCard) -> None:
        """The file is named, and nothing is asked of the Hub."""
        folder = write_dataset(data_folder() / "tiny", card)
        (folder / TEST).write_bytes(b"x")
        with pytest.raises(DataError, match=r"test.parquet is not the file of the manifest"):
            push_dataset(card, False, Progress())
        assert not hub.seen

    def test_a_pinned_revision_does_not_move(self, published: Hub, card: DatasetCard) -> None:
        """The branch goes on to other files; who pins a commit gets those of the commit."""
        repository = published.repositories[card.repository]
        commit = repository.branches["main"]
        repository.commit({"README.md": b"all gone"})
        pinned = card.model_copy(update={"revision": commit})
        assert state_of(pinned).word == "published"
        assert pull(pinned).name == commit
        assert len(load_dataset(pinned, Cache(), Progress())["test"]) == 36
        with pytest.raises(DataError, match=r"manifest.json is missing"):
            pull(card)

    def test_another_dataset_under_the_name(self, published: Hub, card: DatasetCard) -> None:
        """The manifest says which dataset it is."""
        other = card.model_copy(update={"slug": "other"})
        published.repositories[other.repository] = published.repositories[card.repository]
        with pytest.raises(DataError, match="someone/other holds 'tiny', expected 'other'"):
            pull(other)


class TestConnections:
    """Nothing half-written is ever taken for whole."""

    def test_a_connection_that_breaks_once(
        self, published: Hub, card: DatasetCard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file is taken up where it broke: its rest is asked for."""
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
        published.cut = {TEST: 5000}
        folder = pull(card)
        assert [request.split()[-1] for request in published.asked_for(TEST) if "bytes=" in request] == ["bytes=5000-"]
        assert verified_folder(card) == folder

    def test_a_connection_that_breaks_off(self, published: Hub, card: DatasetCard) -> None:
        """One line; the dataset counts as not here; the next pull gets what is missing and nothing else."""
        published.refuse = refusing(500, TEST)
        with pytest.raises(UnavailableError, match=r"the Hub failed \(500\).*goes on from there"):
            pull(card)
        assert state_of(card).folder is None
        published.refuse, published.seen = (lambda method, path: None), []
        pull(card)
        assert state_of(card).word == "cached"
        fetched = [request for request in published.seen if request.startswith("GET /datasets")]
        assert [request.rpartition("/")[2] for request in fetched] == ["test.parquet"]

    def test_a_wrong_byte(self, published: Hub, card: DatasetCard) -> None:
        """Found by sha256, although the length is right; the file is removed, and comes right the next time."""
        published.alter = {TEST}
        with pytest.raises(DataError, match=r"test.parquet of someone/tiny came with other bytes.*downloads it again"):
            pull(card)
        assert state_of(card).folder is None
        published.alter = set()
        assert pull(card) == verified_folder(card)

    def test_a_file_that_its_manifest_names_and_the_repository_lacks(self, published: Hub, card: DatasetCard) -> None:
        """A push that was not finished by other means."""
        repository = published.repositories[card.repository]
        files = dict(repository.commits[repository.branches["main"]])
        del files[TEST]
        repository.commit(files)
        with pytest.raises(DataError, match=r"has no data/test.parquet, which its manifest names"):
            pull(card)

    def test_a_cache_that_was_altered(self, published: Hub, card: DatasetCard) -> None:
        """`verify` and loading both find it."""
        path = (pull(card) / TEST).resolve()
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        with pytest.raises(DataError, match=r"test.parquet is not the file of the manifest"):
            verified_folder(card)
        with pytest.raises(DataError, match=r"test.parquet is not the file of the manifest"):
            load_dataset(card, Cache(), Progress())

    def test_no_server(self, card: DatasetCard, published: Hub) -> None:
        """One line that names the address."""
        published.shutdown()
        published.server_close()
        with pytest.raises(UnavailableError, match=rf"someone/tiny at {published.url} cannot be reached"):
            pull(card)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, {}), r"refused \(401\).*hf auth login"),
        ((403, {}), r"refused \(403\).*the token may not"),
        ((403, {"X-Error-Code": "GatedRepo"}), r"agree to its terms"),
        ((404, {"X-Error-Code": "RepoNotFound"}), r"there is no someone/tiny .*\(404\).*GMBENCH_HUB_NAMESPACE"),
        ((404, {"X-Error-Code": "RevisionNotFound"}), r"has no revision main"),
        ((429, {}), r"too many requests \(429\)"),
        ((500, {}), r"the Hub failed \(500\)"),
        ((503, {}), r"the Hub failed \(503\)"),
    ],
    ids=["401", "403", "gated", "404", "no revision", "429", "500", "503"],
)
@pytest.mark.parametrize("verb", ["pull", "push"])
def test_every_refusal_is_one_line(
    published: Hub, card: DatasetCard, verb: str, answer: tuple[int, dict[str, str]], words: str
) -> None:
    """What was refused, with which status, and what to do; nothing is here afterwards that was not before."""
    published.refuse = lambda method, path: answer
    if verb == "push":
        write_dataset(data_folder() / "tiny", card)
    with pytest.raises(UnavailableError, match=words) as caught:
        pull(card) if verb == "pull" else push_dataset(card, False, Progress())
    assert "\n" not in str(caught.value)
    assert state_of(card).word == ("local" if verb == "push" else "not published")


def test_a_wrong_token(published: Hub, card: DatasetCard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are sent: the right one is let in, a wrong one told to log in."""
    published.tokens = {"hf_right"}
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UnavailableError, match="hf auth login"):
        pull(card)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert pull(card).is_dir()


@pytest.fixture
def gmbench(hub: Hub, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Runs a command on a machine of its own: exit code, stdout, stderr."""

    def call(machine: str, *arguments: str, **variables: str) -> tuple[int, str, str]:
        home = tmp_path / machine
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "GMBENCH"))}
        environment |= {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home / "hf"),
            "HF_TOKEN": "hf_right",
            "HF_HUB_DISABLE_XET": "1",
            "GMBENCH_HUB_NAMESPACE": "someone",
            "GMBENCH_DATA": str(home / "data"),
            "GMBENCH_CACHE": str(home / "cache"),
        }
        command = [sys.executable, "-m", "gmbench.cli.app", *arguments]
        done = subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    return call


class TestCommands:
    """As users meet it: in processes of their own, with the variables of the Hub's library."""

    def test_from_images_to_a_run_on_another_machine(self, gmbench, hub: Hub, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
        """Import, push; `datasets` reads it; elsewhere `run` pulls by itself; `list` and `verify`; offline."""
        origin = tmp_path / "release"
        write_images(origin / "real", "real", 2 * N, 0)
        for seed, (name, kind) in enumerate(MODELS.items(), start=1):
            write_images(origin / name, kind, N, seed)
        assert gmbench("here", "data", "import", "gm-cifar10", "--from", str(origin), "--workers", "1")[0] == 0
        code, out, _ = gmbench("here", "data", "push", "gm-cifar10")
        assert code == 0
        assert hub.repositories["someone/gm-cifar10"].branches["main"] in out

        revision = hub.repositories["someone/gm-cifar10"].branches["main"]
        code = (
            f"import datasets\nprint(len(datasets.load_dataset('someone/gm-cifar10', revision='{revision}')['train']))"
        )
        variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "reader"), "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-c", code]
        read = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True)
        assert read.stdout == "56\n"

        run = ("run", "--method", "mccloskey18", "--dataset", "gm-cifar10", "--results", str(tmp_path / "results"))
        code, _, err = gmbench("there", *run, HF_HUB_OFFLINE="1")
        assert code == 2
        assert err.splitlines()[-1].startswith("gmbench: gm-cifar10 is not in the cache, and HF_HUB_OFFLINE is set")
        code, out, err = gmbench("there", *run)
        assert code == 0, err
        assert "mccloskey18 on gm-cifar10" in out
        assert (tmp_path / "there" / "hf" / "hub" / "datasets--someone--gm-cifar10").is_dir()
        assert gmbench("there", *run, HF_HUB_OFFLINE="1")[0] == 0
        code, out, _ = gmbench("there", "data", "list")
        assert "gm-cifar10: cached, 4 of 13 sources" in out
        assert gmbench("there", "data", "verify", "gm-cifar10")[0] == 0
        code, out, err = gmbench("nowhere", "data", "verify", "gm-cifar10")
        assert code == 2
        assert "gm-cifar10 is not here" in err


@pytest.mark.slow
def test_the_paper_on_a_partial_gm_chq(gmbench, hub: Hub, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """At 256 pixels: import, push, pull by running; a ResNet-50 as Barlow Twins released it, and one on pixels."""
    import torch
    from torchvision.models import resnet50

    origin = tmp_path / "GM-CHQ"
    for seed, (name, kind, n) in enumerate(
        [("CelebA-HQ", "real", 24), ("vae/NVAE", "blurred", 18), ("LDM", "noisy", 18)]
    ):
        write_images(origin / name, kind, n, seed, size=256)
    torch.manual_seed(0)
    weights = {name: value for name, value in resnet50().state_dict().items() if not name.startswith("fc.")}
    released = tmp_path / "torch" / "hub" / "checkpoints" / "resnet50.pth"
    released.parent.mkdir(parents=True)
    torch.save(weights, released)

    imported = ("data", "import", "gm-chq", "--from", str(origin), "--manifold-share", "0.25", "--workers", "1")
    assert gmbench("here", *imported)[0] == 0
    assert gmbench("here", "data", "push", "gm-chq")[0] == 0
    run = ("--dataset", "gm-chq", "--device", "cpu", "--set", "epochs=1", "--results", str(tmp_path / "results"))
    for method, given in [
        ("manifpt-ssl", ()),
        ("manifpt-rgb", ("--set", "network=resnet50", "--set", "pretrained=false", "--set", "batch_size=2")),
    ]:
        code, out, err = gmbench(
            "there", "run", "--method", method, *run, *given, TORCH_HOME=str(tmp_path / "torch"), OMP_NUM_THREADS="1"
        )
        assert code == 0, err
        assert f"{method}" in out
        assert "3 sources" in out
