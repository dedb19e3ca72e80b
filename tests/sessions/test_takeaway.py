"""What leaves a run for other programs: data frames, and a curve as code of plain transformer-lens that is run."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.errors import UsageError
from sessions import open_run
from sessions.reader import read_run
from sessions.snippet import snippet
from tests.conftest import PROMPT, command

README = Path(__file__).parents[2] / "README.md"


def run_code(code: str, folder: Path) -> str:
    (folder / "code.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "code.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def said_by(code: str) -> str:
    """What code prints, run in this process: starting another takes longer than the code."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "code", "exec"), {"__name__": "__main__"})
    return printed.getvalue()


RECIPE = f"""
[[bases]]
kind = "real-other"
host = "site"
count = 1

[site]
prompt = "{PROMPT}"
position = 8
read_position = 10
write = "blocks.2.attn.hook_z"
read = ["blocks.4.hook_resid_mid"]

[population]
n = 100

[path]
mode = "sphere"
steps = 12

[[directions]]
kind = "random-mixture"
count = 2
"""


def test_a_copied_snippet_computes_its_curve_again_without_us(run_folder: Path, tmp_path: Path) -> None:
    """Two runs: the plain one, and one with another base, hook inside a block, later read and the sphere."""
    code = snippet(read_run(run_folder), 3)
    assert "engine" not in re.sub(r"'.*?'", "", code), "nothing but public libraries"
    said = run_code(code, tmp_path)
    difference, most = map(float, re.findall(r"\d[\d.e+-]*(?= nats|$)", said.replace("\n", "")))
    assert most > 1
    assert difference < 1e-4
    (tmp_path / "recipe.toml").write_text(RECIPE)
    done = command("--batch", "recipe.toml", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = command("export", "out", "--out", "curve.py", "--curve", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = said_by((tmp_path / "curve.py").read_text())
    difference, most = map(float, re.findall(r"\d[\d.e+-]*(?= nats|$)", said.replace("\n", "")))
    assert most > 1e-5  # what one token's heads do to a later token is little
    assert difference < 1e-3 * most


def test_a_curve_that_is_not_there_is_refused(run_folder: Path) -> None:
    with pytest.raises(UsageError, match="has no curve 99; it has 0 to 7"):
        snippet(read_run(run_folder), 99)


def test_a_run_opens_as_data_frames(run_folder: Path) -> None:
    run = open_run(run_folder)
    assert len(run.summary) == 8
    kl = run.curves.query("metric == 'kl' and curve == 2").sort_values("step")
    stored = next(c for c in read_run(run_folder).curves if c.summary.curve == 2)
    assert np.array_equal(kl.value, stored.kl)
    assert run.vectors["directions"].shape == (8, 256)
    assert run.bases.kind[0] == "prompt"
    assert run.tokens.token.notna().all()
    assert run.info["site"]["position"] == 11
    assert run.tables == {}


def test_the_notebook_example_of_the_readme_runs() -> None:
    text = README.read_text(encoding="utf-8")
    code = text.split("<!-- notebook example -->\n```python\n")[1].split("```")[0]
    said = said_by(code)
    assert "threshold" in said
    assert "mine" in said
