"""Is a benchmark fair? Checks of a stored dataset for what gives sources away, or makes scores better than they are.

An audit reads the files as they are stored and asks nothing of them but that they are whole: what `load_dataset` would
refuse is a failed check here. Near-duplicates are found exactly, group of images by group, so memory does not grow with
the dataset.
"""

from __future__ import annotations

from collections import Counter
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from gmbench.audit.check import AuditReport, verdict
from gmbench.audit.composition import check_balance, check_regions, check_sources
from gmbench.audit.duplicates import check_near, closest_of, could_be_copied, parts_of
from gmbench.audit.files import check_encoder_settings, check_format, check_history, check_ids, check_metadata
from gmbench.audit.probe import check_probe
from gmbench.audit.reading import read_images
from gmbench.audit.traces import check_traces
from gmbench.data.cards import ROLES, DatasetCard
from gmbench.data.hub import available_folder
from gmbench.data.judgements import PROBE_BOUND
from gmbench.data.manifest import read_manifest, stored_card, verify_files
from gmbench.errors import DataError
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress


def audit_dataset(
    card: DatasetCard,
    cache: Cache,
    progress: Progress,
    folder: Path | None = None,
    neighbors_of: int | None = None,
    probe_bound: float = PROBE_BOUND,
    device: str = "cpu",
) -> AuditReport:
    """Audits the dataset in `folder` (by default where it is).

    Args:
        neighbors_of: look for near-duplicates of so many images per source and role, the first by id; None: of all.
            They are compared with all images in any case. The work grows with the square of the number of images.
        probe_bound: share in [0, 1] of the way from chance to certainty that the probe on trivial statistics may go.
            Sources do differ in brightness, so some of it is fair; beyond half of it, accuracies say little of
            artifacts.
        device: where neighbours are looked for.

    Raises:
        DataError: a file is missing, altered or cannot be read, or is not as the manifest says.
    """
    folder = folder or available_folder(card, progress)
    manifest = read_manifest(folder)
    if manifest.dataset != card.slug:
        raise DataError(f"{folder} holds '{manifest.dataset}', expected '{card.slug}'.")
    verify_files(folder, manifest)
    card = stored_card(card, manifest)

    with TemporaryDirectory(prefix="audit.", dir=cache.path("audit").parent) as scratch:
        images = read_images(folder, manifest, card.resolution, Path(scratch) / "pixels.npy", progress)
        parts = parts_of(images, card)
        closest = closest_of(images, parts, neighbors_of, device, progress)
        checks = [
            check_format(images, card),
            check_metadata(images),
            check_encoder_settings(images),
            *([check_history(manifest)] if manifest.history else []),
            check_ids(images),
            *([check_regions(images)] if images.regions is not None else []),
            check_sources(images, card),
            check_balance(images),
            check_near("near-duplicates across roles", parts, closest, lambda part, other: part.role != other.role),
            check_near("near-duplicates between sources", parts, closest, lambda part, other: part.role == other.role),
            check_near("copies of training reals", parts, closest, could_be_copied),
            *([] if manifest.test_only else [check_probe(images, probe_bound, progress)]),
            *([] if manifest.test_only else [check_traces(images, progress)]),
        ]
    counts = Counter(images.roles)
    return AuditReport(
        dataset=card.slug,
        revision=manifest.revision,
        gmbench=version("gmbench"),
        images={role: counts[role] for role in ROLES},
        checks=checks,
    )


def audit_markdown(report: AuditReport) -> str:
    """The checks of a report as a markdown table."""
    from tabulate import tabulate

    rows = [[check.name, check.expected, check.found, verdict(check)] for check in report.checks]
    return tabulate(rows, ["Check", "Expected", "Found", "Result"], tablefmt="pipe", disable_numparse=True)
