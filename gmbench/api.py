"""What `import gmbench` offers: what there is, running it, and what came out. Nothing is printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gmbench import registry
from gmbench.data import cards
from gmbench.data.cards import DatasetCard
from gmbench.errors import DataError
from gmbench.protocol import settings as protocol
from gmbench.records.schema import Record
from gmbench.records.store import all_records
from gmbench.registry import Method
from gmbench.support.parameters import Value

if TYPE_CHECKING:
    import pandas

    from gmbench.attributor import Attributor
    from gmbench.data.dataset import Dataset
    from gmbench.protocol.settings import Setting
    from gmbench.records.comparison import Comparison
    from gmbench.runs.models import Model


def datasets() -> dict[str, DatasetCard]:
    """The cards of all known datasets by slug: those that come with gmbench, then those that were imported here.

    >>> import gmbench
    >>> gmbench.datasets()["gm-photos"].resolution
    32

    Raises:
        DataError: a card is damaged.
    """
    return cards.dataset_cards()


def methods() -> dict[str, Method]:
    """All methods by slug; none of them is imported.

    >>> import gmbench
    >>> gmbench.methods()["durall20"].title
    'Durall20'

    Raises:
        DataError: a card is damaged, or a slug is found twice.
    """
    return registry.methods()


def settings() -> dict[str, Setting]:
    """How images can reach a method, by name; transfer to a dataset is `to-` and its slug.

    >>> import gmbench
    >>> sorted(gmbench.settings())
    ['clean', 'clean-to-laundered', 'few-shot-10', 'laundered', 'released-code']
    """
    return dict(protocol.SETTINGS)


def find_method(name: str | Path) -> Method:
    """The method of a slug, or the one in a folder.

    >>> import gmbench
    >>> gmbench.find_method("manifpt-rgb").parameters({})["space"]
    'rgb'

    Raises:
        NotFoundError: there is none; the message has the nearest names.
        DataError: the folder's card is damaged, or takes the slug of another method.
    """
    return registry.find_method(name)


def load_dataset(dataset: str | Path) -> Dataset:
    """A dataset by its slug, or the one in a folder; its images are memory-mapped.

    >>> import gmbench
    >>> photos = gmbench.load_dataset("gm-photos")
    >>> len(photos["test"]), photos["test"].sources[:3]
    (900, ('real', 'dcgan', 'lsgan'))
    >>> photos["test"][:2].pixels().shape  # uint8 RGB
    (2, 32, 32, 3)

    Raises:
        NotFoundError: there is no dataset of that name.
        DataError: a file is missing, altered, or not as its card says.
        UnavailableError: the dataset is not here and cannot be had.
    """
    from gmbench.data.dataset import load_dataset as load
    from gmbench.data.manifest import read_manifest
    from gmbench.support.cache import Cache
    from gmbench.support.progress import Progress

    if not isinstance(dataset, Path):
        return load(cards.find_dataset(dataset), Cache(), Progress())
    if not dataset.is_dir():
        raise DataError(f"{dataset} is no folder. Expected one with {cards.CARD} or of a known dataset.")
    own = dataset / cards.CARD
    card = cards.read_card(own) if own.is_file() else cards.find_dataset(read_manifest(dataset).dataset)
    return load(card, Cache(), Progress(), dataset)


def run(
    method: str | Path | Method | Attributor,
    dataset: str | Dataset,
    *,
    setting: str = "clean",
    seed: int = 0,
    parameters: Mapping[str, Value] | None = None,
    device: str = "auto",
    precision: str = "32-true",
    results: Path | str = "results",
) -> Record:
    """Fits a method on a dataset, attributes the test images, and gives the record; the one that is there, if it is.

    >>> import gmbench
    >>> record = gmbench.run("durall20", "gm-photos", setting="few-shot-10")
    >>> record.scores.accuracy.accuracy > 0.5  # chance is 0.11
    True

    Args:
        method: a slug, a folder, or an `Attributor` of your own, which is copied and fitted; its record says so, and
            gets onto no leaderboard.
        dataset: a slug, or what `load_dataset` gave.
        setting: how the images reach the method (see `settings`).
        seed: decides everything random, together with the names.
        parameters: those that differ from the method's defaults.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: of the training of networks: 32-true, or bf16-mixed.
        results: the folder of records; this one's is below it, by dataset, setting, method and seed.

    Raises:
        GmbenchError: what users can get wrong; see `gmbench.errors`.
    """
    from gmbench.attributor import Attributor
    from gmbench.registry import ObjectMethod
    from gmbench.runs.runner import Run, perform
    from gmbench.support.device import resolve_device
    from gmbench.support.progress import Progress

    found, card = _found(ObjectMethod.of(method) if isinstance(method, Attributor) else method, dataset)
    protocol.find_setting(setting)
    asked = Run(found, card, setting, seed, parameters, resolve_device(device), precision)
    return perform(asked, Path(results), Progress()).record


def fit(
    method: str | Path | Method,
    dataset: str | Dataset,
    out: Path | str,
    *,
    setting: str = "clean",
    seed: int = 0,
    parameters: Mapping[str, Value] | None = None,
    device: str = "auto",
    precision: str = "32-true",
) -> Model:
    """Fits a method as `run` does and keeps it in the folder `out`, to be asked about images of any origin.

    >>> import gmbench
    >>> model = gmbench.fit("durall20", "gm-photos", "another-model", setting="few-shot-10")
    >>> len(model.sources)
    9

    Raises:
        CannotRunError: the method cannot be kept.
        GmbenchError: what else users can get wrong; see `gmbench.errors`.
    """
    from gmbench.runs.models import fit_model
    from gmbench.runs.runner import Run
    from gmbench.support.device import resolve_device
    from gmbench.support.progress import Progress

    found, card = _found(method, dataset)
    asked = Run(found, card, setting, seed, parameters, resolve_device(device), precision)
    return fit_model(asked, Path(out), Progress())


def _found(method: str | Path | Method, dataset: str | Dataset) -> tuple[Method, DatasetCard]:
    """The method and the card that a caller means."""
    from gmbench.data.dataset import Dataset

    found = method if isinstance(method, Method) else registry.find_method(method)
    return found, dataset.card if isinstance(dataset, Dataset) else cards.find_dataset(dataset)


def load_model(folder: Path | str, *, device: str = "auto") -> Model:
    """A fitted method that `gmbench fit` kept, to be asked about images of any origin.

    >>> import gmbench
    >>> _ = gmbench.fit("durall20", "gm-photos", "my-model", setting="few-shot-10")
    >>> model = gmbench.load_model("my-model")
    >>> first, second = model.attribute(gmbench.load_dataset("gm-photos")["test"].pixels(slice(0, 2)))
    >>> first.ranked[0][0] in model.sources
    True

    Raises:
        DataError: the folder holds no model, or one that was altered or is of other code.
    """
    from gmbench.runs import models
    from gmbench.support.device import resolve_device
    from gmbench.support.progress import Progress

    return models.load_model(Path(folder), resolve_device(device), Progress())


def read_records(
    folder: Path | str = "results", *, dataset: str | None = None, setting: str | None = None, method: str | None = None
) -> list[Record]:
    """Every record below a folder, ordered by dataset, setting, method and seed, or those of one of each.

    >>> import gmbench
    >>> {record.identity.setting for record in gmbench.read_records("results", method="durall20")}
    {'few-shot-10'}

    Raises:
        DataError: there is no such folder.
        RecordError: a record is damaged, or does not lie where its identity says.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder of records. Expected one that `gmbench run --results` writes.")
    return [record for _, record in all_records(folder, dataset, setting, method)]


def to_frame(records: Iterable[Record]) -> pandas.DataFrame:
    """One line a record: dataset, setting, method, seed, and every score, named as in `record.json`.

    >>> import gmbench
    >>> frame = gmbench.to_frame(gmbench.read_records("results"))
    >>> list(frame.columns)[:5]
    ['dataset', 'setting', 'method', 'seed', 'accuracy.accuracy']
    """
    import pandas

    lines = []
    for record in records:
        identity = record.identity
        line: dict[str, object] = {
            "dataset": identity.dataset,
            "setting": identity.setting,
            "method": identity.entry,
            "seed": identity.seed,
        }
        for group, scores in record.scores.model_dump().items():
            for name, value in (scores or {}).items():
                if isinstance(value, dict):
                    line |= {f"{group}.{name}.{inner}": leaf for inner, leaf in value.items()}
                elif not isinstance(value, list | tuple):
                    line[f"{group}.{name}"] = value
        line |= {f"seconds.{name}": value for name, value in record.seconds.items()}
        lines.append(line)
    return pandas.DataFrame(lines)


def compare(first: Record | Sequence[Record], second: Record | Sequence[Record]) -> Comparison:
    """Whether two methods differ by more than chance on the same test images; with several seeds, also on new ones.

    >>> import gmbench
    >>> one, other = (gmbench.run(name, "gm-photos", setting="few-shot-10") for name in ("durall20", "mccloskey18"))
    >>> comparison = gmbench.compare(one, other)
    >>> comparison.images, comparison.paired.difference > 0
    (900, True)

    Raises:
        ParameterError: they are not about the same test images.
        RecordError: the predictions beside a record cannot be read.
    """
    from gmbench.records.comparison import compare_records

    return compare_records(first, second)
