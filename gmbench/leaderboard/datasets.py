"""`datasets.md`: what each dataset consists of, from the cards, as the paper's Table 1."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import get_args

from gmbench.data.cards import UNKNOWN, DatasetCard, Family
from gmbench.data.manifest import read_manifest
from gmbench.errors import DataError
from gmbench.leaderboard.markdown import MISSING, page, table

AUDIT = "audit.json"
SHOWN = ("near-duplicates across roles", "probe on trivial statistics")
FAMILIES: tuple[str, ...] = get_args(Family)
ABOUT = """\
# Datasets

As Table 1 of the ManiFPT paper: real images, and images of generative models of four families that were trained on such
images. Every image has one role: `manifold` (real images that stand for the manifold), `train`, `val` or `test`.

- **What is counted**: images per source are those of roles train, val and test together; the manifold's come on top.
- **How sure that it is fair**: an audit checks formats, duplicates, copies and balance, and how many test images
  brightness, colour and file size alone attribute.
- **How to reproduce a row**: `gmbench info <dataset>` shows the card, `gmbench audit <dataset>` repeats the audit,
  `gmbench build <dataset> --work <folder>` makes an embedded dataset again. The revision names the content; every
  record says which it was made with.

Written by `gmbench leaderboard` from the dataset cards; do not edit by hand.
"""


def datasets_page(cards: Sequence[DatasetCard]) -> str:
    """The page as markdown.

    Raises:
        DataError: the manifest or the audit of an embedded dataset is damaged.
    """
    sizes = [
        [
            f"`{card.slug}`",
            f"{card.resolution}x{card.resolution}",
            len(card.sources),
            f"{card.images.per_source:,}",
            f"{card.images.manifold:,}",
            _where(card),
            card.licence,
            _revision(card),
        ]
        for card in cards
    ]
    headers = ["Dataset", "Pixels", "Sources", "Images per source", "Manifold", "Where", "Licence", "Revision"]
    return page(
        ABOUT,
        table(headers, sizes, left=["Where", "Licence", "Revision"]),
        "## Sources by family",
        *(f"### {card.slug}\n\n{_sources(card)}" for card in cards),
        "## Audits",
        "\n".join(f"- `{card.slug}`: {_audit(card)}" for card in cards),
    )


def _where(card: DatasetCard) -> str:
    if card.embedded:
        return "in the package"
    return "Hugging Face Hub" if card.revision else "not published yet"


def _revision(card: DatasetCard) -> str:
    revision = read_manifest(card.folder).revision if card.embedded else card.revision
    return f"`{revision[:12]}`" if revision else MISSING


def _sources(card: DatasetCard) -> str:
    rows = [["real", 1, f"{card.real.title} ({card.real.licence})"]]
    for family in FAMILIES:
        titles = [source.title for source in card.generators.values() if source.family == family]
        if titles or family != UNKNOWN:
            rows.append([family, len(titles), ", ".join(titles) or MISSING])
    return table(["Family", "Sources", "Which"], rows, left=["Which"])


def _audit(card: DatasetCard) -> str:
    """What the audit beside an embedded dataset's files found; the checks that failed are named."""
    path = card.folder / AUDIT
    if not path.is_file():
        return "no audit is stored."
    from gmbench.audit.check import AuditReport

    try:
        report = AuditReport(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged. Write it anew: gmbench audit {card.slug} --json {path}") from error
    if report.revision != read_manifest(card.folder).revision:
        return f"of an earlier revision, `{report.revision[:12]}`."
    failed = [f"{check.name} ({check.found}; expected {check.expected})" for check in report.checks if not check.passed]
    if failed:
        return f"failed in {len(failed)} of {len(report.checks)} checks: {'; '.join(failed)}."
    found = "; ".join(f"{check.name}: {check.found}" for check in report.checks if check.name in SHOWN)
    return f"all {len(report.checks)} checks passed{f' ({found})' if found else ''}."
