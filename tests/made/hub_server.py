"""A small Hub on loopback: the parts of the Hugging Face Hub's HTTP interface that pushing and pulling a dataset use.

Repositories are in memory: commits of files, branches, and objects of large files (LFS). What goes wrong is set by the
tests: `refuse` answers with a status, `cut` breaks the next download of a file off after so many bytes, `alter` changes
a byte of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Repository:
    """Commits (id to files by path) and branches."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {}})
    branches: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})

    def commit(self, files: dict[str, bytes]) -> str:
        """A new commit on `main`."""
        text = "".join(f"{path} {hashlib.sha256(content).hexdigest()}" for path, content in sorted(files.items()))
        name = hashlib.sha1(f"{len(self.commits)} {text}".encode()).hexdigest()
        self.commits[name] = files
        self.branches["main"] = name
        return name


class Hub(ThreadingHTTPServer):
    """The server. `seen`: method and path of every request, with its `Range` if it has one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.seen: list[str] = []
        self.tokens: set[str] = set()
        self.refuse: Callable[[str, str], tuple[int, dict[str, str]] | None] = lambda method, path: None
        self.cut: dict[str, int] = {}
        self.alter: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        """Serves in the background."""
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def asked_for(self, word: str) -> list[str]:
        """The requests with a word in them."""
        return [request for request in self.seen if word in request]


class Handler(BaseHTTPRequestHandler):
    """Answers one request after the other."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        """Files, lists of files, revisions."""
        self._answer("GET")

    def do_HEAD(self) -> None:
        """What a file is."""
        self._answer("HEAD")

    def do_POST(self) -> None:
        """New repositories, commits, where to upload."""
        self._answer("POST")

    def do_PUT(self) -> None:
        """An uploaded object."""
        self._answer("PUT")

    def _answer(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        given_range = self.headers.get("Range")
        self.server.seen.append(f"{method} {path}" + (f" {given_range}" if given_range else ""))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if (refused := self.server.refuse(method, path)) is not None:
            self._send(refused[0], b"{}", refused[1])
            return
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.server.tokens and token not in self.server.tokens:
            self._send(401, b"{}", {"X-Error-Message": "Invalid credentials in Authorization header"})
            return
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "repos"]:
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.server.repositories.setdefault(name, Repository())
            self._json({"url": f"{self.server.url}/datasets/{name}"})
        elif parts[:2] == ["api", "validate-yaml"]:
            self._json({"errors": [], "warnings": []})
        elif parts[0] == "objects":
            assert hashlib.sha256(body).hexdigest() == parts[1]
            self.server.objects[parts[1]] = body
            self._json({})
        elif parts[0] == "datasets" and parts[2].endswith(".git"):
            self._json({"transfer": "basic", "objects": [self._place(each) for each in json.loads(body)["objects"]]})
        elif parts[0] == "datasets":
            self._file(self.server.repositories.get("/".join(parts[1:3])), parts[4], "/".join(parts[5:]))
        else:
            self._api(self.server.repositories.get("/".join(parts[2:4])), parts[4:], body)

    def _place(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Where an object is to be uploaded; nowhere if it is there."""
        if asked["oid"] in self.server.objects:
            return asked
        return asked | {"actions": {"upload": {"href": f"{self.server.url}/objects/{asked['oid']}"}}}

    def _api(self, repository: Repository | None, rest: list[str], body: bytes) -> None:
        if repository is None:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        verb, name = (rest[0], rest[1]) if rest else ("revision", "main")
        commit = repository.branches.get(name, name)
        if commit not in repository.commits:
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        files = repository.commits[commit]
        if verb == "revision":
            self._json({"id": "x", "sha": commit, "siblings": [{"rfilename": path} for path in files]})
        elif verb == "tree":
            self._json(self._tree(files, "/".join(rest[2:]), "recursive=true" in self.path.lower()))
        elif verb == "paths-info":
            paths = parse_qs(body.decode()).get("paths", [])
            self._json([self._described(path, files[path]) for path in paths if path in files])
        elif verb == "preupload":
            asked = json.loads(body)["files"]
            modes = [
                {
                    "path": each["path"],
                    "uploadMode": "lfs" if each["path"].endswith(".parquet") else "regular",
                    "shouldIgnore": False,
                }
                for each in asked
            ]
            self._json({"files": modes})
        elif verb == "commit":
            new = repository.commit(self._committed(dict(files), body))
            name = next(name for name, each in self.server.repositories.items() if each is repository)
            self._json({"commitUrl": f"{self.server.url}/datasets/{name}/commit/{new}", "commitOid": new})

    def _tree(self, files: dict[str, bytes], folder: str, recursive: bool) -> list[dict[str, Any]]:
        """The files below a folder, or those in it and its folders."""
        start = f"{folder}/" if folder else ""
        below = {path: content for path, content in files.items() if path.startswith(start)}
        if recursive:
            return [self._described(path, content) for path, content in below.items()]
        here = [self._described(path, below[path]) for path in below if "/" not in path.removeprefix(start)]
        folders = {path.removeprefix(start).partition("/")[0] for path in below if "/" in path.removeprefix(start)}
        return here + [{"type": "directory", "path": start + name, "oid": "0" * 40} for name in sorted(folders)]

    def _committed(self, files: dict[str, bytes], body: bytes) -> dict[str, bytes]:
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif operation["key"] == "deletedFile":
                files.pop(value["path"])
        return files

    def _described(self, path: str, content: bytes) -> dict[str, Any]:
        described: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _oid(content)}
        if path.endswith(".parquet"):
            digest = hashlib.sha256(content).hexdigest()
            described["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
        return described

    def _file(self, repository: Repository | None, name: str, path: str) -> None:
        files = {} if repository is None else repository.commits.get(repository.branches.get(name, name), {})
        if path not in files or repository is None:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        content = files[path]
        etag = hashlib.sha256(content).hexdigest() if path.endswith(".parquet") else _oid(content)
        if path in self.server.alter:
            content = bytes([content[0] ^ 1]) + content[1:]
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": repository.branches.get(name, name)}
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        most = self.server.cut.pop(path, None) if self.command == "GET" else None
        self._send(206 if start else 200, content[start:], headers, most)

    def _json(self, answer: Any) -> None:
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str], most: int | None = None) -> None:
        """An answer; with `most`, the connection breaks after so many bytes."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body if most is None else body[:most])
        if most is not None and most < len(body):
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()


def _oid(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
