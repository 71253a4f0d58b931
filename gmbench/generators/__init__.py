"""The generative models that gmbench trains itself, one file each, and how they are trained and sampled.

What they are, in words, is in `gmbench.data.catalogue`; datasets made of their images are in `building`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from gmbench.data.catalogue import find_generator

if TYPE_CHECKING:
    from gmbench.generators.generator import Generator


def model_class(name: str) -> type[Generator]:
    """Imports and returns the class of a generative model.

    Raises:
        NotFoundError: there is none of that name.
    """
    module, _, attribute = find_generator(name).location.partition(":")
    return getattr(importlib.import_module(module), attribute)
