"""Where datasets are kept: those of the package, their cards, and those that were imported."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).parent


def catalogue_folder() -> Path:
    """What holds `cards/` and `embedded/`: this package's own, or the folder that `GMBENCH_CATALOGUE` names."""
    return Path(os.environ.get("GMBENCH_CATALOGUE") or PACKAGE)


def data_folder() -> Path:
    """Where imported datasets are kept, each in a folder of its slug: `GMBENCH_DATA`, else the user's data folder."""
    import platformdirs

    return Path(os.environ.get("GMBENCH_DATA") or platformdirs.user_data_dir("gmbench"))
