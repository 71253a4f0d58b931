"""A method in a process of its own, for who judges it: what it answers is judged here, where it cannot reach.

The process is `gmbench.runs.judged`; it knows nothing of the environment but what is named here, and gets images as
they are asked about, without the labels of test images.
"""

from __future__ import annotations

import os
import queue
import secrets
import site
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

import gmbench.errors
from gmbench.attributor import Attributor, RunContext
from gmbench.data.cards import DatasetCard
from gmbench.data.images import ImageSet
from gmbench.errors import GmbenchError
from gmbench.registry import Constructor, Method
from gmbench.runs.channel import Message, packed, read_message, write_message
from gmbench.support.cache import content_key
from gmbench.support.parameters import Value
from gmbench.support.processes import in_words

PASSED_ON = (
    "PATH", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
    "HF_HUB_OFFLINE", "GMBENCH_CATALOGUE", "GMBENCH_DATA",
)  # fmt: skip
"""What a judged method sees of the environment: no tokens, and nothing through which it could write to later steps of
continuous integration."""
WATCHED = ("home", "tmp", "work")


class EndedError(Exception):
    """The process of a method has ended, or says what is no answer; the message says how."""


class RaisedError(Exception):
    """A method raised what is no error of gmbench's; the message says what, and where."""


class Apart:
    """A method's process.

    Attributes:
        home: its folder: `home`, `tmp` and `work` are what it takes for these places; caches and scratch beside them.
        seen: what it was seen to do that methods may not do, by kind (see `gmbench.runs.guard`).
        changed: what it changed of the harness.
        memory: the most that it held while it answered the last request, in MiB.
        seconds: how long that took.
    """

    def __init__(self, method: Method, home: Path, timeout: float | None = None) -> None:
        self.method, self.home = method, home
        self.seen: dict[str, list[str]] = {"network": [], "writes": [], "labels": []}
        self.changed: list[str] = []
        self.memory: int | None = None
        self.seconds = 0.0
        self._timeout = timeout
        self._until = None if timeout is None else time.monotonic() + timeout
        for name in (*WATCHED, "scratch", "cache"):
            (home / name).mkdir(parents=True, exist_ok=True)
        named = method.slug, str(method.folder.resolve()), str(home)
        with (home / "errors").open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "gmbench.runs.judged", *named],
                cwd=home / "work",
                env=environment_of(home),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._answers: queue.Queue[Message | Exception | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, what: str, arrays: list[np.ndarray] | None = None, **content: Any) -> Message:
        """The answer to a request.

        Raises:
            GmbenchError, AssertionError: the method raised it.
            RaisedError: the method raised another error.
            EndedError: there is no answer and there will be none.
        """
        token, started = secrets.token_hex(16), time.monotonic()
        assert self._process.stdin is not None
        with suppress(OSError):
            write_message(self._process.stdin, {**content, "ask": what, "token": token}, arrays or [])
        while True:
            answer = self._next()
            if answer.content.get("token") != token:
                raise self._ended("it wrote an answer that nobody had asked for")
            if "seen" not in answer.content:
                break
            kind, thing = answer.content["seen"]
            self.seen[kind].append(str(thing))
        self.seconds = time.monotonic() - started
        changed = answer.content["changed"]
        self.changed += [name for name in changed if name not in self.changed]
        self.memory = answer.content["memory"]
        if (raised := answer.content.get("raised")) is not None:
            raise _error_of(raised)
        return answer

    def left_behind(self) -> list[str]:
        """Files that are in the places where it should have left none."""
        found = (path for name in WATCHED for path in sorted((self.home / name).rglob("*")))
        return [str(path.relative_to(self.home)) for path in found if path.is_file()]

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            while (answer := read_message(self._process.stdout)) is not None:
                self._answers.put(answer)
            self._answers.put(None)
        except Exception as error:
            self._answers.put(error)

    def _next(self) -> Message:
        left = None if self._until is None else max(0.0, self._until - time.monotonic())
        try:
            answer = self._answers.get(timeout=left)
        except queue.Empty:
            raise self._ended(f"no end after {self._timeout:g} s") from None
        if answer is None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            raise self._ended(in_words(self._process.returncode))
        if isinstance(answer, Exception):
            raise self._ended("it wrote what is no answer")
        return answer

    def _ended(self, how: str) -> EndedError:
        self._process.kill()
        self._process.wait()
        # Whoever asks once more is told the same.
        self._answers.put(None)
        said = (self.home / "errors").read_bytes()[-4096:].decode(errors="replace").splitlines()
        last = next((" ".join(line.split()) for line in reversed(said) if line.strip()), "")
        return EndedError(f"{how}: {last[:300]}" if last else how)


def environment_of(home: Path) -> dict[str, str]:
    """The environment of a judged process whose folder is `home`."""
    own = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    libraries = str(home / "libraries")
    hub = (
        Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface") / "hub"
    )
    return own | {
        "HOME": str(home / "home"), "TMPDIR": str(home / "tmp"), "GMBENCH_CACHE": str(home / "cache"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUSERBASE": site.getuserbase(), "XDG_CACHE_HOME": libraries, "MPLCONFIGDIR": libraries,
        "HF_HUB_CACHE": os.environ.get("HF_HUB_CACHE") or str(hub.expanduser()),
    }  # fmt: skip


def _error_of(raised: Mapping[str, str]) -> Exception:
    kind = AssertionError if raised["kind"] == "AssertionError" else getattr(gmbench.errors, raised["kind"], None)
    if isinstance(kind, type) and issubclass(kind, GmbenchError | AssertionError):
        return kind(raised["text"])
    return RaisedError(raised["text"])


@dataclass(frozen=True)
class MethodApart(Method):
    """A method whose attributors live in a process of their own.

    Attributes:
        encoders_of: the dataset whose encoders it may look through; None: some that have learned nothing.
    """

    process: Apart | None = None
    encoders_of: DatasetCard | None = None

    @classmethod
    def of(cls, process: Apart, encoders_of: DatasetCard | None = None) -> MethodApart:
        """The method of a process."""
        method = process.method
        return cls(
            method.slug, method.title, method.card, method.folder, method.module, method.fixed, method.name, process,
            encoders_of,
        )  # fmt: skip

    def build(self, parameters: Mapping[str, Value]) -> AttributorApart:
        """An attributor in that process.

        Raises:
            EndedError: its process has ended. See also `Apart.ask`.
        """
        assert self.process is not None
        built = self.process.ask("build", parameters=dict(parameters)).content
        return AttributorApart(self, built["number"], bool(built["network"]))

    def constructor(self) -> Constructor:
        """What the constructor takes and stores, as that process says."""
        assert self.process is not None
        said = self.process.ask("constructor").content
        return Constructor({name: (kind, default) for name, (kind, default) in said["takes"].items()}, said["stores"])


class AttributorApart(Attributor):
    """An attributor in another process: everything is asked there. `is_network`: it trains a network."""

    def __init__(self, method: MethodApart, number: int, is_network: bool) -> None:
        assert method.process is not None
        self.method, self.process, self.number, self.is_network = method, method.process, number, is_network

    def fit(self, train: ImageSet, val: ImageSet, context: RunContext) -> AttributorApart:
        """Fits there. Cache and scratch are its own, one for each that is named here."""
        content, arrays = {}, []
        for role, images in (("train", train), ("val", val), ("manifold", context.manifold)):
            content[role], of_role = packed(images)
            arrays += of_role
        card = self.method.encoders_of
        answer = self.process.ask(
            "fit", arrays, **content, number=self.number, random_state=context.random_state, device=context.device,
            precision=context.precision, cache=content_key(path=str(context.cache.folder)),
            scratch=content_key(path=str(context.scratch)),
            encoder=None if card is None else {"card": card.model_dump(mode="json"), "folder": str(card.folder)},
        )  # fmt: skip
        return self._of(answer)

    def predict_proba(self, images: ImageSet) -> np.ndarray:
        """What it answers, not yet looked at."""
        return self._ask("predict_proba", images).arrays[0]

    def embed(self, images: ImageSet) -> np.ndarray:
        """What it answers, not yet looked at."""
        return self._ask("embed", images).arrays[0]

    def predict_and_embed(self, images: ImageSet) -> tuple[np.ndarray, np.ndarray]:
        """What it answers, not yet looked at."""
        probabilities, features = self._ask("predict_and_embed", images).arrays
        return probabilities, features

    def with_manifold(self, manifold: ImageSet) -> AttributorApart:
        """The attributor that it answers with."""
        return self._of(self._ask("with_manifold", manifold))

    def fit_report(self) -> dict[str, Any]:
        """What it answers, not yet looked at."""
        return self.process.ask("fit_report", number=self.number).content["report"]

    def skip(self, dataset: DatasetCard) -> str | None:
        """What it answers."""
        reason = self.process.ask("skip", number=self.number, card=dataset.model_dump(mode="json")).content["reason"]
        return None if reason is None else str(reason)

    def _ask(self, what: str, images: ImageSet) -> Message:
        content, arrays = packed(images)
        return self.process.ask(what, arrays, images=content, number=self.number)

    def _of(self, answer: Message) -> AttributorApart:
        number = answer.content["number"]
        return self if number == self.number else AttributorApart(self.method, number, self.is_network)
