"""What other programs rely on, line by line, where no other test says it: files, columns, defaults, definitions.

The run is that of the command; what it should hold is computed here, from its files, with numpy.
"""

from __future__ import annotations

import base64
import json
import math
import subprocess
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from engine.bases import BASES
from engine.definitions import DEFINITIONS
from engine.directions import DIRECTIONS
from engine.errors import BY_NAME, OutOfMemoryError
from engine.experiments import EXPERIMENTS
from engine.failing import failed
from engine.laboratory import Laboratory
from engine.layouts import smaller
from engine.models import Model
from engine.protocol import Failed, Held
from engine.recipe import parse_recipe, with_overrides
from engine.shards import Layout
from engine.workshop import Workshop
from sessions.reader import read_run
from sessions.runner import held_of, rebuild
from tests.conftest import PROMPT
from tui.arguments import main_parser
from tui.cli import main
from tui.commands import shorthand

EXIT_CODES = {
    "DirscopeError": 1, "RunFailedError": 1, "UsageError": 2, "RunFolderError": 2, "RecipeError": 2, "PromptError": 2,
    "HookError": 2, "DirectionError": 2, "LoadError": 3, "SaeError": 3, "TimeLimitError": 4, "OutOfMemoryError": 5,
    "InterruptedByUser": 130,
}  # fmt: skip
CURVES = {
    "curve": pa.int64(), "base": pa.int64(), "step": pa.int64(), "kind": pa.string(), "distance": pa.float64(),
    "angle": pa.float64(), "read": pa.string(), "metric": pa.string(), "value": pa.float64(),
}  # fmt: skip
TOWARD = {"random", "real-other", "synthetic-baseline", "synthetic-structured", "interpolation"}
ALONG = {
    "isotropic", "random-mixture", "real-mixture", "sae-feature", "sae-error", "steering", "combination",
    "token-embedding", "file",
}  # fmt: skip


class Kept:
    """The run folder of the tests, opened by other means than ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record: dict[str, Any] = json.loads((folder / "run.json").read_text())
        self.curves = pq.read_table(folder / "curves.parquet").to_pandas()
        self.summary = pq.read_table(folder / "summary.parquet").to_pandas()
        self.bases = pq.read_table(folder / "bases.parquet")
        arrays = load_file(folder / "arrays.safetensors")
        self.x, self.d = arrays["bases"].astype(float), arrays["directions"].astype(float)
        self.lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]

    def along(self, curve: int, read: str, metric: str) -> np.ndarray:
        frame = self.curves
        rows = frame[(frame.curve == curve) & (frame["read"] == read) & (frame.metric == metric)]
        return rows.sort_values("step").value.to_numpy()

    def distances(self, curve: int) -> np.ndarray:
        rows = self.curves[(self.curves.curve == curve) & (self.curves.metric == "kl")]
        return rows.sort_values("step").distance.to_numpy()


@pytest.fixture(scope="module")
def kept(run_folder: Path) -> Kept:
    return Kept(run_folder)


def degrees(a: np.ndarray, b: np.ndarray) -> float:
    return math.degrees(math.acos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)))


# The command


def test_every_error_has_the_exit_code_of_the_contract() -> None:
    assert {name: cls.exit_code for name, cls in BY_NAME.items()} == EXIT_CODES
    assert {name: rebuild(Failed(name, "m")).exit_code for name in BY_NAME} == EXIT_CODES


def test_memory_that_runs_out_is_exit_5(embedded: Model) -> None:
    for error in (torch.OutOfMemoryError("CUDA out of memory"), MemoryError()):
        assert failed(error, "m").error == "OutOfMemoryError"
    with pytest.raises(OutOfMemoryError, match="two rows"):
        smaller(Layout("batch", 2, 32), embedded)


def test_what_the_command_line_fills_in() -> None:
    words = ["--model", "m", "--prompt", "p", "--position", "-2", "--write", "blocks.2.hook_resid_mid", "--sae", "r:i"]
    recipe = parse_recipe(with_overrides({}, shorthand(main_parser().parse_args(words))))
    assert (recipe.model.name, recipe.site.prompt, recipe.site.position) == ("m", "p", -2)
    assert (recipe.site.write, recipe.sae.release, recipe.sae.sae_id) == ("blocks.2.hook_resid_mid", "r", "i")


def test_paths_are_printed_below_the_home(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paths"]) == 0
    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert {"sessions", "trash", "vectors", "config", "state", "cache", "log", "models"} <= said.keys()
    assert all(said[name].startswith(str(home)) for name in ("sessions", "config", "state", "cache", "log"))


def test_resuming_what_is_done_does_nothing_and_imports_no_terminal(run_folder: Path, tmp_path: Path) -> None:
    """In a fresh interpreter, in every format; an expectation that fails does not make it run again."""
    code = (
        "import sys\nfrom tui.cli import main\n"
        "again = ['--batch', sys.argv[1], '--out', sys.argv[1], '--resume', '--format']\n"
        "codes = [main([*again, form]) for form in sys.argv[2:]]\n"
        "print(codes, [m for m in ('textual', 'torch', 'ray', 'engine.cluster') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(run_folder), "text", "csv", "json", "jsonl"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "[0, 0, 0, 0] []", done.stderr


# The recipe


def test_defaults_are_those_of_the_contract() -> None:
    recipe = parse_recipe({"site": {"prompt": "a"}})
    told = recipe.model_dump()
    assert (told["experiment"], told["seed"]) == ("probe", 0)
    assert (
        told["model"] | {"name": "embedded", "device": "auto", "dtype": "float32", "weights": "trained"}
        == told["model"]
    )
    site = {"bos": "auto", "position": -1, "write": "blocks.1.hook_resid_pre"}
    assert told["site"] | site == told["site"]
    assert told["population"] | {"prompts": "bundled", "n": 1000, "seed": 0} == told["population"]
    assert told["path"] | {"mode": "straight", "steps": 100, "stop": "auto"} == told["path"]
    assert told["metrics"]["level"] == 0.5
    assert [(b["kind"], b["count"]) for b in told["bases"]] == [("prompt", 1)]
    assert [(d["kind"], d["count"]) for d in told["directions"]] == [("random", 8), ("real-other", 8), ("isotropic", 8)]
    listed = parse_recipe({"site": {"prompt": "a"}, "directions": [{"kind": "random"}]})
    assert listed.directions[0].count == 16


def test_kinds_and_families_are_those_of_the_contract() -> None:
    bases = {"prompt", "real-other", "random", "isotropic", "sae-reconstruction", "synthetic-baseline"}
    assert bases | {"synthetic-structured"} <= set(BASES)
    for family, names in (("toward", TOWARD), ("along", ALONG)):
        assert {DIRECTIONS[name].family for name in names} == {family}
    named = {"probe", "plateaus", "sensitive-directions", "synthetic", "layers", "triangle", "plane", "steering"}
    assert named <= set(EXPERIMENTS)
    assert [name for name, e in EXPERIMENTS.items() if e.keeps_tokens] == ["probe"]


# The run folder


def test_the_record_says_where_the_numbers_come_from(kept: Kept) -> None:
    record = kept.record
    packages = ("dirscope", "torch", "transformers", "transformer-lens", "sae-lens", "numpy")
    assert {name: record["versions"][name] for name in packages} == {name: version(name) for name in packages}
    started, ended = (datetime.fromisoformat(record[name]) for name in ("started", "ended"))
    assert started <= ended
    assert started.tzinfo is not None
    assert (record["dtype"], record["tokenizer"]["bos_id"]) == ("float32", 0)
    assert record["device"].split(":")[0] in ("cpu", "cuda", "mps")
    assert record["model"]["revision"] is None
    assert len(record["population"]["hash"]) == 32
    assert len(record["sae"]["sha256"]) == 64
    assert record["definitions"] == DEFINITIONS
    # What auto resolved to, while the recipe keeps it.
    site = record["site"]
    assert (site["bos"], site["read_position"]) == (True, site["position"])
    assert "recipe" in kept.lines[0]["info"]
    assert 'device = "auto"' in (kept.folder / "recipe.toml").read_text() or "device" not in record["model"]


def test_prompts_are_stored_with_ids_and_strings(kept: Kept, embedded: Model) -> None:
    texts = [p["text"] for p in kept.record["prompts"]]
    assert texts == [PROMPT, "She was very happy", "She was very sad"]
    for prompt in kept.record["prompts"]:
        assert prompt["token_ids"][1:] == embedded.tokenizer.encode(prompt["text"], add_special_tokens=False)
        assert "".join(prompt["tokens"][1:]) == prompt["text"]


def test_columns_and_types_are_those_of_the_contract(kept: Kept) -> None:
    schema = pq.read_schema(kept.folder / "curves.parquet")
    assert dict(zip(schema.names, schema.types, strict=True)) == CURVES
    assert not kept.curves[["distance", "angle"]].isna().any().any()
    summary = (
        "curve",
        "base",
        "kind",
        "label",
        "native_norm",
        "threshold",
        "censored",
        "max_slope_step",
        "plateau_length",
    )
    assert set(summary) <= set(kept.summary.columns)
    assert kept.summary.curve.tolist() == list(range(len(kept.d)))
    assert kept.curves.groupby("curve").kind.first().tolist() == kept.summary.kind.tolist()
    assert kept.bases.schema.field("token_ids").type == pa.list_(pa.int32())
    assert {"base", "kind", "token_ids", "position"} <= set(kept.bases.column_names)
    arrays = load_file(kept.folder / "arrays.safetensors")
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.float32)}
    assert arrays["bases"].shape[1] == arrays["directions"].shape[1] == kept.record["model"]["d_model"]
    tokens = pq.read_table(kept.folder / "tokens.parquet").to_pandas()
    assert list(tokens.columns) == ["curve", "step", "rank", "token_id", "token", "prob"]
    assert (tokens.groupby(["curve", "step"])["rank"].apply(list).apply(lambda r: r == list(range(10)))).all()
    assert (tokens.groupby(["curve", "step"]).prob.apply(lambda p: p.is_monotonic_decreasing)).all()


def test_events_carry_their_version_and_vectors_as_base64_float32(kept: Kept) -> None:
    assert {line["v"] for line in kept.lines} == {1}
    assert [line["type"] for line in kept.lines][:2] == ["run", "base"]
    assert kept.lines[-1]["type"] == "end"
    curves = {line["curve"]: line for line in kept.lines if line["type"] == "curve"}
    for number, line in curves.items():
        vector = np.frombuffer(base64.b64decode(line["direction"]), "<f4")
        assert np.array_equal(vector, kept.d[number].astype(np.float32))


# Definitions


def test_directions_are_stored_before_normalising_and_their_lengths_beside(kept: Kept) -> None:
    assert np.allclose(np.linalg.norm(kept.d, axis=1), kept.summary.native_norm, rtol=1e-12)
    assert (kept.summary.native_norm - 1).abs().min() > 1e-3
    x = kept.x[0]
    angles = [degrees(x, x + d) for d in kept.d]
    assert np.allclose(angles, kept.summary.native_angle, atol=1e-6)
    assert abs(x.mean()) < 1e-6  # in the basis of a LayerNorm model


def test_distance_and_angle_are_of_the_perturbed_vector(kept: Kept) -> None:
    x = kept.x[0]
    for curve, d in enumerate(kept.d):
        rows = kept.curves[(kept.curves.curve == curve) & (kept.curves.metric == "kl")].sort_values("step")
        for distance, angle in zip(rows.distance[1:], rows.angle[1:], strict=True):
            assert degrees(x, x + distance * d / np.linalg.norm(d)) == pytest.approx(angle, abs=1e-6)


def test_scalars_of_a_curve_are_those_of_its_definition(kept: Kept) -> None:
    typical, last = kept.record["typical_distance"], kept.record["site"]["read"][-1]
    assert len(kept.record["site"]["read"]) == 2  # the last of several
    for row in kept.summary.itertuples():
        kl, l2, a = kept.along(row.curve, "logits", "kl"), kept.along(row.curve, last, "l2"), kept.distances(row.curve)
        assert row.max_slope_step == int(np.diff(l2).argmax()) + 1
        above = np.flatnonzero(kl >= 0.5)
        assert row.censored == (len(above) == 0)
        if len(above):
            k = above[0]
            assert row.threshold == pytest.approx(
                a[k - 1] + (0.5 - kl[k - 1]) / (kl[k] - kl[k - 1]) * (a[k] - a[k - 1])
            )
        early = (a > 0) & (a < 0.1 * typical)
        slope = a[early] @ l2[early] / (a[early] @ a[early])
        over = np.flatnonzero(l2 > 1.1 * slope * a)
        assert pd.isna(row.plateau_length) if not len(over) else row.plateau_length == pytest.approx(a[over[0]])
        assert np.allclose(kept.along(row.curve, "logits", "kl_quadratic"), a**2 / 2 * row.fisher, rtol=1e-12)


def test_a_features_activation_and_length_are_stored(kept: Kept) -> None:
    (line,) = [line for line in kept.lines if line["type"] == "curve" and line["kind"] == "sae-feature"]
    assert line["detail"]["activation"] > 0
    assert line["summary"]["native_norm"] > 0


def test_a_sphere_stores_its_direction_before_orthogonalising_and_ends_at_90_degrees(embedded: Model) -> None:
    lab = laboratory(embedded, path={"mode": "sphere", "steps": 4}, directions=[{"kind": "isotropic", "count": 2}])
    curves = [e for e in lab.experiment.run(lab) if type(e).__name__ == "CurveResult"]
    spec = lab.recipe.directions[0]
    for curve in curves:
        assert np.array_equal(curve.direction, lab.draw(spec, lab.site, curve.summary.curve).vector)
        assert curve.coordinate[-1] == 90
        assert abs(curve.direction.astype(float) @ lab.site.vector) > 1e-3


def laboratory(model: Model, held: Held = Held(), **sections: Any) -> Laboratory:  # noqa: B008  (frozen)
    data = {"site": {"prompt": PROMPT}, "population": {"n": 40}, **sections}
    return Laboratory(model, parse_recipe(data), Workshop(), held)


def test_native_paths_end_at_their_target(embedded: Model) -> None:
    lab = laboratory(embedded, path={"stop": "native", "steps": 3}, directions=[{"kind": "real-other", "count": 2}])
    for curve in [e for e in lab.experiment.run(lab) if type(e).__name__ == "CurveResult"]:
        assert curve.coordinate[-1] == pytest.approx(np.linalg.norm(curve.direction.astype(float)))
        end = lab.site.vector + curve.direction
        assert min(np.abs(lab.population.vectors - end).max(axis=1)) < 1e-4  # a member of the population


@pytest.mark.parametrize("kind", ["random", "real-other", "isotropic", "random-mixture", "real-mixture"])
def test_asking_for_more_draws_keeps_the_earlier_ones(embedded: Model, kind: str) -> None:
    other = {"kind": "steering", "plus": "good", "minus": "bad"}
    few = laboratory(embedded, directions=[{"kind": kind, "count": 2}])
    many = laboratory(embedded, directions=[other, {"kind": kind, "count": 5}])
    for index in range(2):
        drawn = [lab.draw(lab.recipe.directions[-1], lab.site, index).vector for lab in (few, many)]
        assert np.array_equal(*drawn)


def test_verify_and_resume_use_the_recorded_layout(run_folder: Path, embedded: Model) -> None:
    run = read_run(run_folder)
    assert held_of(run).layout == Layout.recorded(run.record["layout"])
    other = Layout("batch", 24, 7)
    assert laboratory(embedded, Held(layout=other)).layout == other


def test_exactly_one_bos_and_only_where_it_is_wanted(embedded: Model) -> None:
    ids = {bos: embedded.encode(PROMPT, bos) for bos in ("auto", True, False)}
    assert ids["auto"] == ids[True] == [0, *ids[False]]
    typed = embedded.encode("<|endoftext|>" + PROMPT, "auto")
    assert typed.count(0) == 1
    lab = laboratory(embedded, site={"prompt": PROMPT, "bos": False})
    assert lab.population.token_ids.shape[1] == len(lab.where.token_ids)
    assert not (lab.population.token_ids[:, 0] == 0).any()


@pytest.mark.parametrize(("hook", "width"), [("blocks.2.mlp.hook_post", 1024), ("blocks.2.attn.hook_z", 256)])
def test_vectors_that_are_no_streams_are_raw(embedded: Model, hook: str, width: int) -> None:
    lab = laboratory(embedded, site={"prompt": PROMPT, "write": hook})
    assert not lab.centred
    assert lab.site.vector.shape == (width,)
    assert np.array_equal(lab.site.vector, lab.site_host.raw[0].float().cpu().numpy())
    assert abs(lab.site.vector.mean()) > 1e-4
