"""Whether files of images tell more than their pixels: format, metadata, encoder settings, ids."""

from __future__ import annotations

from collections import Counter

from gmbench.audit.check import Check, listed
from gmbench.audit.reading import AuditedImages
from gmbench.data.cards import DatasetCard
from gmbench.data.importing.history import unlike
from gmbench.data.judgements import UNLIKE_HISTORY
from gmbench.data.manifest import Manifest


def check_format(images: AuditedImages, card: DatasetCard) -> Check:
    expected = f"PNG {card.resolution}x{card.resolution} RGB"
    kinds = Counter(file.kind for file in images.files)
    return Check(
        name="format",
        passed=set(kinds) == {expected},
        expected=expected,
        found=listed(kinds) if len(kinds) > 1 else next(iter(kinds)),
        figures={"images": dict(kinds.most_common())},
    )


def check_metadata(images: AuditedImages) -> Check:
    carrying = [
        (source, file.metadata) for source, file in zip(images.sources, images.files, strict=True) if file.metadata
    ]
    chunks, sources = Counter(metadata for _, metadata in carrying), Counter(source for source, _ in carrying)
    return Check(
        name="metadata",
        passed=not carrying,
        expected="in no file",
        found=f"{listed(chunks)} (of {listed(sources)})" if carrying else "in no file",
        figures={"chunks": dict(chunks), "images": dict(sources)},
    )


def check_encoder_settings(images: AuditedImages) -> Check:
    settings = Counter(file.encoder for file in images.files)
    by_source: dict[str, Counter[str]] = {source: Counter() for source in images.sources}
    for source, file in zip(images.sources, images.files, strict=True):
        by_source[source][file.encoder] += 1
    return Check(
        name="encoder settings",
        passed=len(settings) == 1,
        expected="one for all files",
        found=listed(settings) if len(settings) > 1 else next(iter(settings)),
        figures={"images": {source: dict(counts) for source, counts in by_source.items()}},
    )


def check_history(manifest: Manifest) -> Check:
    """Whether formats, JPEG qualities, sizes and changes before the import were alike in all sources."""
    differing = unlike(manifest.history)
    return Check(
        name="history",
        passed=not differing,
        expected=f"shares within {UNLIKE_HISTORY:.0%} across sources",
        found="; ".join(differing) or "alike",
        figures={"images": manifest.history},
    )


def check_ids(images: AuditedImages) -> Check:
    in_roles = Counter((file.id, role) for file, role in zip(images.files, images.roles, strict=True))
    roles_of = Counter(id for id, _ in in_roles)
    figures = {
        "in two roles": sum(n > 1 for n in roles_of.values()),
        "twice in a role": sum(n > 1 for n in in_roles.values()),
        "not of their pixels": sum(file.id != id for file, id in zip(images.files, images.ids, strict=True)),
    }
    problems = {what: n for what, n in figures.items() if n}
    return Check(
        name="ids",
        passed=not problems,
        expected="from the pixels, each once",
        found=", ".join(f"{n} {what}" for what, n in problems.items()) or f"{len(roles_of):,} different",
        figures=figures,
    )
