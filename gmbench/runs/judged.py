"""A method in a process of its own, which does what it is asked and judges nothing: `python -m gmbench.runs.judged`.

Requests come and answers go over what were standard input and output. Each answer repeats the token of its request,
which only the loop here has: whatever else a method writes to the channel is taken for what it is. What `Guard` sees is
told at once, so that nothing can be taken back later.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

import gmbench.runs.runner  # noqa: F401  What a method could change of it is to be seen.
from gmbench.attributor import Attributor, RunContext, _check_numbers
from gmbench.data.cards import DatasetCard
from gmbench.errors import GmbenchError, MethodError
from gmbench.learning.network_attributor import NetworkAttributor
from gmbench.registry import Method, methods_in_folder
from gmbench.runs.channel import Message, read_message, unpacked, write_message
from gmbench.runs.environment import forget_peak_memory, peak_memory_mib
from gmbench.runs.guard import Guard, changed, harness_modules, harness_state
from gmbench.support.cache import Cache
from gmbench.support.progress import Progress

Answer = tuple[dict[str, Any], list[np.ndarray]]


class Servant:
    """The attributors of one method, and what they may be asked."""

    def __init__(self, method: Method, home: Path, guard: Guard) -> None:
        self.method, self.home, self.guard = method, home, guard
        self.attributors: list[Attributor] = []
        self.asked: dict[str, Callable[[dict[str, Any], list[np.ndarray]], Answer]] = {
            "build": self.build,
            "constructor": self.constructor,
            "skip": self.skip,
            "fit": self.fit,
            "with_manifold": self.with_manifold,
            "predict_proba": self.predict_proba,
            "embed": self.embed,
            "predict_and_embed": self.predict_and_embed,
            "fit_report": self.fit_report,
        }

    def build(self, asked: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        with self.guard.watching("import"):
            built = self.method.build(asked["parameters"])
        return {"number": self._kept(built), "network": isinstance(built, NetworkAttributor)}, []

    def constructor(self, asked: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        with self.guard.watching("import"):
            takes, stores = self.method.constructor()
        return {
            "takes": {name: [kind, _plain(default)] for name, (kind, default) in takes.items()},
            "stores": {name: _plain(value) for name, value in stores.items()},
        }, []

    def skip(self, asked: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        with self.guard.watching("run"):
            reason = self._of(asked).skip(DatasetCard(**asked["card"]))
        return {"reason": None if reason is None else str(reason)}, []

    def fit(self, asked: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        train, val, manifold = (unpacked(asked[role], arrays) for role in ("train", "val", "manifold"))
        scratch = self.home / "scratch" / asked["scratch"]
        scratch.mkdir(parents=True, exist_ok=True)
        cache = Cache(self.home / "cache" / asked["cache"])
        context = RunContext(
            manifold, asked["random_state"], asked["device"], cache, scratch, Progress(), _encoder(asked["encoder"]),
            asked["precision"],
        )  # fmt: skip
        with self.guard.watching("run"):
            return {"number": self._kept(self._of(asked).fit(train, val, context))}, []

    def with_manifold(self, asked: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        with self.guard.watching("run"):
            return {"number": self._kept(self._of(asked).with_manifold(unpacked(asked["images"], arrays)))}, []

    def predict_proba(self, asked: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        with self.guard.watching("run"):
            answer = self._of(asked).predict_proba(unpacked(asked["images"], arrays))
        return {}, [_numbers("predict_proba", answer)]

    def embed(self, asked: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        with self.guard.watching("run"):
            answer = self._of(asked).embed(unpacked(asked["images"], arrays))
        return {}, [_numbers("embed", answer)]

    def predict_and_embed(self, asked: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        with self.guard.watching("run"):
            probabilities, features = self._of(asked).predict_and_embed(unpacked(asked["images"], arrays))
        return {}, [_numbers("predict_proba", probabilities), _numbers("embed", features)]

    def fit_report(self, asked: dict[str, Any], arrays: list[np.ndarray]) -> Answer:
        with self.guard.watching("run"):
            report = self._of(asked).fit_report()
        try:
            json.dumps(report, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise MethodError(f"fit_report must return what JSON can hold, with finite numbers: {error}.") from error
        return {"report": report}, []

    def _of(self, asked: Mapping[str, Any]) -> Attributor:
        return self.attributors[asked["number"]]

    def _kept(self, attributor: Attributor) -> int:
        for number, known in enumerate(self.attributors):
            if known is attributor:
                return number
        self.attributors.append(attributor)
        return len(self.attributors) - 1


def _numbers(what: str, answer: Any) -> np.ndarray:
    _check_numbers(what, answer)
    return answer


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) or value is None else repr(value)


def _encoder(asked: Mapping[str, Any] | None) -> Callable[..., Any]:
    """The encoders of a dataset; without one, some that have learned nothing."""

    def encoder(kind: str, *choice: Any, **named: Any) -> Any:
        from gmbench.manifold.encoders import find_encoder
        from gmbench.testing import _encoder as blank

        if asked is None:
            return blank(kind)
        return find_encoder(DatasetCard(**asked["card"]), kind, Path(asked["folder"]), *choice, **named)

    return encoder


def serve(method: Method, home: Path, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answers requests until there are none."""
    token, lock = "", threading.Lock()

    def tell(kind: str, what: str) -> None:
        with lock:
            write_message(answers, {"token": token, "seen": [kind, what]})

    servant = Servant(method, home, Guard((home / "cache", home / "scratch", Path(os.environ["TMPDIR"])), tell))
    modules = harness_modules()
    before = harness_state(modules)
    while (request := read_message(requests)) is not None:
        token = request.content["token"]
        forget_peak_memory()
        answer, arrays = _answered(servant, request)
        after = {"changed": changed(before, harness_state(modules)), "memory": peak_memory_mib(), "token": token}
        with lock:
            write_message(answers, answer | after, arrays)


def _answered(servant: Servant, request: Message) -> Answer:
    what = request.content["ask"]
    try:
        return servant.asked[what](request.content, list(request.arrays))
    except SystemExit as error:
        ended = MethodError(f"{what} ended the process (exit {error.code}); a method raises an error instead")
        return {"raised": _explained(ended.with_traceback(error.__traceback__), servant.method.folder)}, []
    except Exception as error:
        return {"raised": _explained(error, servant.method.folder)}, []


def _explained(error: BaseException, folder: Path) -> dict[str, str]:
    """The error's kind and words in one line, with the last place in the method's folder that it came through."""
    text = " ".join(str(error).split())[:500]
    places = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve().is_relative_to(folder.resolve())
    ]
    where = f" ({places[-1].filename}, line {places[-1].lineno})" if places else ""
    name = type(error).__name__
    if isinstance(error, GmbenchError | AssertionError):
        return {"kind": name, "text": f"{text}{where}"}
    return {"kind": "", "text": f"{name}: {text}{where}"}


def main(slug: str, folder: Path, home: Path) -> None:
    """Takes standard input and output for the channel, so that a method that prints does not write into it."""
    requests, answers = (os.fdopen(os.dup(fd), mode) for fd, mode in ((0, "rb"), (1, "wb")))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Whoever asks ends this process.
    method = next(method for method in methods_in_folder(folder) if method.slug == slug)
    serve(method, home, requests, answers)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
