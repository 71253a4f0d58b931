"""How well features cluster by a design choice of the generative models (section 4.5 and Appendix D of the paper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gmbench.support.schema import Strict

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
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
    from threadpoolctl import threadpool_limits

    features = np.asarray(features, dtype=np.float64)
    random = np.random.default_rng(seed)
    found: dict[str, Alignment] = {}
    clusterings: dict[tuple[int, ...], np.ndarray] = {}
    for name in dict.fromkeys(name for of_source in choices for name in of_source):
        values = np.array([of_source.get(name, "") for of_source in choices])
        designed = [source for source, of_source in enumerate(choices) if name in of_source]
        kept = np.isin(labels, designed)
        k, of_images = len(set(values[designed])), labels[kept]
        if k < 2 or k > len(of_images):
            continue
        key = (k, *designed)
        if key not in clusterings:
            # With other numbers of threads, sums are rounded otherwise, and another restart may come out best.
            with threadpool_limits(1):
                clusterings[key] = KMeans(k, n_init=RESTARTS, random_state=seed).fit_predict(features[kept])
        clusters = clusterings[key]
        dealt = []
        for _ in range(DEALINGS):
            shuffled = values.copy()
            shuffled[designed] = random.permutation(values[designed])
            dealt.append(normalized_mutual_info_score(shuffled[of_images], clusters, average_method="max"))
        found[name] = Alignment(
            values=k,
            nmi=float(normalized_mutual_info_score(values[of_images], clusters, average_method="max")),
            nmi_arithmetic=float(normalized_mutual_info_score(values[of_images], clusters)),
            ami=float(adjusted_mutual_info_score(values[of_images], clusters)),
            null=float(np.mean(dealt)),
        )
    return found
