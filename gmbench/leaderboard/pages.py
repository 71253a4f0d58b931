"""Which pages there are, writing them, and checking that they are those of the records."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gmbench.data.cards import dataset_cards, registered_cards
from gmbench.data.manifest import MANIFEST, role_path
from gmbench.errors import OutputError, RecordError
from gmbench.leaderboard.attribution import attribution_page
from gmbench.leaderboard.datasets import AUDIT, datasets_page
from gmbench.leaderboard.markdown import WRITTEN_BY
from gmbench.leaderboard.nmi import nmi_page
from gmbench.leaderboard.overview import overview_page
from gmbench.leaderboard.paper import paper_page
from gmbench.leaderboard.significance import significance_page
from gmbench.leaderboard.transfer import transfer_page
from gmbench.protocol.settings import SETTINGS
from gmbench.records.kept import Kept, versions
from gmbench.records.rows import read_entries
from gmbench.records.store import refuse_links
from gmbench.registry import methods
from gmbench.support.cache import Cache
from gmbench.support.digests import HOME
from gmbench.support.files import sha256_file, write_text

OVERVIEW = "README.md"


def write_pages(results: Path, folder: Path) -> list[Path]:
    """Rebuilds every page in `folder` from the records below `results`, which are all read before anything is written.

    Raises:
        RecordError: a record is damaged or at odds with its predictions.
        OutputError: the folder has a README that is no page.
    """
    pages = build_pages(results)
    _spare_others(folder)
    for name, text in pages.items():
        write_text(folder / name, text)
    return [folder / name for name in pages]


def stale_pages(results: Path, folder: Path) -> list[Path]:
    """Pages in `folder` that are missing or differ from what the records below `results` give; writes nothing.

    Raises:
        RecordError: a record is damaged or at odds with its predictions.
    """
    return list(_stale(results, folder))


def update_pages(results: Path, folder: Path) -> list[Path]:
    """Writes the stale pages in `folder`, and returns them; the others are left alone.

    Raises:
        RecordError: a record is damaged or at odds with its predictions.
    """
    stale = _stale(results, folder)
    _spare_others(folder)
    for path, text in stale.items():
        write_text(path, text)
    return list(stale)


def _spare_others(folder: Path) -> None:
    """Raises OutputError if a page would take the place of a README that is somebody's own."""
    path = folder / OVERVIEW
    if path.is_file() and WRITTEN_BY not in path.read_text(encoding="utf-8", errors="replace"):
        raise OutputError(f"{path} is no page of gmbench, and stays. Name another folder for the pages with --out.")


def _stale(results: Path, folder: Path) -> dict[Path, str]:
    pages = {folder / name: text for name, text in build_pages(results).items()}
    return {
        path: text
        for path, text in pages.items()
        if path.is_symlink() or not path.is_file() or path.read_bytes() != text.encode()
    }


def build_pages(results: Path) -> dict[str, str]:
    """Every page as markdown, by its file's name, from the records below `results`.

    The pages of the very same records, cards and code are not built again; of a board with some other records, scores
    and tests that have stayed the same are not computed again. What is kept can be deleted at any time.

    Raises:
        RecordError: a record is damaged or at odds with its predictions, or there is a link among them.
    """
    refuse_links(results)
    parts = {"records": _contents(results.rglob("*"), results), **_decided_by()}
    return Cache().json("pages", lambda: _built(results), **parts)


def _built(results: Path) -> dict[str, str]:
    kept = Kept.of_board(results)
    entries = [entry for entry in read_entries(results, kept=kept) if _is_shown(entry.setting)]
    for entry in entries:
        if any(record.of_object for record in entry.records):
            raise RecordError(
                f"{results}: {entry.name} on {entry.dataset} was an object, whose code nobody has (field "
                "'of_object'). Remove its records, or submit a method."
            )
    pages = {
        OVERVIEW: overview_page(entries),
        "attribution.md": attribution_page(entries),
        "transfer.md": transfer_page(entries),
        "nmi.md": nmi_page(entries),
        "significance.md": significance_page(entries),
        "datasets.md": datasets_page(list(registered_cards().values())),
        "paper.md": paper_page(entries),
    }
    kept.write()
    return pages


def _decided_by() -> dict[str, Any]:
    """What decides pages besides records: code, packages, cards of datasets and methods, embedded datasets."""
    cards = dataset_cards()
    embedded = [card.folder for card in cards.values() if card.embedded]
    of_datasets = [folder / name for folder in embedded for name in (MANIFEST, AUDIT, role_path("test"))]
    return {
        "code": _contents(HOME.rglob("*.py"), HOME),
        "packages": versions() | {name: version(name) for name in ("pyarrow", "pydantic", "tabulate")},
        "cards": [{slug: card.model_dump() for slug, card in each.items()} for each in (cards, registered_cards())],
        "methods": [[slug, str(method.folder), method.card.model_dump()] for slug, method in methods().items()],
        "datasets": [[str(path), sha256_file(path)] for path in of_datasets if path.is_file()],
    }


def _contents(paths: Iterable[Path], below: Path) -> str:
    """A digest of files' places and contents."""
    digest = hashlib.sha256()
    for path in sorted(path for path in paths if path.is_file()):
        digest.update(f"{path.relative_to(below)}\0{sha256_file(path)}\0".encode())
    return digest.hexdigest()


def _is_shown(setting: str) -> bool:
    """Whether leaderboards show a setting: all but those that are here to measure something else."""
    return setting not in SETTINGS or SETTINGS[setting].on_board
