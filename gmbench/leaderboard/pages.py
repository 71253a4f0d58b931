"""Which pages there are, and writing them."""

from __future__ import annotations

from pathlib import Path

from gmbench.files import write_text
from gmbench.leaderboard.attribution import attribution_page
from gmbench.leaderboard.entries import read_entries

RESULTS = "results"


def write_pages(folder: Path) -> list[Path]:
    """Rebuilds every page in `folder` from its `results/`; all records are read before anything is written.

    Raises:
        RecordError: a record is damaged or at odds with its predictions.
    """
    entries = read_entries(folder / RESULTS)
    pages = {"attribution.md": attribution_page(entries)}
    for name, text in pages.items():
        write_text(folder / name, text)
    return [folder / name for name in pages]
