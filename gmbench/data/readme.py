"""The README of a dataset's folder, with the metadata that the Hub reads."""

from __future__ import annotations

import json
from collections.abc import Mapping

from gmbench.data.cards import REAL, ROLES, UNKNOWN, DatasetCard
from gmbench.data.manifest import Manifest

QUARANTINE = "quarantine.jsonl"


def hub_metadata(title: str, licence: Mapping[str, str], role_files: str) -> str:
    """The first lines of a dataset's README, which the Hub and `datasets` read.

    Args:
        licence: fields of the Hub's metadata by name, as YAML.
        role_files: pattern of a role's files; `{role}` stands for its name.
    """
    licences = "\n".join(f"{name}: {value}" for name, value in licence.items())
    configs = "\n".join(f"  - split: {role}\n    path: {role_files.format(role=role)}" for role in ROLES)
    return f"""---
pretty_name: {json.dumps(title)}
{licences}
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
"""


def import_readme(stored: DatasetCard, card: DatasetCard, manifest: Manifest) -> str:
    """The README of an imported dataset, with the metadata that the Hub reads.

    Args:
        stored: the card of what is there. card: the card of the whole dataset.
    """
    rows = "\n".join(
        f"| `{name}` | {source.family} | {source.paper} | {source.licence or UNKNOWN} | {manifest.sources[name]:,} |"
        for name, source in stored.generators.items()
    )
    missing = ", ".join(f"`{name}`" for name in card.generators if name not in stored.generators)
    size = f"{stored.resolution}x{stored.resolution}"
    licence = {"license": "other", "license_name": json.dumps(stored.licence)}
    return f"""{hub_metadata(stored.title, licence, "data/{role}-*")}# {stored.title}

{stored.description}

- **Sources**: {len(stored.sources)} of {len(card.sources)}{f"; missing: {missing}" if missing else ""}.
- **Real images**: {stored.real.title}. Licence: {stored.real.licence}, {stored.real.url}.
- **Images**: {manifest.sources[REAL]:,} real and {stored.images.manifold:,} manifold reals; each source is
  divided 70 : 10 : 20 into the roles train, val and test.
- **Format**: PNG, {size}, RGB. Columns `image`, `id` (from the pixels), `source`, `category`.
- **Revision**: `{manifest.revision}`; `manifest.json` has the sha256 of every file, `{QUARANTINE}` what was
  not taken and why.

| source | family | paper | licence | images |
|---|---|---|---|---|
{rows}
"""
