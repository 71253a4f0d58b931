"""Benchmark suite and leaderboards of model attribution: which generative model made this image?

What there is: `datasets`, `methods`, `settings`, `find_method`. To do something: `load_dataset`, `run`, `fit`,
`load_model`. What came out: `read_records`, `to_frame`, `compare`, `Record`. To write a method: `Attributor`,
`NetworkAttributor`, `FeatureAttributor`, `RunContext`, `ImageSet`, `DatasetCard`, `Dataset`, `Space`. Numbers from
plain arrays are in `gmbench.evaluators`, the contract test in `gmbench.testing`, what can go wrong in `gmbench.errors`.

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gmbench.api import (
        compare as compare,
    )
    from gmbench.api import (
        datasets as datasets,
    )
    from gmbench.api import (
        find_method as find_method,
    )
    from gmbench.api import (
        fit as fit,
    )
    from gmbench.api import (
        load_dataset as load_dataset,
    )
    from gmbench.api import (
        load_model as load_model,
    )
    from gmbench.api import (
        methods as methods,
    )
    from gmbench.api import (
        read_records as read_records,
    )
    from gmbench.api import (
        run as run,
    )
    from gmbench.api import (
        settings as settings,
    )
    from gmbench.api import (
        to_frame as to_frame,
    )
    from gmbench.attributor import Attributor as Attributor
    from gmbench.attributor import RunContext as RunContext
    from gmbench.data.cards import DatasetCard as DatasetCard
    from gmbench.data.dataset import Dataset as Dataset
    from gmbench.data.images import ImageSet as ImageSet
    from gmbench.learning.feature_attributor import FeatureAttributor as FeatureAttributor
    from gmbench.learning.network_attributor import NetworkAttributor as NetworkAttributor
    from gmbench.manifold.space import Space as Space
    from gmbench.records.schema import Record as Record

    __version__: str

_HOMES = {
    "gmbench.api": (
        "compare", "datasets", "find_method", "fit", "load_dataset", "load_model", "methods", "read_records", "run",
        "settings", "to_frame",
    ),
    "gmbench.attributor": ("Attributor", "RunContext"),
    "gmbench.data.cards": ("DatasetCard",),
    "gmbench.data.dataset": ("Dataset",),
    "gmbench.data.images": ("ImageSet",),
    "gmbench.learning.feature_attributor": ("FeatureAttributor",),
    "gmbench.learning.network_attributor": ("NetworkAttributor",),
    "gmbench.manifold.space": ("Space",),
    "gmbench.records.schema": ("Record",),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("errors", "evaluators", "testing")
__all__ = sorted([*_HOME_OF, *_MODULES])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("gmbench")
    if name == "FOR_METHODS":
        return importlib.import_module("gmbench.attributor").FOR_METHODS
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"gmbench.{name}")
    raise AttributeError(f"module 'gmbench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
