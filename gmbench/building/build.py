"""Making an embedded dataset: train its generators and encoders on real images, assign roles, write the files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from gmbench.audit.check import AuditReport
from gmbench.audit.report import audit_dataset, audit_markdown
from gmbench.building.drawing import WEIGHTS, draw_images, shipped_weights
from gmbench.building.encoders import train_encoder
from gmbench.building.reals import PHOTOGRAPHS, Reals, split_reals
from gmbench.data.cards import FURTHER_ROLES, REAL, ROLES, UNKNOWN, DatasetCard
from gmbench.data.judgements import NEAR_DUPLICATE
from gmbench.data.manifest import Manifest, role_path, write_manifest
from gmbench.data.parquet import write_role
from gmbench.data.png import image_id
from gmbench.data.readme import hub_metadata
from gmbench.errors import DataError
from gmbench.evaluators.fdr import frechet_distance
from gmbench.evaluators.quality import precision_and_recall
from gmbench.generators.training import TrainingPlan, read_description, save_grid, train_generator
from gmbench.manifold.encoders import Encoder, encode, load_encoder
from gmbench.support.cache import Cache
from gmbench.support.files import ensure_writable, locked, write_text
from gmbench.support.progress import Progress
from gmbench.support.seeds import seed_from

SAMPLES_SHOWN = 24
REGIONS = ", `region` (photograph and cell of 64 pixels that a real crop is from; no cell has crops in two roles)"


SCORED = ("train", "val", "test")


@dataclass(frozen=True)
class Part:
    """Images of one source and one role."""

    source: str
    role: str
    images: Reals


def build_dataset(
    card: DatasetCard, work: Path, out: Path, reals_folder: Path | None, device: str, progress: Progress
) -> Path:
    """Makes the edition of a dataset that its card plans in `out`; trained generators and encoders stay in `work`.

    Generators whose weights come with the dataset are not trained again. All are trained on real images of which the
    manifold is a part, as in section 3.2 of the paper, and on none that is held out (see `split_reals`). Encoders are
    trained on the manifold and the real images of role train.

    Raises:
        DataError: the card does not say how to train a source, or images are missing or too much alike.
        OutputError: another process is at the work folder.
    """
    with locked(work / "build.lock", f"{card.slug} is being built in {work}"):
        return _built(card, work, out, reals_folder, device, progress)


def _built(
    card: DatasetCard, work: Path, out: Path, reals_folder: Path | None, device: str, progress: Progress
) -> Path:
    """`build_dataset`, while nobody else is at the work folder."""
    generators = {**card.generators, **card.siblings}
    untrained = [name for name, source in generators.items() if source.generator is None or source.training is None]
    if untrained:
        raise DataError(f"{card.slug} cannot be built: its card does not say how to train '{untrained[0]}'.")
    ensure_writable(out)
    plan, split = card.plan, split_reals(card, reals_folder)
    reals = [Part(REAL, role, images) for role, images in split.of_role.items() if len(images)]

    seen_by_encoders = Reals.joined([split.of_role[role] for role in ("manifold", "train")])
    for kind, path in card.encoders.items():
        pixels, categories = _rgb(seen_by_encoders.images), seen_by_encoders.categories
        seed = seed_from(card.slug, "encoder", kind)
        train_encoder(kind, pixels, categories, seed, work / path, device, progress)

    chosen, trained, folders = list(reals), {}, {}
    for name in generators:
        folders[name] = _shipped_as_planned(card, name) or work / name
        if folders[name] == work / name:
            train_generator(
                training_plan(card, name), split.training.images, work / name, device=device, progress=progress
            )
        trained[name] = read_description(folders[name]) | {"sampling_seed": seed_from(card.slug, name, "samples")}
        images = draw_images(
            folders[name],
            plan.unknown if name in card.siblings else sum(plan.roles.values()),
            trained[name]["sampling_seed"],
            device=device,
            progress=progress,
            reals=split.of_role["manifold"].images if plan.candidates > 1 else None,
            candidates=plan.candidates,
            avoid=[part.images for part in chosen],
        )
        drawn = Reals(images, np.full(len(images), None))
        chosen += [Part(name, UNKNOWN, drawn)] if name in card.siblings else _with_roles(name, drawn, plan.roles)

    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        new, old = Path(folder) / "new", Path(folder) / "old"
        roles = [role for role in (*ROLES, *FURTHER_ROLES) if any(part.role == role for part in chosen)]
        ids = {role: _write(role, [part for part in chosen if part.role == role], new) for role in roles}
        for path in card.encoders.values():
            (new / path).parent.mkdir(exist_ok=True)
            (new / path).write_bytes((work / path).read_bytes())
        for name, source in folders.items():
            (new / WEIGHTS / name).mkdir(parents=True)
            for file in ("generator.json", "model.safetensors"):
                (new / WEIGHTS / name / file).write_bytes((source / file).read_bytes())
        provenance = {"command": f"gmbench build {card.slug} --work DIR", "sources": trained}
        manifest = write_manifest(new, card, ids, provenance)
        encoder = load_encoder(card, "sl", new) if "sl" in card.encoders else None
        quality = {} if encoder is None else _quality(card, chosen, encoder, device)
        audit = audit_dataset(card, Cache(), progress, new, device=device)
        save_grid(np.concatenate([_rows_of(chosen, name) for name in card.sources]), new / "samples.png", SAMPLES_SHOWN)
        write_text(new / "audit.json", audit.model_dump_json(indent=2) + "\n")
        write_text(new / "README.md", dataset_readme(card, manifest, quality, audit))
        if out.exists():
            out.replace(old)
        new.replace(out)
    return out


def training_plan(card: DatasetCard, name: str) -> TrainingPlan:
    """How a source of a card is trained; the seed comes from their names."""
    source = {**card.generators, **card.siblings}[name]
    assert source.generator is not None
    assert source.training is not None
    training = source.training
    seed = seed_from(card.slug, name)
    return TrainingPlan(source.generator, training.steps, seed, training.batch_size, dict(training.parameters))


def _shipped_as_planned(card: DatasetCard, name: str) -> Path | None:
    """Where a source's weights come along with the dataset, if they were trained as its card says."""
    folder, plan = shipped_weights(card, name), training_plan(card, name)
    if folder is None:
        return None
    described = read_description(folder)
    return folder if all(described.get(key) == value for key, value in asdict(plan).items()) else None


def _with_roles(source: str, images: Reals, counts: dict[str, int]) -> list[Part]:
    """A source's images dealt out to the roles: the lowest ids are for train, the next for val, then test."""
    order = sorted(range(len(images)), key=lambda i: image_id(_rgb(images.images[i])))
    dealt, start = [], 0
    for role, count in counts.items():
        dealt.append(Part(source, role, images.take(order[start : start + count])))
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
            **{name: [p for p in chosen if p.source == name and p.role in SCORED] for name in card.sources},
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
    images = [_rgb(part.images.images) for part in chosen if part.source == source and part.role in SCORED]
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
    if card.plan.candidates == 1:
        return ""
    return (
        f" Of {card.plan.candidates:g} times as many samples of each generative\n"
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
        for name, source in card.generators.items()
    )
    metadata = hub_metadata(card.title, {"license": card.licence.lower()}, role_path("{role}"))
    return f"""{metadata}# {card.title}

{card.description}

![Samples: one row per source, {", ".join(card.sources)}](samples.png)

- **Real images**: {card.real.title}. Licence: {card.real.licence}, {card.real.url}. Source `real` has images that no
  generator was trained on; the manifold's are among those that all generators were trained on.{_photographs(card)}
- **Sources**: {_counts(card)}.{_matching(card)}
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


def _counts(card: DatasetCard) -> str:
    plan = card.plan
    parts = ", ".join(f"{n} {role}" for role, n in plan.roles.items())
    further = f", {plan.reserve} in reserve" if plan.reserve else ""
    siblings = f". Role unknown: {plan.unknown} images of each of {', '.join(card.siblings)}" if card.siblings else ""
    return f"{parts} images of each. Real images besides: {plan.manifold:,} for the manifold{further}{siblings}"


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
