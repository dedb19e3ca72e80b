"""The library of vectors: kept from a run, used by name, carried away and brought back."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from engine.directions.vector import unpacked
from engine.errors import RecipeError, UsageError
from engine.recipe import parse_recipe, parse_toml
from engine.steering.interchange import VectorFile, read_vectors
from sessions import saved_vectors
from sessions.batch import find_recipe
from sessions.reader import read_run
from tests.conftest import command
from tui.cli import main

SWEEP = """\
experiment = "steering"
site = {prompt = "One day, Tim", write = "blocks.3.hook_resid_pre"}
population = {n = 60}
directions = [{kind = "steering", plus = "Tim felt sad", minus = "Tim felt happy"}]
options = {strengths = [0.5], samples = 2, tokens = 6, words = ["sad"], texts = 2}
"""


def made(**rows: np.ndarray) -> VectorFile:
    return VectorFile(rows or {"blocks.3.hook_resid_pre": np.ones((1, 4), np.float32)}, label="x", model="embedded")


def test_names_are_kept_apart_and_checked(tmp_path: Path) -> None:
    kept = tmp_path / "vectors"
    assert saved_vectors.names(kept) == []
    saved_vectors.save(kept, "sad", made())
    saved_vectors.save(kept, "happy", made())
    assert saved_vectors.names(kept) == ["happy", "sad"]
    assert "saved" in saved_vectors.load(kept, "sad").provenance
    assert kept.stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError, match="already"):
        saved_vectors.save(kept, "sad", made())
    with pytest.raises(UsageError, match="did you mean 'sad'"):
        saved_vectors.load(kept, "sadd")
    for name in ("", "../up", "a/b", ".hidden", "x" * 65, "a b"):
        with pytest.raises(UsageError, match="name has letters"):
            saved_vectors.save(kept, name, made())
    saved_vectors.remove(kept, "sad")
    assert saved_vectors.names(kept) == ["happy"]


def test_a_recipe_holds_what_it_takes_from_the_library(tmp_path: Path) -> None:
    saved_vectors.save(tmp_path, "sad", made())
    term = {"kind": "saved", "name": "sad", "weight": -2.0}
    data = {
        "site": {"prompt": "x", "write": "blocks.3.hook_resid_pre"},
        "directions": [{"kind": "saved", "name": "sad"}, {"kind": "sum", "terms": [term, {"kind": "isotropic"}]}],
    }
    recipe = parse_recipe(saved_vectors.written_out(data, tmp_path))
    vector, summed = recipe.data()["directions"]
    assert vector["kind"] == "vector"
    assert vector["label"] == "sad"
    np.testing.assert_array_equal(unpacked(vector["parts"]["blocks.3.hook_resid_pre"]), np.ones(4))
    assert summed["terms"][0]["weight"] == -2.0
    assert summed["terms"][0]["parts"] == vector["parts"]
    assert parse_recipe(recipe.data()) == recipe
    assert parse_recipe(parse_toml(recipe.toml(), "it")) == recipe
    for spec, words in (({"kind": "saved"}, "name = None"), ({"kind": "saved", "name": "sad", "nam": 1}, "'nam'")):
        with pytest.raises(RecipeError, match=words):
            saved_vectors.written_out({"directions": [spec]}, tmp_path)


def test_a_vector_goes_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def vectors(*words: str) -> tuple[int, str, str]:
        code = main(["vectors", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    (tmp_path / "sweep.toml").write_text(SWEEP)
    assert command("--batch", "sweep.toml", "--out", "run", cwd=tmp_path).returncode == 0
    assert vectors("save", "blue", "--run", "run")[0] == 0
    shown = vectors("show", "blue")[1]
    assert "Tim felt sad" in shown
    assert "blocks.3.hook_resid_pre: 256 wide, 1 row" in shown
    assert vectors("export", "blue", "--out", "b.gguf", "--scale", "2")[0] == 0
    row = read_run(tmp_path / "run").tables["vectors"][0]
    tensor = gguf.GGUFReader(tmp_path / "b.gguf").tensors[0]
    assert tensor.name == "direction.2"
    np.testing.assert_array_equal(np.array(tensor.data), 2 * unpacked(row["vector"]))
    assert vectors("import", "back", "--file", "b.gguf")[0] == 0
    assert [line.split()[0] for line in command("vectors", "list", cwd=tmp_path).stdout.splitlines()] == [
        "back",
        "blue",
    ]
    assert read_vectors(tmp_path / "b.gguf") is not None
    # The saved vector steers as the one it was kept from, and the run of it needs no library.
    by_name = (
        "--set", 'directions=[{kind="saved", name="blue"}]', "--set", 'site.write="blocks.2.hook_resid_post"',
    )  # fmt: skip
    assert command("--batch", "sweep.toml", "--out", "again", *by_name, cwd=tmp_path).returncode == 0
    first, again = (read_run(tmp_path / name).tables for name in ("run", "again"))
    assert [r["steered"] for r in again["rollouts"]] == [r["steered"] for r in first["rollouts"]]
    assert again["points"][1]["delta_ce"] == pytest.approx(first["points"][1]["delta_ce"], abs=1e-6)
    code, _, said = vectors("export", "blue", "--out", "none/x.safetensors")
    assert code == 2
    assert "Cannot write none/x.safetensors" in said
    for name in ("blue", "back"):
        assert vectors("rm", name)[0] == 0
    assert find_recipe(str(tmp_path / "again"), ()) == read_run(tmp_path / "again").recipe
    for words, text in (
        (("save", "x"), "needs NAME --run RUN"),
        (("show",), "needs NAME"),
        (("show", "gone"), "nor any other"),
        (("import", "x", "--file", "sweep.toml"), "pickles least of all"),
        (("list", "x"), "takes no name"),
    ):
        code, _, said = vectors(*words)
        assert code == 2
        assert text in said
