"""Vector files against the reference readers, and against what llama.cpp and repeng do with them."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM

from engine.embedded import MODEL_DIR
from engine.errors import DirectionError, UsageError
from engine.hooks import parse_hook
from engine.laboratory import Laboratory
from engine.models import Model
from engine.recipe import parse_recipe
from engine.steering.interchange import VectorFile, read_vectors, write_vectors
from engine.steering.rollouts import Sampling, rollouts
from engine.steering.steer import Steer
from engine.workshop import Workshop

PRE = "blocks.3.hook_resid_pre"


def vectors(width: int = 256, **hooks: int) -> VectorFile:
    rng = np.random.default_rng(0)
    names = hooks or {PRE: 1}
    rows = {name.replace("__", "."): rng.standard_normal((n, width)).astype(np.float32) for name, n in names.items()}
    told = {"made": {"plus": "é\n\x1b[2J", "minus": "b"}}
    return VectorFile(rows, "gpt2", 6, "embedded", "f" * 64, "a label", told)


def foreign(
    path: Path, directions: dict[int, np.ndarray], arch: str = "controlvector", count: int | None = None
) -> Path:
    """A file as repeng exports it."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_string(f"{arch}.model_hint", "gpt2")
    writer.add_uint32(f"{arch}.layer_count", len(directions) if count is None else count)
    for layer, row in directions.items():
        writer.add_tensor(f"direction.{layer}", row)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_what_we_write_is_read_by_the_reference_reader_and_by_us(tmp_path: Path) -> None:
    made = vectors(blocks__3__hook_resid_pre=1, blocks__5__hook_resid_post=1)
    write_vectors(tmp_path / "v.gguf", made)
    theirs = gguf.GGUFReader(tmp_path / "v.gguf")
    said = {name: field.contents() for name, field in theirs.fields.items()}
    assert said["general.architecture"] == "controlvector"
    assert said["controlvector.model_hint"] == "gpt2"
    assert said["controlvector.layer_count"] == 2
    # In front of block 3 is behind block 2; the last block's output is its own.
    directions = {t.name: (t.tensor_type, np.array(t.data)) for t in theirs.tensors}
    assert list(directions) == ["direction.2", "direction.5"]
    for (kind, data), rows in zip(directions.values(), made.rows.values(), strict=True):
        assert kind == gguf.GGMLQuantizationType.F32
        np.testing.assert_array_equal(data, rows[0])
    back = read_vectors(tmp_path / "v.gguf")
    assert back is not None
    assert list(back.rows) == ["blocks.2.hook_resid_post", "blocks.5.hook_resid_post"]
    for ours, rows in zip(back.rows.values(), made.rows.values(), strict=True):
        np.testing.assert_array_equal(ours, rows)
    # By hand: magic, version 3, two tensors.
    assert struct.unpack("<4sIQ", (tmp_path / "v.gguf").read_bytes()[:16]) == (b"GGUF", 3, 2)


def test_safetensors_keep_everything(tmp_path: Path) -> None:
    made = vectors(blocks__3__hook_resid_pre=3, blocks__1__hook_resid_pre=3)
    write_vectors(tmp_path / "v.safetensors", made)
    back = read_vectors(tmp_path / "v.safetensors")
    assert back is not None
    assert {k: v for k, v in vars(back).items() if k != "rows"} == {k: v for k, v in vars(made).items() if k != "rows"}
    plain = load_file(tmp_path / "v.safetensors")
    for hook, rows in made.rows.items():
        np.testing.assert_array_equal(back.rows[hook], rows)
        np.testing.assert_array_equal(plain[hook], rows)
    with pytest.raises(UsageError, match="is there already"):
        write_vectors(tmp_path / "v.safetensors", made)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["v.safetensors"]
    save_file({"x": np.ones(3, np.float32)}, tmp_path / "other.safetensors")
    assert read_vectors(tmp_path / "other.safetensors") is None


@torch.no_grad()
def test_a_direction_acts_behind_the_block_of_its_number(embedded: Model, tmp_path: Path) -> None:
    """As llama.cpp's build_cvec and repeng's ControlModel: added to the output of block k, counted from 0."""
    rng = np.random.default_rng(2)
    rows = {k: 4 * rng.standard_normal(256).astype(np.float32) for k in (1, 4, 5)}
    rows = {k: row - row.mean() for k, row in rows.items()}
    file = foreign(tmp_path / "theirs.gguf", rows)
    spec = {"kind": "file", "path": str(file)}
    site = {"prompt": "One day, Tim went", "write": "blocks.2.hook_resid_pre"}
    lab = Laboratory(embedded, parse_recipe({"site": site, "directions": [spec]}), Workshop())
    drawn = lab.draw(lab.recipe.directions[0], lab.site, 0)
    np.testing.assert_allclose(drawn.vector, rows[1], atol=1e-6)  # what enters block 2 left block 1
    steer = Steer({parse_hook(name, 6): held.astype(np.float64) for name, held in drawn.rows.items()}, 0)
    ids = list(lab.where.token_ids)
    ours = rollouts(embedded, ids, [0], Sampling(12, 0.0, 0), steer).tokens[0].tolist()
    plain = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float64, attn_implementation="eager").eval()
    for k, row in rows.items():
        plain.transformer.h[k].register_forward_hook(
            lambda module, args, output, row=row: (
                (output[0] + torch.from_numpy(row), *output[1:])
                if isinstance(output, tuple)
                else output + torch.from_numpy(row)
            )
        )
    theirs: list[int] = []
    for _ in range(12):
        theirs.append(int(plain(input_ids=torch.tensor([ids + theirs]), use_cache=False).logits[0, -1].argmax()))
    assert ours == theirs
    other = Laboratory(embedded, parse_recipe({"site": {**site, "write": PRE}, "directions": [spec]}), Workshop())
    with pytest.raises(DirectionError, match=r"set site\.write to one of them"):
        other.draw(other.recipe.directions[0], other.site, 0)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (vectors(blocks__3__hook_resid_pre=2), "one row for all tokens"),
        (vectors(blocks__1__hook_resid_pre=1), "never adds"),
        (vectors(blocks__3__hook_mlp_out=1), "block outputs"),
    ],
)
def test_what_gguf_cannot_hold_is_refused(made: VectorFile, words: str, tmp_path: Path) -> None:
    with pytest.raises(DirectionError, match=words):
        write_vectors(tmp_path / "v.gguf", made)
    assert not list(tmp_path.iterdir())


def test_files_of_something_else_are_refused_in_a_sentence(tmp_path: Path) -> None:
    row = np.ones(256, np.float32)
    whole = foreign(tmp_path / "good.gguf", {1: row, 2: row}).read_bytes()

    def raw(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    save_file({PRE: np.full((1, 4), np.nan, np.float32)}, tmp_path / "nan.safetensors", {"dirscope": '{"format": 1}'})
    save_file({PRE: np.zeros((1, 4), np.float32)}, tmp_path / "zero.safetensors", {"dirscope": '{"format": 1}'})
    save_file({PRE: np.ones((1, 4), np.float32)}, tmp_path / "later.safetensors", {"dirscope": '{"format": 9}'})
    save_file({PRE: np.ones((1, 4), np.float32)}, tmp_path / "torn.safetensors", {"dirscope": "[" * 100_000})
    save_file({PRE: np.ones((1, 2, 2), np.float32)}, tmp_path / "cube.safetensors", {"dirscope": '{"format": 1}'})
    cases = {
        foreign(tmp_path / "llama.gguf", {1: row}, arch="llama"): "general.architecture",
        foreign(tmp_path / "count.gguf", {1: row, 2: row}, count=31): "damaged or cut off",
        foreign(tmp_path / "first.gguf", {0: row}): "direction.0",
        foreign(tmp_path / "nan.gguf", {1: row * np.nan}): "NaN or infinity",
        raw("cut.gguf", whole[: len(whole) // 2]): "damaged",
        raw("empty.gguf", b""): "damaged",
        raw("pickle.gguf", pickle.dumps({"a": 1})): "damaged",
        raw("pickle.safetensors", pickle.dumps({"a": 1})): "damaged",
        tmp_path / "nan.safetensors": "NaN or infinity",
        tmp_path / "zero.safetensors": "nothing but zeros",
        tmp_path / "later.safetensors": "another format",
        tmp_path / "torn.safetensors": "damaged",
        tmp_path / "cube.safetensors": "no rows of vectors",
        tmp_path / "missing.gguf": "Cannot read",
    }
    for path, words in cases.items():
        with pytest.raises(DirectionError, match=words):
            read_vectors(path)


def test_damaged_gguf_files_never_crash_the_reader(tmp_path: Path) -> None:
    whole = foreign(tmp_path / "good.gguf", {1: np.ones(16, np.float32)}).read_bytes()
    rng = np.random.default_rng(0)
    file, refused = tmp_path / "bad.gguf", 0
    for _ in range(150):
        data = bytearray(whole)
        for at in rng.integers(0, len(data) // 2, 3):
            data[at] = rng.integers(256)
        file.write_bytes(data)
        try:
            read_vectors(file)
        except DirectionError:
            refused += 1
    assert refused > 50


def test_vectors_for_other_models_and_layers_are_refused(embedded: Model, tmp_path: Path) -> None:
    def drawn(made: VectorFile, **options: object) -> object:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.safetensors"
        write_vectors(path, made)
        recipe = parse_recipe(
            {"site": {"prompt": "x", "write": PRE}, "directions": [{"kind": "file", "path": str(path), **options}]}
        )
        lab = Laboratory(embedded, recipe, Workshop())
        return lab.draw(recipe.directions[0], lab.site, 0)

    made = vectors()
    with pytest.raises(DirectionError, match="other weights"):
        drawn(made)
    assert drawn(made, check="warn").detail["made_for"] == "embedded"
    mine = {**vars(made), "weights_sha256": embedded.weights_sha256}
    assert drawn(VectorFile(**mine)).detail["made"]["minus"] == "b"
    with pytest.raises(DirectionError, match="of type 'llama'"):
        drawn(VectorFile(**{**mine, "weights_sha256": "", "architecture": "llama"}))
    with pytest.raises(DirectionError, match="has 6 layers"):
        drawn(VectorFile(**{**mine, "rows": vectors(blocks__30__hook_resid_pre=1).rows}))
    with pytest.raises(DirectionError, match=r"set site\.write"):
        drawn(VectorFile(**{**mine, "rows": vectors(blocks__4__hook_resid_pre=1).rows}))
    with pytest.raises(DirectionError, match="d_hook 256"):
        drawn(VectorFile(**{**mine, "rows": vectors(64).rows}))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path(tmp_path / "exploded").touch, ())

    buffer = io.BytesIO()
    torch.save(Bomb(), buffer)
    for name in ("a.gguf", "a.safetensors"):
        (tmp_path / name).write_bytes(buffer.getvalue())
        with pytest.raises(DirectionError):
            read_vectors(tmp_path / name)
    assert not (tmp_path / "exploded").exists()
