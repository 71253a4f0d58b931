"""What a tiny run of a method shows: import, constructor, contract, two seeds, and what it did meanwhile.

The method is in a process of its own (`gmbench.runs.apart`); everything that it answers is judged here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import gmbench.testing
from gmbench.attributor import RunContext, check_features, check_probabilities
from gmbench.data.cards import ROLES, DatasetCard, dataset_cards
from gmbench.data.dataset import load_dataset
from gmbench.data.images import ImageSet
from gmbench.errors import GmbenchError
from gmbench.manifold.encoders import Encoder, find_encoder
from gmbench.registry import Method
from gmbench.runs.apart import Apart, EndedError, MethodApart, RaisedError
from gmbench.submissions.reading import Finding
from gmbench.support.cache import Cache
from gmbench.support.parameters import Value
from gmbench.support.progress import Progress

PER_SOURCE = {"train": 20, "val": 5, "test": 5}
MANIFOLD = 200
TIMEOUT = 1800.0


def tried_findings(method: Method, progress: Progress) -> list[Finding]:
    """What is found of a method by running it on a few images."""
    card, images = few_images(progress)
    progress.say(f"trying {method.slug}")
    with TemporaryDirectory(prefix="gmbench-check-") as folder:
        with Apart(method, Path(folder).resolve(), TIMEOUT) as process:
            findings = list(_steps(method, process, card, images))
        written = [*process.seen["writes"], *(f"{name} (left behind)" for name in process.left_behind())]
    for check, found, what in (
        ("no network at import", process.seen["network"], "while it is imported, it asks for"),
        ("writes only to cache and scratch", written, "it writes to"),
        ("reads no dataset by itself", process.seen["labels"], "it reads"),
        ("leaves the harness as it is", process.changed, "it changes"),
    ):
        message = f"{what} {', '.join(found[:5])}" if found else ""
        findings.append(Finding(check=check, ok=not found, message=message))
    return findings


def few_images(progress: Progress) -> tuple[DatasetCard, dict[str, ImageSet]]:
    """The first embedded dataset's card, and a few images of each of its sources, by role."""
    card = next(card for card in dataset_cards().values() if card.embedded)
    dataset = load_dataset(card, Cache(), progress)
    few = {}
    for role in ROLES:
        labels = dataset[role].labels
        assert labels is not None
        most = PER_SOURCE.get(role, MANIFOLD)
        rows = [np.flatnonzero(labels == label)[:most] for label in range(len(card.sources))]
        few[role] = replace(dataset[role][np.sort(np.concatenate(rows))], origin=f"slice of {card.slug}")
    return card, few


def quick_parameters(method: Method) -> dict[str, Value]:
    """Parameters that make a method quick: those of its card's `quick`, else one epoch wherever it counts epochs."""
    declared = method.card.quick or {
        name: max(1, int(parameter.minimum or 1))
        for name, parameter in method.card.parameters.items()
        if name.endswith("epochs") and parameter.type == "int" and parameter.idle_with(method.parameters({})) is None
    }
    return {name: value for name, value in declared.items() if name not in method.fixed}


def _steps(method: Method, process: Apart, card: DatasetCard, images: Mapping[str, ImageSet]) -> Iterator[Finding]:
    given = quick_parameters(method)
    of_contract, of_dataset = MethodApart.of(process), MethodApart.of(process, card)

    def contract() -> str:
        gmbench.testing.check_attributor(of_contract, given)
        return _with(given)

    steps: dict[str, Callable[[], object]] = {
        "import": lambda: of_contract.build(method.parameters({})),
        "constructor": lambda: gmbench.testing.check_constructor(of_contract),
        "contract": contract,
        "tiny run": lambda: _tiny_run(of_dataset, given, process, images),
    }
    goes_on = True
    for name, step in steps.items():
        if not goes_on:
            yield Finding(check=name, ok=False, message="not reached")
            continue
        try:
            said = step()
            yield Finding(check=name, ok=True, message=said if isinstance(said, str) else "")
        except EndedError as error:
            goes_on = False
            yield Finding(check=name, ok=False, message=f"the process ended here, {error}")
        except (GmbenchError, AssertionError, RaisedError) as error:
            goes_on = name != "import"
            yield Finding(check=name, ok=False, message=" ".join(str(error).split()))


def _tiny_run(method: MethodApart, given: Mapping[str, Value], process: Apart, images: Mapping[str, ImageSet]) -> str:
    """Fits on the few images twice with one seed and once with another."""
    card, parameters = method.encoders_of, method.parameters(given)
    assert card is not None
    if (reason := method.build(parameters).skip(card)) is not None:
        return f"not run: it skips {card.slug} ({reason})"
    test, labels, answers = images["test"].without_labels(), images["test"].labels, []
    seconds, memory = 0.0, 0

    def encoder(kind: str, *choice: Any) -> Encoder:
        return find_encoder(card, kind, card.folder, *choice)

    for attempt, seed in (("first", 7), ("second", 7), ("another seed", 8)):
        home = process.home / attempt
        context = RunContext(images["manifold"], seed, "cpu", Cache(home), home, Progress(), encoder)
        attributor = method.build(parameters)
        for step in ("fit", "predict_proba", "embed"):
            if step == "fit":
                attributor = attributor.fit(images["train"], images["val"], context)
            elif step == "predict_proba":
                answers.append(check_probabilities(attributor.predict_proba(test), test))
            else:
                check_features(attributor.embed(test), test)
            if attempt == "first":
                seconds, memory = seconds + process.seconds, max(memory, process.memory or 0)
    if not np.array_equal(answers[0], answers[1]):
        differ = int((answers[0] != answers[1]).any(axis=1).sum())
        raise AssertionError(
            f"the same seed gave other predictions for {differ} of {len(test)} images; everything random must come "
            "from context.random_state."
        )
    ignored = ""
    if np.array_equal(answers[0], answers[2]):
        if attributor.is_network:
            raise AssertionError(
                "another seed gave the same predictions; weights must be drawn from context.random_state."
            )
        ignored = "; another seed gives the same predictions, so seeds say nothing of chance"
    right, chance = (answers[0].argmax(axis=1) == labels).mean(), 1 / len(test.sources)
    return (
        f"{seconds:.1f} s, {memory or '?'} MiB at most{_with(given, ', ')}{ignored}; {right:.0%} right of a slice of "
        f"the test images, chance is {chance:.0%}"
    )


def _with(given: Mapping[str, Value], before: str = "") -> str:
    return before + "with " + ", ".join(f"{name}={value}" for name, value in given.items()) if given else ""
