"""Where datasets are kept: those of the package, their cards, and those that were imported."""

from __future__ import annotations

import os
from pathlib import Path

CARDS = Path(__file__).parent / "cards"
EMBEDDED = Path(__file__).parent / "embedded"


def data_folder() -> Path:
    """Where imported datasets are kept, each in a folder of its slug: `GMBENCH_DATA`, else the user's data folder."""
    import platformdirs

    return Path(os.environ.get("GMBENCH_DATA") or platformdirs.user_data_dir("gmbench"))
