"""How well features cluster by a design choice of the generative models (section 4.5 and Appendix D of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gmbench.support.schema import Strict
from gmbench.support.threads import side_by_side

if TYPE_CHECKING:
    from sklearn.cluster import KMeans

RESTARTS = 10
DEALINGS = 100


class Alignment(Strict):
    """Agreement of a clustering with one design choice.

    Attributes:
        values: how many values the choice has among the sources, and how many clusters there are.
        nmi: mutual information over the larger entropy, in [0, 1] (`max` normalisation, as in the paper's reference).
        nmi_arithmetic: the same over the mean of both entropies.
        ami: adjusted for chance, by images (Vinh, Epps, Bailey 2010).
        null: mean of `nmi` when the values are dealt out to the sources anew. Features that tell sources apart align
            with any grouping of sources; what lies above `null` is owed to the design choice.
    """

    values: int
    nmi: float
    nmi_arithmetic: float
    ami: float
    null: float


def design_alignment(
    features: np.ndarray, labels: np.ndarray, choices: Sequence[Mapping[str, str]], seed: int = 0
) -> dict[str, Alignment]:
    """Clusters features by k-means, k being the number of a choice's values, and compares with each design choice.

    Args:
        features: (n, d).
        labels: (n,) source of each image.
        choices: for each source its design choices by name. The images of a source are left out of a choice that it
            lacks: `real` has none, and what is not known of a model is not in its choices.

    Returns:
        By name of the choice; choices that all sources share are left out.
    """
    # Loaded here, so that the limit on threads holds for its library too.
    from sklearn.cluster import KMeans

    features = np.asarray(features, dtype=np.float64)
    groupings = {}
    for name in dict.fromkeys(name for of_source in choices for name in of_source):
        values = np.array([of_source.get(name, "") for of_source in choices])
        designed = [source for source, of_source in enumerate(choices) if name in of_source]
        k = len(set(values[designed]))
        if 2 <= k <= np.isin(labels, designed).sum():
            groupings[name] = _Grouping(values[designed], designed, k)
    keys = list(dict.fromkeys((grouping.k, *grouping.sources) for grouping in groupings.values()))
    tasks = [
        partial(_counts, KMeans(k, n_init=RESTARTS, random_state=seed), features, labels, sources)
        for k, *sources in keys
    ]
    counts_of = dict(zip(keys, side_by_side(tasks), strict=True))
    random = np.random.default_rng(seed)
    found: dict[str, Alignment] = {}
    for name, grouping in groupings.items():
        counts = counts_of[grouping.k, *grouping.sources]
        of_choice = _Agreement.of(grouping.values, counts)
        dealt = [_Agreement.of(random.permutation(grouping.values), counts).nmi for _ in range(DEALINGS)]
        found[name] = Alignment(
            values=grouping.k,
            nmi=of_choice.nmi,
            nmi_arithmetic=of_choice.nmi_arithmetic,
            ami=_adjusted(grouping.values, counts),
            null=float(np.mean(dealt)),
        )
    return found


class _Grouping(NamedTuple):
    """A design choice: the value of each of some sources, and how many different ones there are."""

    values: np.ndarray
    sources: list[int]
    k: int


def _counts(clustering: KMeans, features: np.ndarray, labels: np.ndarray, sources: Sequence[int]) -> np.ndarray:
    """How many images of each of some sources are in each cluster: integers (sources, clusters)."""
    kept = np.isin(labels, sources)
    clusters = clustering.fit_predict(features[kept])
    counts = np.zeros((max(labels.max(), *sources) + 1, clustering.n_clusters), np.int64)
    np.add.at(counts, (labels[kept], clusters), 1)
    return counts[list(sources)]


class _Agreement(NamedTuple):
    """Mutual information and entropies of values and clusters of images, in nats."""

    mutual: float
    of_values: float
    of_clusters: float

    @classmethod
    def of(cls, values: np.ndarray, counts: np.ndarray) -> _Agreement:
        """From the value of each source and the `counts` (sources, k) of its images in clusters."""
        shares = _table(values, counts) / counts.sum()
        entropies = [-_sum_of_logs(marginal, marginal) for marginal in (shares.sum(axis=1), shares.sum(axis=0))]
        independent = np.outer(shares.sum(axis=1), shares.sum(axis=0))
        mutual = _sum_of_logs(shares, shares) - _sum_of_logs(shares, independent)
        return cls(mutual, *entropies)

    @property
    def nmi(self) -> float:
        return self._over(max(self.of_values, self.of_clusters))

    @property
    def nmi_arithmetic(self) -> float:
        return self._over((self.of_values + self.of_clusters) / 2)

    def _over(self, entropy: float) -> float:
        if self.of_values == self.of_clusters == 0:
            return 1.0
        return float(np.clip(self.mutual / entropy, 0, 1))


def _sum_of_logs(weights: np.ndarray, of: np.ndarray) -> float:
    """Sum of w log(x) over all that have a weight."""
    there = weights > 0
    return float((weights[there] * np.log(of[there])).sum())


def _table(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How many images with each value are in each cluster."""
    return (np.unique(values)[:, None] == values) @ counts


def _adjusted(values: np.ndarray, counts: np.ndarray) -> float:
    """AMI by scikit-learn, from labels that give the table: it takes no table."""
    from sklearn.metrics import adjusted_mutual_info_score

    table = _table(values, counts)
    row, column = np.indices(table.shape)
    return float(adjusted_mutual_info_score(*(np.repeat(place.ravel(), table.ravel()) for place in (row, column))))
