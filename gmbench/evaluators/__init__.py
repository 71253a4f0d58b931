"""From predictions and features to numbers: pure functions on arrays, one module each. Never imports torch.

`accuracy`, `calibration`, `detection`, `fdr`, `nmi` score a run; `evidence` has likelihood ratios; `significance`
compares methods; `quality` says how close generated images come to real ones, `trivial` what an image shows without any
artifact.
"""

from __future__ import annotations

import importlib
from types import ModuleType

MODULES = ("accuracy", "calibration", "detection", "evidence", "fdr", "nmi", "quality", "significance", "trivial")


def __getattr__(name: str) -> ModuleType:
    if name in MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
