"""Whether images of two roles or sources are too much alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gmbench.audit.check import Check, listed
from gmbench.audit.reading import AuditedImages
from gmbench.data.cards import REAL, ROLES, DatasetCard
from gmbench.data.judgements import NEAR_DUPLICATE
from gmbench.manifold.neighbors import nearest_images
from gmbench.support.progress import Progress

BLOCK_BYTES = 64 * 2**20
"""Of the pixels that are compared with each other at a time."""


@dataclass(frozen=True)
class AuditedPart:
    """The images of one source in one role."""

    role: str
    source: str
    rows: np.ndarray


def parts_of(images: AuditedImages, card: DatasetCard) -> list[AuditedPart]:
    """Parts by role, within a role reals first: what an image may not repeat is before it, or in its own role."""
    sources = [*card.sources, *sorted(set(images.sources) - set(card.sources))]
    parts = [
        AuditedPart(role, source, np.flatnonzero((images.roles == role) & (images.sources == source)))
        for role in ROLES
        for source in sources
    ]
    return [part for part in parts if len(part.rows)]


def closest_of(
    images: AuditedImages, parts: list[AuditedPart], neighbors_of: int | None, device: str, progress: Progress
) -> list[np.ndarray]:
    """Distances of the images of each part to their nearest ones in each part before it: (n, parts before it).

    In grey levels, root mean square over pixels and channels. Each pair of images is compared once.
    """
    width = images.pixels[0].size
    size = max(1, BLOCK_BYTES // width)
    queried = [part.rows[:neighbors_of] for part in parts]
    closest = [np.full((len(rows), before), np.inf) for before, rows in enumerate(queried)]
    pairs = sum(len(rows) * sum(len(part.rows) for part in parts[:i]) for i, rows in enumerate(queried))
    with progress.phase("comparing pairs of images", pairs) as phase:
        for j, part in enumerate(parts):
            for first in range(0, len(part.rows), size):
                references = images.pixels[part.rows[first : first + size]]
                for rows, distances in zip(queried[j + 1 :], closest[j + 1 :], strict=True):
                    for start in range(0, len(rows), size):
                        queries = images.pixels[rows[start : start + size]]
                        found = nearest_images(queries, references, device=device)[1][:, 0] / np.sqrt(width)
                        batch = slice(start, start + len(queries))
                        distances[batch, j] = np.minimum(distances[batch, j], found)
                        phase.advance(len(queries) * len(references))
    return closest


def could_be_copied(part: AuditedPart, other: AuditedPart) -> bool:
    return part.source != REAL and other.source == REAL and other.role in ("manifold", "train")


def check_near(
    name: str, parts: list[AuditedPart], closest: list[np.ndarray], compared: Callable[[AuditedPart, AuditedPart], bool]
) -> Check:
    """Counts the images of each part that nearly repeat one of an earlier part with which they are `compared`."""
    near: Counter[str] = Counter()
    least = []
    searched = 0
    for i, part in enumerate(parts):
        columns = [j for j, other in enumerate(parts[:i]) if compared(part, other)]
        if columns:
            distances = closest[i][:, columns].min(axis=1)
            near[part.source] += int((distances < NEAR_DUPLICATE).sum())
            least.append(float(distances.min()))
            searched += len(distances)
    nearest_of_all = min(least, default=None)
    repeated = {source: n for source, n in near.items() if n}
    found = f"{sum(repeated.values())} of {searched:,}" + (f" ({listed(Counter(repeated))})" if repeated else "")
    return Check(
        name=name,
        passed=not repeated,
        expected=f"none closer than {NEAR_DUPLICATE:g} grey levels",
        found=found if nearest_of_all is None else f"{found}; the closest {nearest_of_all:.1f}",
        figures={
            "images": dict(near),
            "searched": searched,
            "closest": nearest_of_all,
            "threshold": NEAR_DUPLICATE,
        },
    )
