"""Asking a kept model about image files: reading them, bringing them to its size, and showing what it saw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from gmbench.data.importing.decoding import IMAGES, Options, Picture, Refused, decode
from gmbench.errors import DataError, NotFoundError
from gmbench.runs.models import Answer, Model, reals_of
from gmbench.support.files import replacing
from gmbench.support.progress import Progress

BATCH = 256
ANY_SIZE = 1
MOST_EXPLAINED = 50


@dataclass(frozen=True)
class Asked:
    """What a model says of files.

    Attributes:
        answers: of those that could be read, in order.
        refused: why a file was not, by its path.
        seen: uint8 (n, height, width, 3): what the model saw of each answered image, of crops the first.
    """

    answers: list[Answer] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    seen: list[np.ndarray] = field(default_factory=list)


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The image files among some paths, and those below the folders among them, in order.

    Raises:
        NotFoundError: a path does not exist, or a folder has no image.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise NotFoundError(f"{path} does not exist. Give image files, or folders that hold some.")
        below = [path]
        if path.is_dir():
            below = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES and file.is_file())
        if not below:
            raise NotFoundError(f"{path} has no image ({', '.join(IMAGES)}).")
        found += below
    return found


def ask(
    model: Model,
    paths: Sequence[Path],
    progress: Progress,
    *,
    resize: bool = False,
    crops: int | None = None,
    prior: Mapping[str, float] | None = None,
) -> Asked:
    """Asks a model about image files, batch by batch.

    An image of another size than the model's is refused unless it is said how to bring it there: what makes a model's
    fingerprint does not survive resizing unchanged.

    Args:
        resize: square images are resized (Lanczos); of others the largest square in the middle is.
        crops: so many squares of the model's size are taken as they are, spread over the image, and the probabilities
            that they give are averaged.

    Raises:
        NotFoundError: see `image_files`.
    """
    asked = Asked()
    files = image_files(paths)
    with progress.phase(f"attributing {len(files):,} images", len(files)) as phase:
        for start in range(0, len(files), BATCH):
            batch: list[tuple[str, Picture]] = []
            for path in files[start : start + BATCH]:
                try:
                    picture = _taken(path, model.kept.size, resize, crops)
                    if crops and picture.pixels.shape[:2] != model.kept.size:
                        squares = np.stack(list(spread_crops(picture.pixels, model.kept.size[0], crops)))
                        changes = (*picture.changes, f"{len(squares)} crops")
                        asked.answers.append(model.attribute_crops(squares, str(path), prior, changes))
                        asked.seen.append(squares[0])
                    else:
                        batch.append((str(path), picture))
                except Refused as refused:
                    asked.refused[str(path)] = str(refused)
                phase.advance()
            if batch:
                pixels = np.stack([picture.pixels for _, picture in batch])
                found = model.attribute(pixels, [name for name, _ in batch], prior)
                for answer, (_, picture) in zip(found, batch, strict=True):
                    asked.answers.append(_changed(answer, picture.changes))
                    asked.seen.append(picture.pixels)
    order = {str(path): place for place, path in enumerate(files)}
    sorting = sorted(range(len(asked.answers)), key=lambda row: order[asked.answers[row].name])
    return Asked([asked.answers[row] for row in sorting], asked.refused, [asked.seen[row] for row in sorting])


def spread_crops(pixels: np.ndarray, side: int, n: int) -> Iterator[np.ndarray]:
    """At most `n` squares of an image uint8 (height, width, 3), spread evenly over it on a grid, none twice.

    Raises:
        Refused: the image is smaller than a square.
    """
    height, width, _ = pixels.shape
    if min(height, width) < side:
        raise Refused(f"{width}x{height} is smaller than the model's {side}x{side}")
    columns = max(1, min(n, round(float(np.sqrt(n * width / height)))))
    rows = -(-n // columns)
    tops = np.linspace(0, height - side, rows).round().astype(int) if rows > 1 else [(height - side) // 2]
    lefts = np.linspace(0, width - side, columns).round().astype(int) if columns > 1 else [(width - side) // 2]
    places = list(dict.fromkeys((int(top), int(left)) for top in tops for left in lefts))
    for number in np.linspace(0, len(places) - 1, min(n, len(places))).round().astype(int):
        top, left = places[number]
        yield np.ascontiguousarray(pixels[top : top + side, left : left + side])


def _taken(path: Path, size: tuple[int, int], resize: bool, crops: int | None) -> Picture:
    """An image as the model can see it, or as crops can be taken from it.

    Raises:
        Refused: it cannot be read, or has another size.
    """
    if not path.stat().st_size:
        raise Refused("empty file")
    if crops:
        return decode(path, Options(ANY_SIZE, allow_grey=True, native=True))
    crop = "centre" if resize else None
    try:
        return decode(path, Options(size[0], resize=resize, allow_grey=True, crop=crop))
    except Refused as refused:
        if str(refused).startswith("wrong size"):
            raise Refused(f"{refused}. Say how it is brought there: --resize, or --crops N") from refused
        raise


def _changed(answer: Answer, changes: tuple[str, ...]) -> Answer:
    return replace(answer, changes=changes)


def explain_answers(model: Model, asked: Asked, path: Path, progress: Progress) -> None:
    """A picture with a row per answered image: the image, its nearest real one, and their difference.

    The real image is the nearest of the dataset's manifold in RGB; of the difference, mid-grey is none, and it is drawn
    four times as strong.

    Raises:
        DataError: there are too many images for one picture, or the dataset is not here.
    """
    from PIL import Image

    from gmbench.manifold.neighbors import nearest

    if len(asked.answers) > MOST_EXPLAINED:
        raise DataError(f"--explain: at most {MOST_EXPLAINED} images fit into a picture, got {len(asked.answers)}.")
    reals = reals_of(model, progress)
    seen = np.stack(asked.seen)
    manifold = reals.pixels()
    found, _ = nearest(_vectors(seen), _vectors(manifold))
    projected = manifold[found[:, 0]].astype(np.int16)
    artifacts = (128 + 4 * (seen.astype(np.int16) - projected)).clip(0, 255).astype(np.uint8)
    rows = [np.hstack(row) for row in zip(seen, projected.astype(np.uint8), artifacts, strict=True)]
    scale = max(1, 128 // model.kept.size[0])
    picture = np.vstack(rows).repeat(scale, axis=0).repeat(scale, axis=1)
    with replacing(path) as aside:
        Image.fromarray(picture).save(aside, format="PNG")


def _vectors(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(len(pixels), -1).astype(np.float32)
