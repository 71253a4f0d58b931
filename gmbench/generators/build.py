"""Making an embedded dataset: train its generators and encoders on real images, assign roles, write the files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from gmbench.cache import Cache
from gmbench.data.audit import NEAR_DUPLICATE, AuditReport, audit_dataset, audit_markdown
from gmbench.data.card import REAL, ROLES, DatasetCard
from gmbench.data.encoding import image_id
from gmbench.data.reals import PHOTOGRAPHS, SHARES, Reals, real_pools
from gmbench.data.storage import Manifest, hub_metadata, role_path, write_manifest, write_role
from gmbench.encoders import Encoder, encode, load_encoder
from gmbench.encoders.train import train_encoder
from gmbench.errors import DataError
from gmbench.files import ensure_writable, write_text
from gmbench.generators.matching import matched_to_reals
from gmbench.generators.quality import frechet_distance, precision_and_recall
from gmbench.generators.train import TrainingPlan, sample_generator, save_grid, train_generator
from gmbench.progress import Progress
from gmbench.seeds import seed_from

SPARE = 1.1
SAMPLES_SHOWN = 24
REGIONS = ", `region` (photograph and cell of 64 pixels that a real crop is from; no cell has crops in two roles)"


@dataclass(frozen=True)
class Part:
    """Images of one source and one role, or of one source and no role yet."""

    source: str
    role: str | None
    images: Reals


def build_dataset(
    card: DatasetCard, work: Path, out: Path, reals_folder: Path | None, device: str, progress: Progress
) -> Path:
    """Makes the dataset of a card in `out`; trained generators and encoders stay in `work`, and are kept.

    Generators are trained on real images of which the manifold is a part, as in section 3.2 of the paper; no generator
    has seen the images of source `real`. Encoders are trained on the manifold and the real images of role train.
    """
    untrained = [name for name, source in card.sources.items() if source.generator is None or source.training is None]
    if untrained:
        raise DataError(f"{card.slug} cannot be built: its card does not say how to train '{untrained[0]}'.")
    ensure_writable(out)
    pools = real_pools(card, reals_folder)
    counts = {role: round(share * card.images.per_source) for role, share in SHARES.items()}
    drawn = [(Part(REAL, "manifold", pools.seen), card.images.manifold)]
    drawn += [(Part(REAL, role, pools.unseen[role]), count) for role, count in counts.items()]
    reals = without_near_duplicates([(_some(card, part, round(SPARE * n)), n) for part, n in drawn], [])

    seen_by_encoders = _joined([part.images for part in reals if part.role in ("manifold", "train")])
    for kind, path in card.encoders.items():
        pixels, categories = _rgb(seen_by_encoders.images), seen_by_encoders.categories
        seed = seed_from(card.slug, "encoder", kind)
        train_encoder(kind, pixels, categories, seed, work / path, device, progress)

    sampled, trained = [], {}
    for name in card.sources:
        samples, trained[name] = _generated(card, name, pools.seen.images, work / name, device, progress)
        sampled.append((Part(name, None, samples), card.images.per_source))
    chosen = reals + [part for whole in without_near_duplicates(sampled, reals) for part in _with_roles(whole, counts)]

    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        new, old = Path(folder) / "new", Path(folder) / "old"
        ids = {role: _write(role, [part for part in chosen if part.role == role], new) for role in ROLES}
        for path in card.encoders.values():
            (new / path).parent.mkdir(exist_ok=True)
            (new / path).write_bytes((work / path).read_bytes())
        provenance = {"command": f"gmbench build {card.slug} --work DIR", "sources": trained}
        manifest = write_manifest(new, card, ids, provenance)
        encoder = load_encoder(card, "sl", new) if "sl" in card.encoders else None
        quality = {} if encoder is None else _quality(card, chosen, encoder, device)
        audit = audit_dataset(card, Cache(), progress, new, device=device)
        save_grid(np.concatenate([_rows_of(chosen, name) for name in card.classes]), new / "samples.png", SAMPLES_SHOWN)
        write_text(new / "audit.json", audit.model_dump_json(indent=2) + "\n")
        write_text(new / "README.md", dataset_readme(card, manifest, quality, audit))
        out.replace(old)
        new.replace(out)
    return out


def _generated(
    card: DatasetCard, name: str, seen: np.ndarray, folder: Path, device: str, progress: Progress
) -> tuple[Reals, dict[str, Any]]:
    """Samples of a source, some more than are needed, and how they were made."""
    described = train_generator(training_plan(card, name), seen, folder, device=device, progress=progress)
    needed, seed = round(SPARE * card.images.per_source), seed_from(card.slug, name, "samples")
    drawn = card.images.candidates or needed
    samples = Cache().array(
        "samples",
        partial(sample_generator, folder, drawn, seed, device=device, progress=progress),
        weights=described["sha256"],
        n=drawn,
        seed=seed,
    )
    if card.images.candidates is not None:
        reals = seen[np.random.default_rng(seed).permutation(len(seen))[:drawn]]
        samples = samples[matched_to_reals(_rgb(samples), _rgb(reals), needed, seed)]
    return Reals(samples, np.full(needed, None)), described | {"sampling_seed": seed}


def training_plan(card: DatasetCard, name: str) -> TrainingPlan:
    """How a source of a card is trained; the seed comes from their names."""
    source = card.sources[name]
    assert source.generator is not None
    assert source.training is not None
    training = source.training
    seed = seed_from(card.slug, name)
    return TrainingPlan(source.generator, training.steps, seed, training.batch_size, dict(training.parameters))


def without_near_duplicates(candidates: list[tuple[Part, int]], before: list[Part]) -> list[Part]:
    """Of each part the first so many images that differ by at least 4 grey levels (root mean square) from all before.

    Raises:
        DataError: a part has too few distinct images.
    """
    chosen: list[Part] = []
    kept_before = np.concatenate([_flat(part.images) for part in before]) if before else None
    for part, wanted in candidates:
        flat = _flat(part.images)
        least = NEAR_DUPLICATE * np.sqrt(flat.shape[1])
        is_new = np.ones(len(flat), bool) if kept_before is None else (cdist(flat, kept_before) >= least).all(axis=1)
        among = cdist(flat, flat) < least
        rows: list[int] = []
        for row in np.flatnonzero(is_new):
            if not among[row, rows].any():
                rows.append(int(row))
        if len(rows) < wanted:
            raise DataError(f"'{part.source}' gave {len(rows)} distinct images, expected {wanted}: it repeats itself.")
        kept = rows[:wanted]
        chosen.append(Part(part.source, part.role, part.images.take(kept)))
        kept_before = flat[kept] if kept_before is None else np.concatenate([kept_before, flat[kept]])
    return chosen


def _flat(reals: Reals) -> np.ndarray:
    return reals.images.reshape(len(reals), -1).astype(np.float32)


def _some(card: DatasetCard, part: Part, n: int) -> Part:
    """Some of a part's images, at random."""
    order = np.random.default_rng(seed_from(card.slug, part.source, str(part.role))).permutation(len(part.images))
    return Part(part.source, part.role, part.images.take(order[:n]))


def _joined(parts: list[Reals]) -> Reals:
    return Reals(np.concatenate([part.images for part in parts]), np.concatenate([part.categories for part in parts]))


def _with_roles(part: Part, counts: dict[str, int]) -> list[Part]:
    """A source's images dealt out to the roles: the lowest ids are for train, the next for val, then test."""
    order = sorted(range(len(part.images)), key=lambda i: image_id(_rgb(part.images.images[i])))
    dealt, start = [], 0
    for role, count in counts.items():
        dealt.append(Part(part.source, role, part.images.take(order[start : start + count])))
        start += count
    return dealt


def _write(role: str, parts: list[Part], folder: Path) -> list[str]:
    """Writes a role's file. Returns the ids in it."""
    pixels = np.concatenate([_rgb(part.images.images) for part in parts])
    sources = [part.source for part in parts for _ in range(len(part.images))]
    categories = [category for part in parts for category in part.images.categories]
    regions = None
    if any(part.images.regions is not None for part in parts):
        regions = [
            region
            for part in parts
            for region in ([None] * len(part.images) if part.images.regions is None else part.images.regions)
        ]
    return write_role(folder / role_path(role), pixels, sources, categories, regions)


def _quality(
    card: DatasetCard, chosen: list[Part], encoder: Encoder, device: str
) -> dict[str, tuple[float, float, float]]:
    """Fréchet distance, precision and recall of each source, and of the manifold, to the images of source `real`."""
    features = {
        name: encode(encoder, np.concatenate([_rgb(part.images.images) for part in parts]), device)
        for name, parts in {
            **{name: [p for p in chosen if p.source == name and p.role != "manifold"] for name in card.classes},
            "manifold": [p for p in chosen if p.role == "manifold"],
        }.items()
    }
    real = features.pop(REAL)
    # As many images on either side: both figures depend on how many there are.
    features["manifold"] = features["manifold"][: len(real)]
    return {
        name: (frechet_distance(real, found), *precision_and_recall(real, found)) for name, found in features.items()
    }


def _rows_of(chosen: list[Part], source: str) -> np.ndarray:
    images = [_rgb(part.images.images) for part in chosen if part.source == source and part.role != "manifold"]
    return np.concatenate(images)[:SAMPLES_SHOWN]


def _rgb(images: np.ndarray) -> np.ndarray:
    return images if images.shape[-1] == 3 else np.repeat(images, 3, axis=-1)


def _photographs(card: DatasetCard) -> str:
    """Each photograph with its licence, if that is what the real images are from."""
    if card.real.pool != "photographs":
        return ""
    return "".join(f"\n  - `{name}`: {licence}" for name, licence in PHOTOGRAPHS.items())


def _matching(card: DatasetCard) -> str:
    """How samples were chosen, if not all were taken."""
    if card.images.candidates is None:
        return ""
    return (
        f" Of {card.images.candidates:,} samples of each generative\n"
        "  model those were kept whose mean colour, file size and histogram are most like the reals': drawn with the\n"
        "  odds of being real, by a classifier on these figures, as weights (`gmbench/generators/matching.py`)."
    )


def dataset_readme(
    card: DatasetCard, manifest: Manifest, quality: dict[str, tuple[float, float, float]], audit: AuditReport
) -> str:
    """The README of a dataset's folder, with the metadata that the Hub reads."""
    trained = manifest.provenance["sources"]
    rows = "\n".join(
        f"| `{name}` | {source.family} | {source.paper} | {_training(trained[name])} |"
        for name, source in card.sources.items()
    )
    metadata = hub_metadata(card.title, {"license": card.licence.lower()}, role_path("{role}"))
    return f"""{metadata}# {card.title}

{card.description}

![Samples: one row per source, {", ".join(card.classes)}](samples.png)

- **Real images**: {card.real.title}. Licence: {card.real.licence}, {card.real.url}. Source `real` has images that no
  generator was trained on; the manifold's are among those that all generators were trained on.{_photographs(card)}
- **Sources**: {card.images.per_source} images each; in roles train, val and test as 70 : 10 : 20. Manifold:
  {card.images.manifold} real images.{_matching(card)}
- **Format**: PNG, {card.resolution}x{card.resolution}, RGB. Columns `image`, `id` (from the pixels), `source`,
  `category` (what a real image shows){REGIONS if card.real.pool == "photographs" else ""}. Images are sorted by id. No
  two images are closer than {NEAR_DUPLICATE:g} grey levels (root mean square).
- **Encoders**: ResNet-20, trained on the manifold and the real images of role train: `encoders/sl.safetensors` on their
  categories, `encoders/ssl.safetensors` without these, by Barlow Twins.
- **Revision**: `{manifest.revision}`; `manifest.json` has the sha256 of every file.

```python
import datasets

dataset = datasets.load_dataset("path/to/this/folder")
```

## How it was made

`{manifest.provenance["command"]}` trains the generators and writes these files. On another machine the generators come
out slightly different; the stored files are the dataset.

| source | family | paper | training | parameters | seed | time | weights (sha256) |
|---|---|---|---|---|---|---|---|
{rows}

## How good the generators are

In the space of the SL encoder, against the images of source `real`: the Fréchet distance (lower is better), and
precision and recall of Kynkäänniemi et al. (NeurIPS 2019) with three neighbours. The row `manifold` has real images of
which generators have seen all, and says what to expect of a perfect generator.

{_quality_table(quality)}

## Audit

`gmbench audit {card.slug}`; `audit.json` has all figures.

{audit_markdown(audit)}
"""


def _quality_table(quality: dict[str, tuple[float, float, float]]) -> str:
    from tabulate import tabulate

    rows = [
        [f"`{name}`", f"{distance:.2f}", f"{precision:.2f}", f"{recall:.2f}"]
        for name, (distance, precision, recall) in sorted(quality.items(), key=lambda item: item[1][0])
    ]
    return tabulate(rows, ["source", "Fréchet distance", "precision", "recall"], tablefmt="pipe", disable_numparse=True)


def _training(trained: dict[str, Any]) -> str:
    parameters = ", ".join(f"{name}={value}" for name, value in trained["parameters"].items()) or "default"
    steps = f"{trained['steps']} steps of {trained['batch_size']}"
    minutes = f"{trained['seconds'] / 60:.0f} min"
    return f"{steps} | {parameters} | {trained['seed']} | {minutes} | `{trained['sha256'][:16]}`"
