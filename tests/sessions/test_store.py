"""Run folders: round trips, crashes, truncation, and everything derivable from the events."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from engine.errors import RunFolderError, UsageError
from engine.recipe import parse_recipe
from engine.results import BaseResult, CurveResult, Note, RowResult, RunEnded, RunStarted, Summary, TokenTable
from sessions.reader import read_run
from sessions.schema import from_line, to_line
from sessions.store import RunWriter
from sessions.tables import row_table, write_parquet, write_tables

RECIPE = parse_recipe({"site": {"prompt": "One day"}})
SITE = {"write": "blocks.1.hook_resid_pre", "read": ["blocks.5.hook_resid_post"]}
INFO = {
    "n_curves": 2,
    "site": SITE,
    "model": {"weights_sha256": "a" * 64},
    "population": {"hash": "b" * 32},
    "odd": float("nan"),
}


def base(number: int = 0) -> BaseResult:
    return BaseResult(number, "prompt", "prompt", np.float32([1.1, -2.2, 3.3]), (0, 5, 6), 2)


def curve(number: int = 0) -> CurveResult:
    k = np.arange(4.0)
    summary = Summary(
        number, 0, "prompt", "random", f"random {number}", 1.5, 30.25, None, True, 2, None, True, 0.1, 0.4
    )
    values = {"logits": {"kl": k / 3, "kl_quadratic": k**2}, "blocks.5.hook_resid_post": {"l2": k, "cosine": 1 - k / 7}}
    values["logits"]["kl"][3] = np.nan
    tokens = TokenTable(np.int32([[3, 9]] * 4), np.array([[0.7, 0.1]] * 4), {3: " a", 9: "\n"})
    return CurveResult(summary, np.float32([0.1, 0.2, 0.3]), {"row": 4}, k, k, k * 2, values, tokens)


def test_events_read_back_bit_for_bit() -> None:
    seconds, event = from_line(to_line(curve(), 1.25)) or (0, None)
    assert seconds == 1.25
    assert isinstance(event, CurveResult)
    original = curve()
    assert event.summary == original.summary
    assert np.array_equal(event.direction, original.direction)
    for read, metrics in original.values.items():
        for metric, series in metrics.items():
            assert np.array_equal(event.values[read][metric], series, equal_nan=True)
    assert event.tokens is not None
    assert np.array_equal(event.tokens.ids, original.tokens.ids)
    assert event.tokens.strings == {3: " a", 9: "\n"}


def test_lines_are_json_with_null_for_nan() -> None:
    line = json.loads(to_line(curve(), 0.0))
    assert (line["v"], line["type"], line["curve"]) == (1, "curve", 0)
    assert line["values"]["logits"]["kl"][3] is None
    assert "NaN" not in to_line(RunStarted(INFO), 0.0)


@pytest.mark.parametrize("event", [Note("hm", "warning"), RowResult("t", {"x": 1}), RunEnded("stopped", "why")])
def test_other_events_read_back(event: object) -> None:
    assert from_line(to_line(event, 0.5)) == (0.5, event)


def test_unknown_events_are_skipped_and_newer_schemas_refused() -> None:
    assert from_line('{"v":1,"t":0,"type":"hologram"}') is None
    with pytest.raises(RunFolderError, match="upgrade dirscope"):
        from_line('{"v":99,"t":0,"type":"curve"}')


def test_recipe_and_record_are_there_before_anything_is_computed(tmp_path: Path) -> None:
    RunWriter.create(tmp_path / "run", RECIPE).close()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["schema_version"], record["status"]) == (1, "running")
    assert read_run(tmp_path / "run").recipe == RECIPE


def finished(folder: Path) -> Path:
    writer = RunWriter.create(folder, RECIPE)
    for event in (RunStarted(INFO), base(), curve(0), curve(1), RowResult("grid", {"x": 1.0, "y": 2})):
        writer.write(event)
    writer.finish(RunEnded("done"))
    return folder


def test_a_finished_run_has_every_file_of_the_contract(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["tables"]) == ("done", {"grid": ["x", "y"]})
    curves = pq.read_table(folder / "curves.parquet")
    assert curves.column_names == ["curve", "base", "step", "kind", "distance", "angle", "read", "metric", "value"]
    assert len(curves) == 2 * 4 * 4
    assert str(curves.schema.field("value").type) == "double"
    arrays = load_file(folder / "arrays.safetensors")
    assert arrays["bases"].shape == (1, 3)
    assert arrays["directions"].dtype == np.float32
    assert np.array_equal(arrays["directions"][1], curve(1).direction)
    assert pq.read_table(folder / "bases.parquet")["token_ids"].to_pylist() == [[0, 5, 6]]
    assert pq.read_table(folder / "tokens.parquet")["token"].to_pylist()[:2] == [" a", "\n"]
    assert pq.read_table(folder / "tables" / "grid.parquet").to_pylist() == [{"x": 1.0, "y": 2}]
    assert pq.read_table(folder / "summary.parquet")["threshold"].to_pylist() == [None, None]


def test_everything_else_is_derived_from_the_events(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    before = {f.name: f.read_bytes() for f in folder.glob("*.parquet")}
    for name in before:
        (folder / name).unlink()
    write_tables(read_run(folder))
    assert {f.name: f.read_bytes() for f in folder.glob("*.parquet")} == before


@pytest.mark.parametrize("cut", [1, 20, 300])
def test_a_cut_last_line_costs_only_itself(tmp_path: Path, cut: int) -> None:
    writer = RunWriter.create(tmp_path / "run", RECIPE)
    for event in (RunStarted(INFO), base(), curve(0), curve(1)):
        writer.write(event)
    writer.close()
    file = tmp_path / "run" / "events.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    run = read_run(tmp_path / "run")
    assert [c.summary.curve for c in run.curves] == [0]
    assert run.status == "running"
    again = RunWriter.resume(tmp_path / "run")
    again.write(curve(1))
    assert [c.summary.curve for c in again.finish(RunEnded("done")).curves] == [0, 1]


def test_a_line_damaged_in_the_middle_is_named(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    lines = (folder / "events.jsonl").read_text().splitlines()
    lines[2] = lines[2][:50]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(RunFolderError, match="Line 3"):
        read_run(folder)


def test_a_run_without_its_events_is_named(tmp_path: Path) -> None:
    folder = finished(tmp_path / "run")
    (folder / "events.jsonl").unlink()
    with pytest.raises(RunFolderError, match=r"lacks events\.jsonl"):
        read_run(folder)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="not empty"):
        RunWriter.create(tmp_path / "run", RECIPE)
    assert (tmp_path / "run" / "thesis.tex").read_text() == "years of work"


def test_a_resumed_run_refuses_another_model(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path / "run", RECIPE)
    writer.write(RunStarted(INFO))
    writer.close()
    again = RunWriter.resume(tmp_path / "run")
    with pytest.raises(RunFolderError, match="cannot go on"):
        again.write(RunStarted({**INFO, "model": {"weights_sha256": "c" * 64}}))
    again.close()


def test_discarding_leaves_nothing(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path / "run", RECIPE)
    writer.write(RunStarted(INFO))
    writer.discard()
    assert not (tmp_path / "run").exists()


WRITER = """
import sys
from pathlib import Path
from tests.sessions.test_store import INFO, RECIPE, base, curve
from engine.results import RunStarted
from sessions.store import RunWriter
writer = RunWriter.create(Path(sys.argv[1]), RECIPE)
writer.write(RunStarted(INFO))
writer.write(base())
number = 0
while True:
    writer.write(curve(number))
    print(number, flush=True)
    number += 1
"""


def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdout is not None
        acknowledged = -1
        while acknowledged < 50:
            acknowledged = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
    acknowledged = max([acknowledged, *map(int, rest)])
    curves = read_run(tmp_path / "run").curves
    assert [c.summary.curve for c in curves][: acknowledged + 1] == list(range(acknowledged + 1))


def test_a_copied_run_is_a_run(tmp_path: Path) -> None:
    shutil.copytree(finished(tmp_path / "run"), tmp_path / "copy")
    assert len(read_run(tmp_path / "copy").curves) == 2


def test_a_run_has_one_writer_at_a_time(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path / "run", RECIPE)
    with pytest.raises(UsageError, match="Another dirscope is writing"):
        RunWriter.resume(tmp_path / "run")
    writer.close()
    RunWriter.resume(tmp_path / "run").close()


def test_a_writer_killed_after_its_last_line_is_repaired(tmp_path: Path) -> None:
    whole = {f.name: f.read_bytes() for f in finished(tmp_path / "whole").glob("*.parquet")}
    writer = RunWriter.create(tmp_path / "run", RECIPE)
    for event in (
        RunStarted(INFO),
        base(),
        curve(0),
        curve(1),
        RowResult("grid", {"x": 1.0, "y": 2}),
        RunEnded("done"),
    ):
        writer.write(event)
    writer.close()
    assert not list((tmp_path / "run").glob("*.parquet"))
    RunWriter.repair(tmp_path / "run")
    assert {f.name: f.read_bytes() for f in (tmp_path / "run").glob("*.parquet")} == whole
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "done"


def test_a_table_cannot_be_written_outside_its_run(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path / "run", RECIPE)
    for event in (RunStarted(INFO), base(), curve(0), RowResult("../../x", {"x": 1.0})):
        writer.write(event)
    with pytest.raises(RunFolderError, match="no name of a table"):
        writer.finish(RunEnded("done"))
    assert not list(tmp_path.rglob("x.parquet*"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"table": "grid\x00"}, "no name of a table"),
        ({"values": {"\x1b[2J": 1.0}}, "no name of a column"),
        ({"values": {"x": json.loads("[" * 60 + "]" * 60)}}, "without end"),
        ({"type": "run", "info": {"site": {"write": "blocks\x07"}}}, r"site\.write"),
        ({"type": "run", "info": {"site": {"read": ["blocks\x07"]}}}, r"site\.read"),
    ],
)
def test_names_and_depths_that_do_harm_are_refused(change: dict[str, object], says: str) -> None:
    line = json.loads(to_line(RowResult("grid", {"x": 1.0}), 0.0))
    assert from_line(json.dumps(line))
    with pytest.raises(ValueError, match=says):
        from_line(json.dumps(line | change))


def test_curves_that_were_not_measured_alike_are_no_run(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path / "run", RECIPE)
    odd = curve(1)
    odd.values["logits"]["js"] = odd.kl  # type: ignore[index]
    for event in (RunStarted(INFO), base(), curve(0), odd):
        writer.write(event)
    writer.close()
    with pytest.raises(RunFolderError, match="curve 1, measured otherwise"):
        read_run(tmp_path / "run")


def test_a_number_that_a_record_lacks_is_the_default() -> None:
    line = to_line(RunStarted({**INFO, "level": None}), 0.0)
    found = from_line(line)
    assert found is not None
    assert isinstance(found[1], RunStarted)
    assert found[1].info["level"] == 0.5
    assert found[1].info["n_bases"] == 0


def test_a_cell_that_parquet_has_no_place_for_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"x\.parquet cannot be written"):
        write_parquet(row_table([{"x": {}}]), tmp_path / "x.parquet")


def test_columns_of_a_later_version_are_left_alone() -> None:
    line = json.loads(to_line(curve(), 0.0))
    line["summary"]["charm"] = 3
    found = from_line(json.dumps(line))
    assert found is not None
    assert found[1].summary == curve().summary


@pytest.mark.parametrize(
    ("events", "status", "extra", "free"),
    [
        ((), "failed", (), True),
        ((RunStarted(INFO), base()), "failed", (), False),
        ((), "stopped", (), False),
        ((), "failed", ("notes.txt",), False),
    ],
)
def test_only_a_run_that_failed_with_nothing_makes_room(
    tmp_path: Path, events: tuple[object, ...], status: str, extra: tuple[str, ...], free: bool
) -> None:
    folder = tmp_path / "run"
    writer = RunWriter.create(folder, RECIPE)
    for event in events:
        writer.write(event)
    writer.finish(RunEnded(status, "a mistyped name"))
    for name in extra:
        (folder / name).write_text("mine")
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    if free:
        RunWriter.create(folder, RECIPE).close()
        assert json.loads((folder / "run.json").read_text())["status"] == "running"
        assert not list(folder.glob("*.parquet"))
    else:
        with pytest.raises(UsageError, match="is not empty"):
            RunWriter.create(folder, RECIPE)
        assert {f.name: f.read_bytes() for f in folder.iterdir()} == before
