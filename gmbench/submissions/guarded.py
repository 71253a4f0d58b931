"""What `gmbench check` runs of a method, in a process of its own: `python -m gmbench.submissions.guarded NAME FOLDER`.

FOLDER holds `slice.npz` (images, and the labels of all but the test images) and gets `cache/`, `scratch/` and
`report.json`. This finds mistakes and careless cheating. It is no sandbox: code of strangers belongs on a machine that
has nothing to lose.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

import gmbench.learning.feature_attributor
import gmbench.learning.network_attributor
import gmbench.testing
from gmbench.attributor import RunContext, check_features, check_probabilities
from gmbench.data.cards import DatasetCard
from gmbench.data.folders import PACKAGE, catalogue_folder, data_folder
from gmbench.data.images import ImageSet
from gmbench.errors import GmbenchError
from gmbench.registry import Method, find_method
from gmbench.runs.environment import forget_peak_memory, peak_memory_mib
from gmbench.support.cache import Cache
from gmbench.support.parameters import Value
from gmbench.support.progress import Progress

SLICE, REPORT = "slice.npz", "report.json"
NETWORK_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto", "urllib.Request")
START_EVENTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")
WRITING_EVENTS = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.symlink", "os.link")
HARMLESS = ("/dev/", "/proc/")


class Guard:
    """Watches, through Python's audit events, what a method does while it is imported and while it runs.

    Attributes:
        phase: None (nothing is watched), `import` or `run`.
        seen: what it did that methods may not do, each once.
    """

    def __init__(self, allowed: tuple[Path, ...]) -> None:
        self.allowed = tuple(f"{folder.resolve()}{os.sep}" for folder in allowed)
        homes = (PACKAGE / "embedded", catalogue_folder() / "embedded", data_folder())
        self.images = tuple(f"{home.resolve()}{os.sep}" for home in homes)
        self.phase: str | None = None
        self.seen: dict[str, list[str]] = {"network": [], "writes": [], "labels": []}
        sys.addaudithook(self._hook)
        self._watch_parquet()

    @contextmanager
    def watching(self, phase: str) -> Iterator[None]:
        """Watches while the block runs."""
        self.phase = phase
        try:
            yield
        finally:
            self.phase = None

    def note(self, kind: str, what: str) -> None:
        """Remembers one thing that the method did."""
        if what not in self.seen[kind]:
            self.seen[kind].append(what)

    def _hook(self, event: str, arguments: tuple) -> None:
        if self.phase is None:
            return
        if self.phase == "import" and event.startswith((*NETWORK_EVENTS, *START_EVENTS)):
            self.note("network", f"{event} {arguments[1:2] or arguments[:1]}")
            raise PermissionError(f"{event} while a method is imported")
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, str | bytes | os.PathLike):
                self._opened(os.path.abspath(os.fsdecode(path)), mode, flags)
        elif event.startswith(WRITING_EVENTS):
            self._written(os.path.abspath(os.fsdecode(arguments[0])))

    def _opened(self, path: str, mode: str | None, flags: int) -> None:
        writes = any(letter in mode for letter in "wax+") if mode else bool(flags & (os.O_WRONLY | os.O_RDWR))
        if writes:
            self._written(path)
        else:
            self._read(path)

    def _read(self, path: str) -> None:
        if self.phase is not None and path.startswith(self.images) and path.endswith(".parquet"):
            self.note("labels", path)

    def _watch_parquet(self) -> None:
        """pyarrow opens files by itself, which gives no audit event."""
        import pyarrow.parquet as parquet

        for owner, name in ((parquet, "read_table"), (parquet.ParquetFile, "__init__")):
            setattr(owner, name, self._watched(getattr(owner, name)))

    def _watched(self, function: Callable) -> Callable:
        def watched(*arguments: Any, **named: Any) -> Any:
            for argument in (*arguments, *named.values()):
                if isinstance(argument, str | Path):
                    self._read(str(Path(argument).resolve()))
            return function(*arguments, **named)

        return watched

    def _written(self, path: str) -> None:
        allowed = () if self.phase == "import" else self.allowed
        if not path.startswith((*allowed, *HARMLESS)):
            self.note("writes", f"{path} ({'at import' if self.phase == 'import' else 'when it ran'})")


def harness_modules() -> list[str]:
    """Names of the harness's modules that are imported."""
    return [name for name in sys.modules if f"{name}.".startswith("gmbench.") and ".attributors." not in name]


def harness_state(modules: Iterable[str]) -> dict[str, Any]:
    """Every function, class, constant and attribute of a class in some modules, by name; tables with their items."""
    state: dict[str, Any] = {}
    for name in modules:
        for key, value in list(vars(sys.modules[name]).items()):
            if not isinstance(value, ModuleType) and not key.startswith("__"):
                state |= _parts(f"{name}.{key}", value)
    return state


def _parts(name: str, value: Any) -> dict[str, Any]:
    parts = {name: value}
    if isinstance(value, FunctionType):
        parts |= {f"{name}.__code__": value.__code__, f"{name}.__defaults__": value.__defaults__}
    elif inspect.isclass(value) and value.__module__.startswith("gmbench"):
        for key, attribute in list(vars(value).items()):
            parts[f"{name}.{key}"] = attribute
            if isinstance(attribute, FunctionType):
                parts[f"{name}.{key}.__code__"] = attribute.__code__
    elif isinstance(value, dict):
        parts |= {f"{name}[{key!r}]": item for key, item in list(value.items())}
    return parts


_CHANGES_BY_ITSELF = ("_abc_impl", "__abstractmethods__", "__annotations__", "__pydantic", "_cache")


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Names of what was replaced, added or removed between two states of the harness."""
    names = [name for name in {**before, **after} if not any(word in name for word in _CHANGES_BY_ITSELF)]
    return [name for name in names if before.get(name, names) is not after.get(name, names)]


def main(name: str, home: Path) -> None:
    """Makes the report on a method, step by step; it is written after each, so that a crash leaves what came before."""
    method = find_method(name)
    report: dict[str, Any] = {}

    def step(what: str, do: Callable[[], str | None]) -> None:
        report[what] = {"ok": False, "message": "the process ended here"}
        _write(home, report)
        try:
            report[what] = {"ok": True, "message": do() or ""}
        except (Exception, SystemExit) as error:
            report[what] = {"ok": False, "message": _explained(error, method.folder)}
        _write(home, report)

    given = quick_parameters(method)
    guard = Guard((home / "cache", home / "scratch", Path(os.environ["TMPDIR"])))
    modules = harness_modules()
    before = harness_state(modules)

    def built() -> None:
        with guard.watching("import"):
            method.build(method.parameters({}))

    def contract() -> str:
        gmbench.testing.check_attributor(method, given)
        return _with(given)

    step("import", built)
    if report["import"]["ok"]:
        step("constructor", lambda: gmbench.testing.check_constructor(method))
        step("contract", contract)
        step("tiny run", lambda: _tiny_run(method, given, home, guard))
    report["harness"] = changed(before, harness_state(modules))
    report["seen"] = guard.seen
    _write(home, report)


def quick_parameters(method: Method) -> dict[str, Value]:
    """Parameters that make a method quick: those of its card's `quick`, else one epoch wherever it counts epochs."""
    declared = method.card.quick or {
        name: max(1, int(parameter.minimum or 1))
        for name, parameter in method.card.parameters.items()
        if name.endswith("epochs") and parameter.type == "int"
    }
    return {name: value for name, value in declared.items() if name not in method.fixed}


def _tiny_run(method: Method, given: Mapping[str, Value], home: Path, guard: Guard) -> str:
    """Fits on the slice twice with one seed and once with another, and leaves predictions."""
    with np.load(home / SLICE) as arrays:
        parts = {name: arrays[name] for name in arrays.files}
    sources = tuple(parts["sources"].tolist())
    card = DatasetCard(**json.loads(str(parts["card"])))

    def images(role: str) -> ImageSet:
        origin = f"slice of {card.slug}"
        return ImageSet.of(parts[f"{role}_pixels"], parts[f"{role}_ids"], sources, parts.get(f"{role}_labels"), origin)

    def encoder(kind: str, *choice: Any, **named: Any) -> Any:
        from gmbench.manifold.encoders import find_encoder

        return find_encoder(card, kind, card.folder, *choice, **named)

    parameters = method.parameters(given)
    if (reason := method.build(parameters).skip(card)) is not None:
        return f"not run: it skips {card.slug} ({reason})"
    test, answers = images("test"), []
    forget_peak_memory()
    started = time.perf_counter()
    for attempt, seed in (("first", 7), ("second", 7), ("another seed", 8)):
        scratch = home / "scratch" / attempt
        scratch.mkdir(parents=True)
        context = RunContext(
            images("manifold"), seed, "cpu", Cache(home / "cache" / attempt), scratch, Progress(), encoder
        )
        with guard.watching("run"):
            attributor = method.build(parameters).fit(images("train"), images("val"), context)
            answers.append(check_probabilities(attributor.predict_proba(test), test))
            check_features(attributor.embed(test), test)
        if attempt == "first":
            seconds, memory = time.perf_counter() - started, peak_memory_mib()
    np.save(home / "predictions.npy", answers[0])
    if not np.array_equal(answers[0], answers[1]):
        differ = int((answers[0] != answers[1]).any(axis=1).sum())
        raise AssertionError(
            f"the same seed gave other predictions for {differ} of {len(test)} images; everything random must come "
            "from context.seed."
        )
    ignored = ""
    if np.array_equal(answers[0], answers[2]):
        if isinstance(attributor, gmbench.learning.network_attributor.NetworkAttributor):
            raise AssertionError("another seed gave the same predictions; weights must be drawn from context.seed.")
        ignored = "; another seed gives the same predictions, so repetitions say nothing of chance"
    return f"{seconds:.1f} s, {memory if memory is not None else '?'} MiB at most{_with(given, ', ')}{ignored}"


def _with(given: Mapping[str, Value], before: str = "") -> str:
    return before + "with " + ", ".join(f"{name}={value}" for name, value in given.items()) if given else ""


def _explained(error: BaseException, folder: Path) -> str:
    """The error in one line, with the last place in the method's folder that it came through."""
    text = " ".join(str(error).split())[:500]
    places = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).resolve().is_relative_to(folder.resolve())
    ]
    where = f" ({places[-1].filename}, line {places[-1].lineno})" if places else ""
    kind = "" if isinstance(error, GmbenchError | AssertionError) else f"{type(error).__name__}: "
    return f"{kind}{text}{where}"


def _write(home: Path, report: Mapping[str, Any]) -> None:
    (home / REPORT).write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
