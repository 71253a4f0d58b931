"""What a method does while it is imported and while it runs, and whether the harness is the same afterwards.

This finds mistakes and careless cheating. It is no sandbox: code of strangers belongs on a machine that has nothing to
lose.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from gmbench.attributors import METHOD_FOLDERS
from gmbench.data.folders import PACKAGE, catalogue_folder, data_folder

NETWORK_EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.bind", "socket.sendto", "urllib.Request")
START_EVENTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")
WRITING_EVENTS = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.symlink", "os.link")
HARMLESS = ("/dev/", "/proc/")


class Guard:
    """Watches, through Python's audit events, what a method does while it is imported and while it runs.

    Attributes:
        phase: None (nothing is watched), `import` or `run`.
        tell: is told at once, and once, of each thing that methods may not do: its kind (`network`, `writes` or
            `labels`), and what it was.
    """

    def __init__(self, allowed: tuple[Path, ...], tell: Callable[[str, str], None]) -> None:
        self.allowed = tuple(f"{folder.resolve()}{os.sep}" for folder in allowed)
        results = METHOD_FOLDERS[0].parent / "leaderboards"
        homes = (PACKAGE / "embedded", catalogue_folder() / "embedded", data_folder(), results)
        self.images = tuple(f"{home.resolve()}{os.sep}" for home in homes)
        self.phase: str | None = None
        self.tell = tell
        self._told: set[tuple[str, str]] = set()
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

    def _note(self, kind: str, what: str) -> None:
        if (kind, what) not in self._told:
            self._told.add((kind, what))
            self.tell(kind, what)

    def _hook(self, event: str, arguments: tuple) -> None:
        if self.phase is None:
            return
        if self.phase == "import" and event.startswith((*NETWORK_EVENTS, *START_EVENTS)):
            self._note("network", f"{event} {arguments[1:2] or arguments[:1]}")
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
            self._note("labels", path)

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
            self._note("writes", f"{path} ({'at import' if self.phase == 'import' else 'when it ran'})")


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
