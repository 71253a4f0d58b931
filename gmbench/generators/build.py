"""Making an embedded dataset: train its generators on real images, sample them, assign roles, write the files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from gmbench.cache import Cache
from gmbench.data.card import REAL, ROLES, DatasetCard
from gmbench.data.reals import Reals, fashion_mnist
from gmbench.data.storage import Manifest, image_id, role_path, write_manifest, write_role
from gmbench.errors import DataError
from gmbench.files import ensure_writable, write_text
from gmbench.generators.train import TrainingPlan, sample_generator, save_grid, train_generator
from gmbench.progress import Progress
from gmbench.seeds import seed_from

NEAR_DUPLICATE = 4.0
SPARE = 1.1
SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


def build_dataset(
    card: DatasetCard, work: Path, out: Path, reals_folder: Path | None, device: str, progress: Progress
) -> Path:
    """Makes the dataset of a card in `out`; trained generators stay in `work`, and are not trained again.

    Generators are trained on all of Fashion-MNIST's training images of the card's categories. The manifold is drawn
    from these, as in section 3.2 of the paper; the images of source `real` come from Fashion-MNIST's test images.
    """
    untrained = [name for name, source in card.sources.items() if source.generator is None or source.training is None]
    if untrained:
        raise DataError(f"{card.slug} cannot be built: its card does not say how to train '{untrained[0]}'.")
    ensure_writable(out)
    cache = Cache()
    categories = card.real.categories
    seen = fashion_mnist("train", categories, card.resolution, reals_folder)
    unseen = fashion_mnist("t10k", categories, card.resolution, reals_folder)

    wanted = {"manifold": card.images.manifold, REAL: card.images.per_source}
    candidates = {
        "manifold": _drawn(seen, wanted["manifold"], seed_from(card.slug, "manifold")),
        REAL: _drawn(unseen, wanted[REAL], seed_from(card.slug, REAL)),
    }
    provenance: dict[str, Any] = {"command": f"gmbench build {card.slug} --work DIR", "sources": {}}
    for name in card.sources:
        described = train_generator(_plan(card, name), seen.images, work / name, device=device, progress=progress)
        sampling_seed = seed_from(card.slug, name, "samples")
        wanted[name] = card.images.per_source
        n = round(SPARE * wanted[name])
        samples = cache.array(
            "samples",
            partial(sample_generator, work / name, n, sampling_seed, device=device, progress=progress),
            weights=described["sha256"],
            n=n,
            seed=sampling_seed,
        )
        candidates[name] = Reals(samples, np.full(n, None))
        provenance["sources"][name] = described | {"sampling_seed": sampling_seed}

    chosen = _without_near_duplicates(candidates, wanted)
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        new, old = Path(folder) / "new", Path(folder) / "old"
        ids = _write_roles(chosen, new)
        manifest = write_manifest(new, card, ids, provenance)
        rows = [_rgb(part.images[:24]) for name, part in chosen.items() if name != "manifold"]
        save_grid(np.concatenate(rows), new / "samples.png", columns=24)
        write_text(new / "README.md", dataset_readme(card, manifest))
        out.replace(old)
        new.replace(out)
    return out


def _plan(card: DatasetCard, name: str) -> TrainingPlan:
    source = card.sources[name]
    assert source.generator is not None
    assert source.training is not None
    training = source.training
    seed = seed_from(card.slug, name)
    return TrainingPlan(source.generator, training.steps, seed, training.batch_size, dict(training.parameters))


def _drawn(reals: Reals, n: int, seed: int) -> Reals:
    rows = np.random.default_rng(seed).permutation(len(reals.images))[: round(SPARE * n)]
    return Reals(reals.images[rows], reals.categories[rows])


def _without_near_duplicates(candidates: dict[str, Reals], wanted: dict[str, int]) -> dict[str, Reals]:
    """The first so many images of each part that differ by at least 4 grey levels (root mean square) from all before.

    Raises:
        DataError: a part has too few distinct images.
    """
    chosen: dict[str, Reals] = {}
    kept_before = np.empty((0, candidates[REAL].images[0].size), dtype=np.float32)
    for name, part in candidates.items():
        flat = part.images.reshape(len(part.images), -1).astype(np.float32)
        least = NEAR_DUPLICATE * np.sqrt(flat.shape[1])
        is_new = (cdist(flat, kept_before) >= least).all(axis=1) if len(kept_before) else np.ones(len(flat), bool)
        among = cdist(flat, flat) < least
        rows: list[int] = []
        for row in np.flatnonzero(is_new):
            if not among[row, rows].any():
                rows.append(int(row))
        if len(rows) < wanted[name]:
            raise DataError(f"'{name}' gave {len(rows)} distinct images, expected {wanted[name]}: it repeats itself.")
        kept = rows[: wanted[name]]
        chosen[name] = Reals(part.images[kept], part.categories[kept])
        kept_before = np.concatenate([kept_before, flat[kept]])
    return chosen


def _write_roles(chosen: dict[str, Reals], out: Path) -> dict[str, list[str]]:
    """Writes every role's file. Of a source, the lowest ids are for train, the next for val, then test."""
    parts: dict[str, list[tuple[np.ndarray, str, Any]]] = {role: [] for role in ROLES}
    for name, part in chosen.items():
        pixels = _rgb(part.images)
        if name == "manifold":
            parts["manifold"] += [(image, REAL, what) for image, what in zip(pixels, part.categories, strict=True)]
            continue
        order = sorted(range(len(pixels)), key=lambda i: image_id(pixels[i]))
        start = 0
        for role, share in SHARES.items():
            end = start + round(share * len(pixels))
            parts[role] += [(pixels[i], name, part.categories[i]) for i in order[start:end]]
            start = end
    ids = {}
    for role, images in parts.items():
        stacked = np.stack([image for image, _, _ in images])
        sources, categories = [name for _, name, _ in images], [what for _, _, what in images]
        ids[role] = write_role(out / role_path(role), stacked, sources, categories)
    return ids


def _rgb(images: np.ndarray) -> np.ndarray:
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images


def dataset_readme(card: DatasetCard, manifest: Manifest) -> str:
    """The README of a dataset's folder, with the metadata that the Hub reads."""
    configs = "\n".join(f"  - split: {role}\n    path: {role_path(role)}" for role in ROLES)
    trained = manifest.provenance["sources"]
    rows = "\n".join(
        f"| `{name}` | {source.family} | {source.paper} | {_training(trained[name])} |"
        for name, source in card.sources.items()
    )
    return f"""---
pretty_name: {card.title}
license: {card.licence.lower()}
task_categories:
- image-classification
tags:
- model-attribution
- image-forensics
configs:
- config_name: default
  data_files:
{configs}
---
# {card.title}

{card.description}

![Samples: one row per source, {", ".join(card.classes)}](samples.png)

- **Real images**: {card.real.title}. Licence: {card.real.licence}, {card.real.url}. Source `real` has images that no
  generator was trained on; the manifold's are among those that all generators were trained on.
- **Sources**: {card.images.per_source} images each; in roles train, val and test as 70 : 10 : 20. Manifold:
  {card.images.manifold} real images.
- **Format**: PNG, {card.resolution}x{card.resolution}, RGB. Columns `image`, `id` (from the pixels), `source`,
  `category` (what a real image shows). Images are sorted by id. No two images are closer than {NEAR_DUPLICATE:g} grey
  levels (root mean square).
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
"""


def _training(trained: dict[str, Any]) -> str:
    parameters = ", ".join(f"{name}={value}" for name, value in trained["parameters"].items()) or "default"
    steps = f"{trained['steps']} steps of {trained['batch_size']}"
    minutes = f"{trained['seconds'] / 60:.0f} min"
    return f"{steps} | {parameters} | {trained['seed']} | {minutes} | `{trained['sha256'][:16]}`"
