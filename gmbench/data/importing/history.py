"""What happened to images before they were imported, and whether it tells sources apart.

Real photographs that were JPEG beside generated images that never were are this field's most reported leak: a method
learns the codec, and nobody sees it once all is stored as PNG.
"""

from __future__ import annotations

from collections.abc import Mapping

from gmbench.data.judgements import UNLIKE_HISTORY

History = Mapping[str, Mapping[str, Mapping[str, int]]]
"""Source to `formats`, `sizes` and `changes`, each to how many images."""


def unlike(history: History) -> list[str]:
    """What differs between sources by more than `UNLIKE_HISTORY`, in words: the widest of formats, sizes, changes.

    A share is of the images of a source.
    """
    found = []
    for what in ("formats", "sizes", "changes"):
        totals = {source: sum(of_source.get("formats", {}).values()) or 1 for source, of_source in history.items()}
        values = {value for of_source in history.values() for value in of_source.get(what, {})}
        widest, words = UNLIKE_HISTORY, ""
        for value in sorted(values):
            shares = {source: history[source].get(what, {}).get(value, 0) / totals[source] for source in history}
            most, least = max(shares, key=shares.__getitem__), min(shares, key=shares.__getitem__)
            if shares[most] - shares[least] > widest:
                widest = shares[most] - shares[least]
                words = f"{what}: {value} {shares[most]:.0%} of {most}, {shares[least]:.0%} of {least}"
        found += [words] if words else []
    return found
