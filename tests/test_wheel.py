"""The wheel: exactly three packages, the weights inside, and it runs from another directory."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_three_packages_and_the_weights(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0] for n in names if "dist-info" not in n} == {"engine", "sessions", "tui"}
    for file in (
        "engine/embedded/model/model.safetensors",
        "engine/embedded/model/tokenizer.json",
        "engine/embedded/saes/blocks.1.hook_resid_pre/sae_weights.safetensors",
        "engine/embedded/samples.safetensors",
        "sessions/recipes/quickstart.toml",
        "tui/app.tcss",
    ):
        assert file in names
    assert not any(n.endswith(".pyc") or "/training/" in n for n in names)


def test_the_wheel_runs_from_another_directory(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import sys, tui.cli, engine; "
        f"assert engine.__file__.startswith({str(site)!r}), engine.__file__; "
        "sys.exit(tui.cli.main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--batch", "quickstart", "--set", "path.steps=20", "--set", "population.n=100"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "holds" in done.stdout
