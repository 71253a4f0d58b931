"""`gmbench report`: what one run did, or several beside each other, as one page that needs no other file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gmbench.data.cards import REAL, DatasetCard, dataset_cards
from gmbench.data.dataset import Dataset, load_dataset
from gmbench.data.images import ImageSet
from gmbench.errors import GmbenchError, ParameterError
from gmbench.protocol.settings import find_setting
from gmbench.records.command import command_of
from gmbench.records.comparison import compare_records
from gmbench.records.integrity import check_scores, found_of
from gmbench.records.schema import Record
from gmbench.records.scoring import EVALUATORS
from gmbench.records.store import read_record
from gmbench.report import figures
from gmbench.report.pictures import spectra_of, triplets
from gmbench.support.cache import Cache
from gmbench.support.files import write_text
from gmbench.support.html import (
    figure,
    heading,
    heat_table,
    page,
    paragraph,
    png,
    side_by_side,
    table,
    text,
    tiles,
)
from gmbench.support.progress import Progress

MISTAKES = 12
NEIGHBOURS = 3
MOST = 4


@dataclass(frozen=True, eq=False)
class Subject:
    """A record with all that its page is made of.

    Attributes:
        labels: (n,) probabilities: (n, sources).
        features: (n, d), if the run's are still in the cache.
        images: the test images, and `dataset` what they are of, where these are here; `missing`: why not.
    """

    record: Record
    labels: np.ndarray
    probabilities: np.ndarray
    features: np.ndarray | None
    dataset: Dataset | None
    images: ImageSet | None
    missing: str

    @property
    def sources(self) -> list[str]:
        return self.record.identity.sources

    @property
    def card(self) -> DatasetCard | None:
        """The card of what was tested on."""
        identity = self.record.identity
        return dataset_cards().get(identity.tested_on or identity.dataset)

    @property
    def name(self) -> str:
        identity = self.record.identity
        place = identity.dataset if identity.tested_on is None else f"{identity.dataset} to {identity.tested_on}"
        return f"{identity.entry} on {place}, {identity.setting}, seed {identity.seed}"


def write_report(folders: Sequence[Path], out: Path, progress: Progress, cache: Cache | None = None) -> None:
    """Writes the report of one record, or of up to four side by side.

    Raises:
        RecordError: a record is damaged or at odds with its predictions.
        ParameterError: there are too many, or they are not about the same test images.
        OutputError: the file cannot be written.
    """
    if len(folders) > MOST:
        raise ParameterError(f"report: at most {MOST} records fit side by side, got {len(folders)}.")
    subjects = [_subject(folder, cache or Cache(), progress) for folder in folders]
    write_text(out, build_report(subjects, progress))


def build_report(subjects: Sequence[Subject], progress: Progress) -> str:
    """The page; the same bytes for the same records, images and features."""
    parts: list[str] = []
    title = "Reports" if len(subjects) > 1 else subjects[0].name
    with progress.phase("report", len(subjects)) as phase:
        if len(subjects) > 1:
            parts += [heading("Side by side", 1), *_side_by_side(subjects)]
        for subject in subjects:
            parts += _sections(subject, progress)
            phase.advance(1, subject.name)
    return page(f"gmbench: {title}", parts)


def _subject(folder: Path, cache: Cache, progress: Progress) -> Subject:
    record = read_record(folder)
    found = found_of(folder, record)
    check_scores(found)
    identity, images, dataset, missing = record.identity, None, None, ""
    try:
        card = dataset_cards()[identity.dataset]
        dataset = load_dataset(card, cache, progress)
        roles = find_setting(identity.setting).images(dataset, identity.seed, cache, progress)
        images, dataset = roles.test, roles.tested_on or dataset
        if not np.array_equal(images.ids.astype(str), found.ids.astype(str)):
            images, missing = None, "the dataset that is here has other test images"
    except (GmbenchError, KeyError) as error:
        images, missing = None, f"the dataset is not here ({error})"
    features = record.features()
    if features is not None and len(features) != len(found.labels):
        features = None
    return Subject(record, found.labels, found.probabilities, features, dataset, images, missing)


def _side_by_side(subjects: Sequence[Subject]) -> Iterator[str]:
    first = subjects[0]
    rows = []
    for subject in subjects:
        scores = subject.record.scores
        fdr = "none" if scores.fdr is None else f"{scores.fdr.ratio:.2f}{' †' if scores.fdr.is_biased else ''}"
        rows.append(
            [
                subject.record.identity.entry,
                f"{scores.accuracy.accuracy:.1%}",
                f"{scores.accuracy.low:.1%} to {scores.accuracy.high:.1%}",
                f"{scores.detection.auroc:.3f}",
                f"{scores.calibration.ece:.1%}",
                fdr,
                f"{sum(subject.record.seconds.values()):.0f}",
            ]
        )
    headers = ["run", "accuracy", "95 % interval", "AUROC real or generated", "calibration error", "FDR", "seconds"]
    yield table(headers, rows, numbers=range(1, 7))
    for other in subjects[1:]:
        yield paragraph(compare_records(first.record, other.record).verdict)


def _sections(subject: Subject, progress: Progress) -> Iterator[str]:
    yield heading(subject.name, 1)
    yield from _scores(subject)
    yield from _confusion(subject)
    yield from _confidence(subject)
    yield from _features(subject, progress)
    yield from _mistakes(subject)
    yield from _artifacts(subject, progress)
    yield from _spectra(subject)
    yield from _training(subject)
    yield from _provenance(subject)


def _scores(subject: Subject) -> Iterator[str]:
    scores = subject.record.scores
    yield heading("Scores")
    rows = [figure for evaluator in EVALUATORS for figure in evaluator.figures(scores, subject.sources)]
    yield table(["score", "value", "what it means"], rows)


def _confusion(subject: Subject) -> Iterator[str]:
    counts = np.array(subject.record.scores.accuracy.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    yield heading("What is taken for what")
    yield paragraph("Rows: true source. Columns: source that it was attributed to.", faint=True)
    yield heat_table(subject.sources, shares, counts)
    yield heading("Recall per source, and what it is taken for", 3)
    rows = []
    for name, of_row in zip(subject.sources, counts, strict=True):
        others = sorted(
            ((int(n), other) for n, other in zip(of_row, subject.sources, strict=True) if n and other != name),
            key=lambda item: (-item[0], item[1]),
        )
        recall = subject.record.scores.accuracy.recall[name]
        rows.append((name, f"{recall:.1%}", ", ".join(f"{other} {n}" for n, other in others[:NEIGHBOURS]) or "nothing"))
    yield table(["source", "recall", "else taken for"], rows, numbers=[1])


def _confidence(subject: Subject) -> Iterator[str]:
    drawing, points = figures.reliability(subject.probabilities, subject.labels)
    said = "; ".join(f"confidence {x:.2f}: accuracy {y:.2f} of {n} images" for x, y, n in points)
    yield heading("Does it know when it is wrong?")
    yield figure(
        drawing,
        f"Reliability diagram: {said}. Risk and coverage: the error rate among the most confident images.",
        "Left: on the dashed line, confidence is accuracy. Right: the error rate if only the most confident images "
        "are kept.",
    )


def _features(subject: Subject, progress: Progress) -> Iterator[str]:
    yield heading("The feature space")
    if subject.features is None:
        yield paragraph("The features of this run are not in the cache of this machine; run it again to see them.")
        return
    progress.say(f"placing {len(subject.features):,} features in the plane")
    places = tsne(subject.features)
    names = np.array(subject.sources)[subject.labels]
    yield figure(
        figures.cloud(places, subject.sources, names.tolist(), "By source"),
        f"t-SNE of {len(places)} test images' features, coloured by source.",
        "t-SNE of the features that FDR and NMI judge: near points are near there; far ones say little.",
    )
    card = subject.card
    if card is None:
        return
    yield side_by_side(_clouds_by_design(places, names.tolist(), card))


def _clouds_by_design(places: np.ndarray, names: Sequence[str], card: DatasetCard) -> Iterator[str]:
    """The same places coloured by family and by each design choice, if the card knows all sources."""
    if not set(names) <= set(card.sources):
        return
    groups = {"family": [REAL if name == REAL else card.generators[name].family for name in names]}
    choices = [{} if name == REAL else card.generators[name].known_choices for name in names]
    for choice in dict.fromkeys(key for each in choices for key in each):
        groups[choice.replace("_", " ")] = [each.get(choice, "none or unknown") for each in choices]
    for what, values in groups.items():
        shown = sorted(set(values))
        drawing = figures.cloud(places, shown, values, f"By {what}")
        yield figure(drawing, f"The same, coloured by {what}: {', '.join(shown)}.")


def tsne(features: np.ndarray) -> np.ndarray:
    """Places (n, 2) of features (n, d) in the plane, by openTSNE from their principal components; always the same."""
    from openTSNE import TSNE
    from sklearn.decomposition import PCA

    x = np.asarray(features, np.float64)
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12)
    components = min(50, len(x))
    if x.shape[1] > components:
        x = PCA(components, random_state=0).fit_transform(x)
    perplexity = min(30, max(2, (len(x) - 1) // 3))
    placed = TSNE(perplexity=perplexity, initialization="pca", random_state=0, n_jobs=-1).fit(x)
    return np.asarray(placed)


def _mistakes(subject: Subject) -> Iterator[str]:
    yield heading("Most confidently wrong")
    if subject.images is None:
        yield paragraph(f"No pictures: {subject.missing}.")
        return
    found = subject.probabilities.argmax(axis=1)
    wrong = np.flatnonzero(found != subject.labels)
    if not len(wrong):
        yield paragraph("Nothing was attributed wrongly.")
        return
    for words, order in (
        ("Sure, and wrong", -subject.probabilities[wrong, found[wrong]]),
        ("Their true source was the least expected", subject.probabilities[wrong, subject.labels[wrong]]),
    ):
        rows = wrong[np.argsort(order, kind="stable")[:MISTAKES]]
        pixels = subject.images.pixels(rows)
        yield heading(words, 3)
        yield tiles(
            (
                png(image),
                f"An image of {subject.sources[subject.labels[row]]}",
                f"{subject.sources[subject.labels[row]]}, taken for {subject.sources[found[row]]} "
                f"({subject.probabilities[row, found[row]]:.0%})",
            )
            for image, row in zip(pixels, rows, strict=True)
        )


def _artifacts(subject: Subject, progress: Progress) -> Iterator[str]:
    if "space" not in subject.record.identity.parameters or subject.images is None or subject.dataset is None:
        return
    yield heading("Artifacts")
    yield paragraph(
        "One test image of each source: the image, its projection onto the manifold of real images, and the artifact, "
        "their difference (grey is none, four times as strong); last, the artifact's spectrum."
    )
    shown = triplets(subject.record, subject.images, subject.dataset, progress)
    yield tiles(
        (png(strip), f"Image, projection, artifact and its spectrum, of {name}", name) for name, strip in shown.items()
    ).replace('class="tiles"', 'class="tiles strips"')


def _spectra(subject: Subject) -> Iterator[str]:
    if subject.images is None:
        return
    yield heading("Mean spectra")
    yield figure(
        figures.profiles(spectra_of(subject.images), "Power by frequency, against that of real test images"),
        "Mean power spectrum of each source by frequency, in decibel above that of real images.",
        "What a source leaves in frequency, whatever the method sees.",
    )


def _training(subject: Subject) -> Iterator[str]:
    training = subject.record.training
    accuracy, losses = (_numbers(training.get(name)) for name in ("val_accuracy", "loss"))
    if not accuracy:
        return
    yield heading("Training")
    yield figure(
        figures.curves({"validation accuracy": accuracy}, "validation accuracy", "Validation accuracy by epoch"),
        f"Validation accuracy of {len(accuracy)} epochs, from {accuracy[0]:.3f} to {accuracy[-1]:.3f}; best "
        f"{max(accuracy):.3f}.",
    )
    if losses:
        yield figure(
            figures.curves({"training loss": losses}, "loss", "Training loss by epoch"),
            f"Training loss of {len(losses)} epochs, from {losses[0]:.3f} to {losses[-1]:.3f}.",
        )


def _numbers(values: Any) -> list[float]:
    """The finite numbers that a method reports per epoch; none if it reports something else."""
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        return []
    return [float(value) for value in values if np.isfinite(value)]


def _provenance(subject: Subject) -> Iterator[str]:
    record, identity, made_in = subject.record, subject.record.identity, subject.record.environment
    commit = (made_in.git_commit or "unknown") + (" and uncommitted changes" if made_in.git_dirty else "")
    memory = "unknown" if record.peak_memory_mib is None else f"{record.peak_memory_mib:,} MiB at most"
    rows = [
        ("dataset", f"{identity.dataset}, revision {identity.dataset_revision}"),
        ("images", ", ".join(f"{role} {n:,}" for role, n in record.images.items())),
        ("parameters", ", ".join(f"{name}={value}" for name, value in identity.parameters.items()) or "none"),
        ("code", f"method {identity.method_sha256[:16]}, harness {identity.harness_sha256[:16]}, commit {commit}"),
        ("machine", f"{made_in.hardware}, {made_in.platform}, Python {made_in.python}, device {identity.device}"),
        ("time", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in record.seconds.items())),
        ("memory", memory),
        ("predictions", f"sha256 {record.predictions_sha256}"),
    ]
    yield heading("Where it comes from")
    yield table(["what", "value"], rows)
    if record.predictions_only:
        yield paragraph("Its predictions were handed in; there is no code to run again.")
    else:
        yield paragraph("The command that makes it again:")
        yield f"<pre><code>{text(command_of(identity))}</code></pre>"
