"""Whether trivial statistics alone tell sources apart."""

from __future__ import annotations

import numpy as np

from gmbench.audit.check import Check
from gmbench.audit.reading import AuditedImages
from gmbench.evaluators.accuracy import accuracy_interval
from gmbench.evaluators.trivial import STATISTICS, trivial_statistics
from gmbench.manifold.neighbors import BATCH
from gmbench.support.progress import Progress
from gmbench.support.seeds import seed_from

TREES = 100


def check_probe(images: AuditedImages, bound: float, progress: Progress) -> Check:
    """What statistics that have nothing to do with artifacts say of the source.

    A random forest: it needs no scaling, finds bands of values and not only directions, and its seed decides it. Trees
    on samples of at most 20,000 images keep the work small where there are millions.
    """
    from sklearn.ensemble import RandomForestClassifier

    statistics = _statistics(images, progress)
    train, test = images.roles == "train", images.roles == "test"
    labels = images.sources.astype(str)

    def correct(columns: slice) -> np.ndarray:
        forest = RandomForestClassifier(
            TREES,
            min_samples_leaf=3,
            max_samples=min(20_000, int(train.sum())),
            random_state=seed_from("audit", "probe"),
        )
        forest.fit(statistics[train, columns], labels[train])
        return forest.predict(statistics[test, columns]) == labels[test]

    chance = 1 / len(set(labels[train]))
    allowed = chance + bound * (1 - chance)
    together = correct(slice(None))
    recall = {source: float(together[labels[test] == source].mean()) for source in np.unique(labels[test]).tolist()}
    low, high = accuracy_interval(together)
    accuracy = float(together.mean())
    alone = {name: float(correct(columns).mean()) for name, columns in STATISTICS.items()}
    telling = max(alone, key=alone.__getitem__)
    return Check(
        name="probe on trivial statistics",
        passed=accuracy <= allowed,
        expected=f"at most {allowed:.1%} attributed",
        found=f"{accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}; chance {chance:.1%}); "
        f"{telling} alone {alone[telling]:.1%}",
        figures={
            "accuracy": accuracy,
            "low": low,
            "high": high,
            "chance": chance,
            "allowed": allowed,
            "bound": bound,
            "recall": recall,
            "alone": alone,
        },
    )


def _statistics(images: AuditedImages, progress: Progress) -> np.ndarray:
    sizes = np.array([file.size for file in images.files])
    starts = range(0, len(sizes), BATCH)
    return np.concatenate(
        [
            trivial_statistics(images.pixels[start : start + BATCH], sizes[start : start + BATCH])
            for start in progress.track(starts, "probing", len(starts))
        ]
    )
