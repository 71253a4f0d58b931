"""The wheel, installed outside the checkout, has the same methods and data and runs the same job."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gmbench.registry import methods

HOME = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(HOME)],
        check=True,
        capture_output=True,
    )
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_has_no_generic_names(wheel: Path) -> None:
    """One package, with methods and embedded data inside; neither tests nor records."""
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"gmbench"}
    assert "gmbench/attributors/baselines/durall20/method.toml" in names
    assert "gmbench/attributors/methods/manifpt/__init__.py" in names
    assert "gmbench/data/embedded/gm-garments/data/test.parquet" in names
    assert "gmbench/leaderboard/paper.json" in names


def test_the_installed_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own, it lists the same methods and makes a record with the same predictions."""
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(wheel)], check=True
    )
    environment = os.environ | {"PYTHONPATH": str(target)}

    def gmbench(*arguments: str) -> str:
        start = "import gmbench.cli.app, sys; assert 'site' in gmbench.cli.app.__file__; gmbench.cli.app.main()"
        done = subprocess.run(
            [sys.executable, "-c", start, *arguments],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    listed = gmbench("list", "methods")
    assert [line.split()[0] for line in listed.splitlines()[1:]] == list(methods())
    gmbench("run", "--method", "mccloskey18", "--dataset", "gm-garments")
    from gmbench.records.store import read_record

    record = read_record(tmp_path / "results" / "gm-garments" / "clean" / "mccloskey18" / "0")
    assert record.environment.git_commit is None
    assert record.identity.method_sha256 == methods()["mccloskey18"].source_sha256


def test_continuous_integration_runs_the_readmes_command() -> None:
    """What users are told to type is what is tested, word for word."""
    command = "pip install -e '.[test]' && pytest"
    assert f"```\n{command}\n```" in (HOME / "README.md").read_text(encoding="utf-8")
    assert command in (HOME / ".ci" / "run").read_text(encoding="utf-8")
