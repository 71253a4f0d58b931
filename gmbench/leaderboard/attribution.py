"""`attribution.md`: accuracy, detection, calibration and FDR of every method, as the paper's Table 2."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import numpy as np

from gmbench.data.cards import REAL
from gmbench.evaluators.accuracy import family_recall
from gmbench.leaderboard.findings import ABOUT_TESTS, best_first, findings, tied
from gmbench.leaderboard.markdown import (
    HOW_TO_REPRODUCE,
    MISSING,
    NO_RECORDS,
    WRITTEN_BY,
    bold,
    commands,
    details,
    interval,
    mean_and_sd,
    page,
    percent,
    table,
)
from gmbench.protocol.settings import SETTINGS
from gmbench.records.rows import Entry, methods_of
from gmbench.registry import methods

ABOUT = f"""\
# Attribution: which generative model made this image?

As Table 2 of the ManiFPT paper; its published figures are in [paper.md](paper.md).

- **What is measured**: a method attributes each test image to one of the sources of a dataset: `real`, or one of its
  generative models. It is fitted on the training images of all sources and chosen on the validation images.
- **On what**: the datasets of [datasets.md](datasets.md). All methods see the same images in the same roles.
- **How sure**: each table has the spread over seeds and an interval over test images. An accuracy in **bold** is the
  highest of its table or one that the tests, with these seeds, do not separate from it (5 %, Holm-corrected for all
  pairs of the table); if only one is bold, it is separated from all others. All pairs:
  [significance.md](significance.md).
  {ABOUT_TESTS}
{HOW_TO_REPRODUCE}
- **What each method does**: its card, {{cards}}.

Columns:

- **Accuracy %** ↑: share of test images attributed to their true source, mean ± standard deviation over the seeds.
- **95 %**: interval of that mean over test images: Wilson's, for as many images as the seeds together are worth.
- **AUROC** ↑: real against generated, by the probability of `real`; 0.5 is chance, 1 is best.
- **ECE** ↓: expected calibration error, how far probabilities are from the shares that are right; 0 is best.
- **FDR** ↑: Fréchet distance ratio of the method's features, between sources over within sources, from random halves of
  n images per source with d features. It depends on n and d, and a few extreme values of hand-made features can rule
  it. † n ≤ d: covariances are not of full rank, which draws the ratio towards 1; do not compare it with others.
- **Seeds**: repetitions. The seed decides initial weights and, in `few-shot-10`, which images are drawn.

Badges:

- **1 seed**, **2 seeds**: fewer than the three that a row should have; one has no standard deviation.
- **scratch**: learnt from the training images alone. **pretrained**: began from published weights, whose sha256 is in
  the record. **encoder**: looks at features of an encoder, the dataset's own if it has one, else a published one.
- **cpu**, **gpu**: where it ran.
- **dirty tree**: the code had changes that are in no commit. **no commit**: it ran outside a checkout; only the digests
  in the record tell which code it was.
- **not converged**: nobody has shown that the network's training is long enough, or twice the epochs did bring a point
  of validation accuracy or more: the method may be better than its row.
- **predictions only, not re-run**: the method is not published. Its authors handed in probabilities, which are scored
  here; nobody can check how they came about, and without features there is no FDR.

{WRITTEN_BY}
"""

FEW_SEEDS = 3
PREDICTIONS_ONLY = "predictions only, not re-run"
WEIGHTS = {"weights_sha256": "pretrained", "encoder_sha256": "encoder"}


def attribution_page(entries: Iterable[Entry]) -> str:
    """The page as markdown."""
    entries = list(entries)
    known = methods_of(entries)
    about = ABOUT.format(cards=listed_cards(known))
    kept = sorted((entry for entry in entries if entry.tested_on is None), key=_place)
    if not kept:
        return page(about, NO_RECORDS)
    settings = list(dict.fromkeys(entry.setting for entry in kept))
    parts = [about, "Settings:", "\n".join(f"- [{name}](#setting-{name}): {_in_words(name)}" for name in settings)]
    for setting, in_setting in groupby(kept, key=lambda entry: entry.setting):
        parts.append(f"## Setting `{setting}`\n\n{_in_words(setting)}")
        parts.extend(
            _section(dataset, best_first(list(group)), known)
            for dataset, group in groupby(in_setting, key=lambda entry: entry.dataset)
        )
    return page(*parts)


def _place(entry: Entry) -> tuple[int, str, str]:
    """Settings in the order of their words, others behind them; then datasets."""
    known = list(SETTINGS)
    place = known.index(entry.setting) if entry.setting in known else len(known)
    return place, entry.setting, entry.dataset


def _in_words(setting: str) -> str:
    return SETTINGS[setting].words if setting in SETTINGS else ""


def listed_cards(slugs: Iterable[str]) -> str:
    """Links from the pages to the cards of methods."""
    cards = ((slug, methods()[slug].folder) for slug in slugs)
    links = [f"[`{slug}`](../{folder.parent.name}/{folder.name}/README.md)" for slug, folder in cards]
    return ", ".join(links) or "in its folder"


def _section(dataset: str, entries: list[Entry], known: list[str]) -> str:
    first = entries[0].records[0]
    n = len(entries[0].sources)
    return page(
        f"### {dataset}",
        f"{n} sources, {first.images['test']:,} test images, {first.images['train']:,} training images; chance is "
        f"{percent(1 / n)} %. Dataset revision `{first.identity.dataset_revision[:12]}`.",
        findings(entries, known),
        _scores(entries),
        "Recall by family: of a family's test images, the share in % that was attributed to any of its sources.",
        _family_recalls(entries),
        details("Recall of each generative model, in %", *_source_recalls(entries)),
        details("Commands that make these rows", commands(entries)),
    )


def _scores(entries: list[Entry]) -> str:
    rows = [
        [
            f"`{entry.name}`",
            bold(mean_and_sd(100 * entry.accuracies, 1), is_tied),
            interval(*entry.interval),
            f"{_mean_score(entry, 'detection', 'auroc'):.3f}",
            f"{_mean_score(entry, 'calibration', 'ece'):.3f}",
            *_fdr(entry),
            len(entry.records),
            ", ".join(badges(entry)),
        ]
        for entry, is_tied in zip(entries, tied(entries), strict=True)
    ]
    headers = ["Method", "Accuracy % ↑", "95 %", "AUROC ↑", "ECE ↓", "FDR ↑", "n", "d", "Seeds", "Badges"]
    return table(headers, rows, left=["Badges"])


def _mean_score(entry: Entry, evaluator: str, field: str) -> float:
    return float(np.mean([getattr(getattr(record.scores, evaluator), field) for record in entry.records]))


def _fdr(entry: Entry) -> tuple[str, int | str, int | str]:
    found = [record.scores.fdr for record in entry.records if record.scores.fdr is not None]
    if not found:
        return MISSING, MISSING, MISSING
    mark = " †" if any(fdr.is_biased for fdr in found) else ""
    return mean_and_sd(np.array([fdr.ratio for fdr in found]), 2) + mark, found[0].n, found[0].d


def badges(entry: Entry) -> list[str]:
    """What a reader must know of how a row was made (see the page's legend)."""
    few = len(entry.records)
    found = [f"{few} seed{'s' if few > 1 else ''}"] if few < FEW_SEEDS else []
    if any(record.predictions_only for record in entry.records):
        return [*found, PREDICTIONS_ONLY]
    for record in entry.records:
        found += [badge for key, badge in WEIGHTS.items() if key in record.training] or ["scratch"]
    found += ["cpu" if record.identity.device == "cpu" else "gpu" for record in entry.records]
    found += [record.identity.precision for record in entry.records if record.identity.precision != "32-true"]
    if any(record.converged is False for record in entry.records):
        found.append("not converged")
    if any(record.environment.git_dirty for record in entry.records):
        found.append("dirty tree")
    if any(record.environment.git_commit is None for record in entry.records):
        found.append("no commit")
    return list(dict.fromkeys(found))


def _family_recalls(entries: list[Entry]) -> str:
    recalls = [family_recall(entry.confusion, entry.sources, entry.families) for entry in entries]
    rows = [
        [f"`{entry.name}`", *(f"{100 * share:.0f}" for share in shares.values())]
        for entry, shares in zip(entries, recalls, strict=True)
    ]
    return table(["Method", *recalls[0]], rows)


def _source_recalls(entries: list[Entry]) -> list[str]:
    """A table for each family of generative models, so that none is wide."""
    families = {source: family for source, family in entries[0].families.items() if family != REAL}
    recalls = [(entry.name, entry.recall) for entry in entries]
    tables = []
    for family in dict.fromkeys(families.values()):
        sources = [source for source in families if families[source] == family]
        rows = [[f"`{name}`", *(f"{100 * recall[source]:.0f}" for source in sources)] for name, recall in recalls]
        tables.append(table([family, *(f"`{source}`" for source in sources)], rows))
    return tables
