"""Datasets on the Hugging Face Hub: push, pull, verify.

A dataset's folder is a dataset repository as it stands, so `datasets.load_dataset` reads it there without gmbench. What
is pulled is kept in the Hub's cache, and is only taken for a dataset once every file has the sha256 of the manifest.
`HF_ENDPOINT`, `HF_HOME`, `HF_HUB_OFFLINE` and the token of `hf auth login` or `HF_TOKEN` are honoured, by
huggingface_hub itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gmbench.data.cards import NAMESPACE, DatasetCard
from gmbench.data.locations import BRANCH, state_of
from gmbench.data.manifest import read_manifest, verify_files
from gmbench.errors import DataError, UnavailableError
from gmbench.support.files import sha256_file
from gmbench.support.progress import Progress

KEPT = ["data/*", "encoders/*", "*.md", "*.json", "*.jsonl", "*.toml", "*.png"]
FILE_NAMES = "files.parquet"
LOG_IN = "Log in with `hf auth login`, or set HF_TOKEN"


def pull_dataset(card: DatasetCard, progress: Progress) -> Path:
    """The folder of a dataset that is on the Hub, downloaded as far as it is not here yet, and checked.

    The revision is the commit that the card pins; the branch `main` if it pins none. Files that are here whole are not
    downloaded again.

    Raises:
        UnavailableError: the Hub is out of reach, refuses, fails or has no such dataset or revision.
        DataError: a file came with other bytes than the manifest says; it is removed, so that it is downloaded again.
    """
    from huggingface_hub import snapshot_download

    progress.say(f"pulling {card.repository}, revision {card.revision or BRANCH}")
    with _explained(card):
        folder = Path(
            snapshot_download(
                card.repository, repo_type="dataset", revision=card.revision or BRANCH, allow_patterns=KEPT
            )
        )
    _check_pulled(card, folder)
    return folder


def push_dataset(card: DatasetCard, private: bool, progress: Progress, file_names: bool = False) -> str:
    """Uploads a dataset that is here; the commit that it is on the Hub. What is there already is not uploaded again.

    Args:
        file_names: also which file each image of an import was.

    Raises:
        UnavailableError: the dataset is not here; or the Hub is out of reach, refuses or fails.
        DataError: a file is not that of the manifest.
    """
    from huggingface_hub import HfApi

    folder = verified_folder(card)
    progress.say(f"pushing {folder} to {card.repository}")
    with _explained(card):
        api = HfApi()
        api.create_repo(card.repository, repo_type="dataset", private=private or None, exist_ok=True)
        done = api.upload_folder(
            repo_id=card.repository,
            repo_type="dataset",
            folder_path=folder,
            commit_message=f"{card.title}, revision {read_manifest(folder).revision[:12]}",
            allow_patterns=[*KEPT, *([FILE_NAMES] if file_names else [])],
            # Files of an earlier version that this one does not have; what both have is not touched.
            delete_patterns=["data/*"],
        )
    return done.oid


def verified_folder(card: DatasetCard) -> Path:
    """The folder of a dataset that is here, with every file's sha256 checked.

    Raises:
        UnavailableError: it is not here.
        DataError: a file is missing or altered.
    """
    folder = state_of(card).folder
    if folder is None:
        raise UnavailableError(
            f"{card.slug} is not here. Import it (gmbench data import {card.slug} --from DIR) or pull it "
            f"(gmbench data pull {card.slug})."
        )
    verify_files(folder, read_manifest(folder))
    return folder


def _check_pulled(card: DatasetCard, folder: Path) -> None:
    manifest = read_manifest(folder)
    if manifest.dataset != card.slug:
        raise DataError(f"{card.repository} holds '{manifest.dataset}', expected '{card.slug}'.")
    for name, sha256 in manifest.sha256.items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"{card.repository} has no {name}, which its manifest names. It has to be pushed again.")
        if sha256_file(path) != sha256:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise DataError(
                f"{name} of {card.repository} came with other bytes than its manifest says (sha256). It was removed; "
                f"gmbench data pull {card.slug} downloads it again."
            )
    verify_files(folder, manifest)


@contextmanager
def _explained(card: DatasetCard) -> Iterator[None]:
    """Turns what huggingface_hub raises into one line that says what to do."""
    try:
        yield
    # The errors come from the library, from the transport below it, and wrapped in one another.
    except Exception as error:
        raise UnavailableError(_explanation(card, list(_chain(error)))) from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _explanation(card: DatasetCard, errors: list[BaseException]) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled, RevisionNotFoundError

    where = f"{card.repository} at {constants.ENDPOINT}"
    responses = [response for error in errors if (response := getattr(error, "response", None)) is not None]
    status = responses[0].status_code if responses else None
    if any(isinstance(error, OfflineModeIsEnabled) for error in errors):
        return f"{card.slug} is not in the cache, and HF_HUB_OFFLINE is set. Unset it, or import the dataset."
    if any(isinstance(error, GatedRepoError) for error in errors):
        return f"{where} asks its users to agree to its terms: do so on its page. {LOG_IN}."
    if any(isinstance(error, RevisionNotFoundError) for error in errors):
        return f"{where} has no revision {card.revision or BRANCH}. Update gmbench, or ask who published the dataset."
    if status == 401:
        return f"{where} was refused (401): there is none, or it is private. {LOG_IN}, or set {NAMESPACE}."
    if status == 403:
        return f"{where} was refused (403): the token may not do this. {LOG_IN} as someone who may."
    if status == 404:
        return f"there is no {where} (404), or it is private. Set {NAMESPACE} to the account that has it. {LOG_IN}."
    if status == 429:
        return f"{where}: too many requests (429). Wait some minutes; the same command goes on from there."
    if status is not None and status >= 500:
        return f"{where}: the Hub failed ({status}). Try later; the same command goes on from there."
    last = errors[-1]
    why = " ".join(str(last).split())[:200] or type(last).__name__
    return f"{where} cannot be reached or broke off: {why}. The same command goes on from there."


def available_folder(card: DatasetCard, progress: Progress) -> Path:
    """The folder of a dataset's files, which are pulled from the Hub if they are not here and can be had there.

    Raises:
        UnavailableError: they are not here, and not on the Hub or out of reach; the message says what to do.
    """
    if (folder := state_of(card).folder) is not None:
        return folder
    if card.revision is None and not os.environ.get(NAMESPACE):
        sampled = next((name for name, source in card.generators.items() if source.pipeline), None)
        sample = f"sample sources (such as: gmbench data sample {card.slug} --source {sampled} -n 1000 --out DIR), "
        raise UnavailableError(
            f"{card.slug} is not here and not published. Import images that you have (gmbench data import {card.slug} "
            f"--from DIR), {sample if sampled else ''}or name an account of the Hub that has it ({NAMESPACE}=NAME; if "
            f"it is private, log in with: hf auth login). Whole, it is {card.total_images:,} images, "
            f"{card.decoded_bytes / 1e9:,.0f} GB once they are decoded."
        )
    from gmbench.data.hub import pull_dataset

    return pull_dataset(card, progress)
