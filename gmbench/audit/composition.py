"""Whether sources and roles are put together as they should be: regions, sources, balance."""

from __future__ import annotations

from collections import Counter

from gmbench.audit.check import Check, some
from gmbench.audit.reading import AuditedImages
from gmbench.data.cards import REAL, DatasetCard

SCORED = ("train", "val", "test")


def check_regions(images: AuditedImages) -> Check:
    assert images.regions is not None
    pairs = {(region, role) for region, role in zip(images.regions, images.roles, strict=True) if region is not None}
    roles_of = Counter(region for region, _ in pairs)
    shared = sorted(region for region, n in roles_of.items() if n > 1)
    unnamed = sum(
        region is None and source == REAL for region, source in zip(images.regions, images.sources, strict=True)
    )
    found = f"{len(shared)} of {len(roles_of)} in two: {some(shared)}" if shared else f"{len(roles_of)}, each in one"
    return Check(
        name="regions of photographs",
        passed=not shared,
        expected="each in one role",
        found=found + (f"; {unnamed} real images without" if unnamed else ""),
        figures={"regions": len(roles_of), "in two roles": shared, "real images without": unnamed},
    )


def check_sources(images: AuditedImages, card: DatasetCard) -> Check:
    present = set(zip(images.roles, images.sources, strict=True))
    in_manifold = sorted({source for role, source in present if role == "manifold"} - {REAL})
    roles = [role for role in SCORED if (images.roles == role).any()]
    missing = [source for source in card.sources if any((role, source) not in present for role in roles)]
    where = " and ".join(filter(None, [", ".join(roles[:-1]), roles[-1]]))
    unknown = sorted(set(images.sources) - set(card.sources))
    lists = {"missing": missing, "unknown": unknown, "in the manifold": in_manifold}
    problems = [f"{what}: {some(names)}" for what, names in lists.items() if names]
    return Check(
        name="sources",
        passed=not problems,
        expected="the card's; only real in the manifold",
        found="; ".join(problems) or f"{len(card.sources)} in {where}",
        figures=lists,
    )


def check_balance(images: AuditedImages) -> Check:
    counted = Counter(zip(images.roles, images.sources, strict=True))
    counts = {role: {source: counted[role, source] for source in sorted(set(images.sources))} for role in SCORED}
    found = []
    for role, per_source in counts.items():
        fewest, most = (choose(per_source, key=per_source.__getitem__) for choose in (min, max))
        if per_source[fewest] == per_source[most]:
            found.append(f"{role} {per_source[most]}")
        else:
            found.append(f"{role} {per_source[fewest]} ({fewest}) to {per_source[most]} ({most})")
    return Check(
        name="images per source",
        passed=all(len(set(per_source.values())) == 1 for per_source in counts.values()),
        expected="as many of each, in each role",
        found=", ".join(found),
        figures=counts,
    )
