"""Which pages there are, writing them, and checking that they are those of the records."""

from __future__ import annotations

from pathlib import Path

from gmbench.data.cards import registered_cards
from gmbench.errors import RecordError
from gmbench.leaderboard.attribution import attribution_page
from gmbench.leaderboard.datasets import datasets_page
from gmbench.leaderboard.nmi import nmi_page
from gmbench.leaderboard.paper import paper_page
from gmbench.leaderboard.significance import significance_page
from gmbench.leaderboard.transfer import transfer_page
from gmbench.protocol.settings import SETTINGS
from gmbench.records.rows import read_entries
from gmbench.support.files import write_text


def write_pages(results: Path, folder: Path) -> list[Path]:
    """Rebuilds every page in `folder` from the records below `results`, which are all read before anything is written.

    Raises:
        RecordError: a record is damaged or at odds with its predictions.
    """
    pages = build_pages(results)
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
    for path, text in stale.items():
        write_text(path, text)
    return list(stale)


def _stale(results: Path, folder: Path) -> dict[Path, str]:
    pages = {folder / name: text for name, text in build_pages(results).items()}
    return {
        path: text
        for path, text in pages.items()
        if path.is_symlink() or not path.is_file() or path.read_bytes() != text.encode()
    }


def build_pages(results: Path) -> dict[str, str]:
    """Every page as markdown, by its file's name, from the records below `results`.

    Raises:
        RecordError: a record is damaged or at odds with its predictions.
    """
    entries = [entry for entry in read_entries(results) if _is_shown(entry.setting)]
    for entry in entries:
        if any(record.of_object for record in entry.records):
            raise RecordError(
                f"{results}: {entry.name} on {entry.dataset} was an object, whose code nobody has (field "
                "'of_object'). Remove its records, or submit a method."
            )
    return {
        "attribution.md": attribution_page(entries),
        "transfer.md": transfer_page(entries),
        "nmi.md": nmi_page(entries),
        "significance.md": significance_page(entries),
        "datasets.md": datasets_page(list(registered_cards().values())),
        "paper.md": paper_page(entries),
    }


def _is_shown(setting: str) -> bool:
    """Whether leaderboards show a setting: all but those that are here to measure something else."""
    return setting not in SETTINGS or SETTINGS[setting].on_board
