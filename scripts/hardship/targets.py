"""What reads files, and sound files of each sort to be spoiled.

Knows the program's readers; judges nothing.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import struct
import zipfile
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import sae_lens  # noqa: F401  (its imports write temporary files, once)
from safetensors.numpy import save_file

from engine.embedded import MODEL_DIR, SAES_DIR
from engine.errors import DirscopeError
from engine.expect import parse_check
from engine.models import load_model
from engine.printable import printable
from engine.quiet import quiet_libraries
from engine.recipe import ModelSection, PopulationSection, SaeSection, parse_recipe, parse_toml, with_overrides
from engine.steering.interchange import VectorFile, read_vectors, write_vectors
from engine.texts import read_texts
from scripts.hardship.fuzz import Target
from scripts.hardship.mutation import ODD, spoil_bytes, spoil_tree
from sessions import archive, bookmarks, catalogue, config, housekeeping
from sessions.blind import verdict_of
from sessions.export import Part, export
from sessions.reader import read_run
from sessions.store import RunWriter
from sessions.summary import digest_of, summary_text
from tui.player import Player


def _spoiled(data: bytes, draw: random.Random) -> bytes:
    """A JSON or any other text or file, spoiled as a tree where it is one, or as bytes."""
    if draw.random() < 0.6:
        with contextlib.suppress(ValueError, RecursionError):
            return json.dumps(spoil_tree(json.loads(data), draw)).encode("utf-8", "surrogatepass")
    return spoil_bytes(data, draw)


def _spoil_line(data: bytes, draw: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = draw.randrange(max(1, len(lines) - 1))
    lines[at] = _spoiled(lines[at], draw)
    return b"\n".join(lines)


def targets(place: Path) -> dict[str, tuple[Target, float]]:
    """By name: what reads it, and its share of the trials.

    Args:
        place: where the sound files are made.
    """
    quiet_libraries()
    place.mkdir(parents=True)
    run = _sound_run(place)
    recipes = [
        f.read_bytes() for f in sorted((resources.files("sessions") / "recipes").iterdir(), key=lambda f: f.name)
    ]
    archive.pack(run, place / "sound.dirscope.zip")
    zipped = (place / "sound.dirscope.zip").read_bytes()
    model = load_model(ModelSection(device="cpu"))
    rows = {"blocks.3.hook_resid_pre": np.ones((1, 256), np.float32)}
    for suffix in ("safetensors", "gguf"):
        write_vectors(place / f"v.{suffix}", VectorFile(rows, architecture="gpt2", label="a vector"))
    np.save(place / "v.npy", np.ones(256, np.float32))
    save_file(rows, place / "plain.safetensors")
    sae = next(p.parent for p in sorted(Path(SAES_DIR).rglob("cfg.json")))
    from engine.dictionaries.loading import load_sae
    from engine.directions.file import _array, _bytes
    from engine.hooks import parse_hook

    def a_recipe(room: Path, draw: random.Random) -> str:
        data = draw.choice(recipes)
        if draw.random() < 0.5:
            tree = parse_toml(data.decode(), "sound")
            return parse_recipe(spoil_tree(tree, draw)).toml() and ""
        file = room / "r.toml"
        file.write_bytes(spoil_bytes(data, draw))
        from engine.recipe import read_recipe

        read_recipe(file)
        return ""

    def an_override(room: Path, draw: random.Random) -> str:
        word = draw.choice(
            ["path.steps=5", "directions.0.count=4", "site.prompt='a'", "model.name=x", "seed=1", "expect=[]"]
        )
        spoiled = spoil_bytes(word.encode(), draw).decode("utf-8", "replace")
        parse_recipe(with_overrides({"site": {"prompt": "One"}, "directions": [{"kind": "random"}]}, [spoiled[:3000]]))
        return ""

    def an_expectation(room: Path, draw: random.Random) -> str:
        word = draw.choice([
            "median(threshold, 'random') < median(threshold, 'isotropic')", "win_rate('random', 'isotropic') > 0.5",
            "quantile(0.9, threshold, 'random') < 3", "ci_low(win_rate('a','b')) > 0.5", "n('random') > 5",
        ])  # fmt: skip
        parse_check(spoil_bytes(word.encode(), draw).decode("utf-8", "replace"))
        return ""

    def a_run(room: Path, draw: random.Random) -> str:
        folder = room / "sessions" / "run"
        shutil.copytree(run, folder)
        for name in draw.sample(["events.jsonl"] * 4 + ["run.json", "recipe.toml", "title.json", "bookmarks.json"], 1):
            file = folder / name
            before = file.read_bytes() if file.exists() else b'{"title": "a", "bookmarks": []}'
            file.write_bytes((_spoil_line if name == "events.jsonl" else _spoiled)(before, draw))
        said = [e.name + e.title + e.prompt + e.status + e.model for e in catalogue.entries(room / "sessions")]
        bookmarks.bookmarks(folder)
        found = read_run(folder)
        said += [printable(line) for line in catalogue.show(folder)[:1]] + catalogue.show(folder)[1:]
        said += [*digest_of(found), summary_text(found, [], "text")]
        player = Player([folder], 1e9)
        player.due()
        for form in draw.sample(["csv", "jsonl", "md", "py", "parquet"], 2):
            with contextlib.suppress(DirscopeError):
                export(folder, form, room / f"x.{form}", Part())
        if (room / "x.py").exists():
            compile((room / "x.py").read_text(), "x.py", "exec")
        if draw.random() < 0.2:
            with contextlib.suppress(DirscopeError):
                RunWriter.repair(folder) if found.status == "done" else RunWriter.resume(folder).close()
        return "\n".join(said)

    def a_session(room: Path, draw: random.Random) -> str:
        sessions = room / "sessions"
        shutil.copytree(run, sessions / "s" / "runs" / "0001")
        head = b'{"schema_version": 1, "title": "t", "created": "2026-01-01"}'
        (sessions / "s" / "session.json").write_bytes(_spoiled(head, draw))
        for name, sound in (("answer.json", b'{"real": ["A"]}'), ("title.json", b'{"title": "t"}')):
            (sessions / "s" / "runs" / "0001" / name).write_bytes(_spoiled(sound, draw))
        said = [e.name + e.title + e.prompt + e.status for e in catalogue.entries(sessions)]
        with contextlib.suppress(DirscopeError):
            verdict_of(sessions / "s" / "runs" / "0001")
        with contextlib.suppress(DirscopeError):
            housekeeping.remove("s", sessions, room / "trash")
        name = draw.choice(["..", "../x", ".", "~", "s", "", "/etc", "a/b", "\0", "x" * 5000, "s\n"])
        housekeeping.remove(name, sessions, room / "trash")
        return "\n".join(said)

    def an_archive(room: Path, draw: random.Random) -> str:
        file = room / "a.dirscope.zip"
        if draw.random() < 0.5:
            file.write_bytes(spoil_bytes(zipped, draw))
        else:
            _repacked(zipped, file, draw)
        return archive.unpack(file, room / "sessions").name

    def a_vector(room: Path, draw: random.Random) -> str:
        source = draw.choice([*sorted(place.glob("v.*")), place / "plain.safetensors"])
        file = room / f"v{source.suffix}"
        file.write_bytes(_spoiled_safetensors(source.read_bytes(), draw))
        if source.suffix != ".npy" and draw.random() < 0.6:
            read_vectors(file)
        else:
            _array(
                file, _bytes(file), draw.choice([None, "x", "blocks.3.hook_resid_pre"]) if draw.random() < 0.3 else None
            )
        return ""

    def an_sae(room: Path, draw: random.Random) -> str:
        folder = room / "sae"
        shutil.copytree(sae, folder)
        file = draw.choice(sorted(f for f in folder.iterdir() if f.suffix in (".json", ".safetensors")))
        whole = file.read_bytes()
        file.write_bytes(_spoiled(whole, draw) if file.suffix == ".json" else _spoiled_safetensors(whole, draw))
        hook = parse_hook("blocks.1.hook_resid_pre", model.n_layers)
        load_sae(SaeSection(release=str(folder)), model, hook, lambda text: None)
        return ""

    def a_model(room: Path, draw: random.Random) -> str:
        folder = room / "model"
        shutil.copytree(MODEL_DIR, folder)
        file = draw.choice(sorted(f for f in folder.iterdir() if f.suffix in (".json", ".safetensors", ".txt")))
        whole = file.read_bytes()
        if file.name == "config.json" and draw.random() < 0.3:
            tree = json.loads(whole) | {"auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
            tree |= draw.choice([{}, {"model_type": "evil"}, {"architectures": ["Evil"]}])
            (folder / "evil.py").write_text("open('/tmp/evil', 'w')\nclass Config: pass\nclass Model: pass\n")
            file.write_text(json.dumps(tree))
        elif file.suffix == ".safetensors":
            file.write_bytes(_spoiled_safetensors(whole, draw))
        else:
            file.write_bytes(_spoiled(whole, draw))
        load_model(ModelSection(name=str(folder), device="cpu"))
        return ""

    def settings(room: Path, draw: random.Random) -> str:
        file = room / "dirscope.toml"
        sound = b'theme = "textual-light"\nmouse = true\npatience = 30\n[keys]\npin = "f6"\n'
        file.write_bytes(spoil_bytes(sound, draw))
        config._of_file(file)
        return ""

    def texts(room: Path, draw: random.Random) -> str:
        file = room / "texts.txt"
        file.write_bytes(spoil_bytes(b"One day a cat sat.\n\nTwo dogs ran.\n" * 50, draw))
        read_texts(PopulationSection(prompts=str(file)), model, 20, room / "cache", lambda text: None)
        return ""

    return {
        "recipe": (a_recipe, 5),
        "override": (an_override, 2),
        "expectation": (an_expectation, 2),
        "run folder": (a_run, 6),
        "session": (a_session, 2),
        "archive": (an_archive, 3),
        "vector file": (a_vector, 3),
        "SAE": (an_sae, 0.3),
        "model": (a_model, 0.1),
        "settings": (settings, 2),
        "texts": (texts, 0.5),
    }


def _spoiled_safetensors(whole: bytes, draw: random.Random) -> bytes:
    """Its header as a tree, its length, or any byte near the start: what lies behind are numbers."""
    if whole[:6] == b"\x93NUMPY" or whole[:4] == b"GGUF" or draw.random() < 0.4:
        head = min(len(whole), 3000)
        return spoil_bytes(whole[:head], draw) + whole[head:]
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.dumps(spoil_tree(json.loads(whole[8 : 8 + length]), draw)).encode("utf-8", "surrogatepass")
    told = len(header) if draw.random() < 0.8 else draw.choice([0, 1, 2**63, 2**64 - 1, len(header) + 9])
    return struct.pack("<Q", told) + header + whole[8 + length :]


def _repacked(zipped: bytes, file: Path, draw: random.Random) -> None:
    """The same entries with a spoiled name, content, manifest or sort."""
    names = [
        "../x",
        "/tmp/x",
        "runs/../../x",
        "a\\..\\x",
        "C:x",
        "runs/0001/../../../x",
        "\x1b[2J.json",
        "x" * 5000,
        "tables/é",
    ]
    with zipfile.ZipFile(io.BytesIO(zipped)) as read, zipfile.ZipFile(file, "w") as write:
        entries = {info.filename: read.read(info) for info in read.infolist()}
        victim = draw.choice(sorted(entries))
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            held: Any = data
            if name == victim:
                match draw.randrange(5):
                    case 0:
                        info.filename = draw.choice(names)
                    case 1:
                        held = _spoiled(data, draw)
                    case 2:
                        info.external_attr = 0o120777 << 16
                        held = b"/etc/passwd"
                    case 3:
                        continue
                    case 4:
                        info.compress_type = draw.choice([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED])
            write.writestr(info, held)
        if draw.random() < 0.3:
            write.writestr(draw.choice(names), str(draw.choice(ODD)).encode("utf-8", "replace"))


def _sound_run(place: Path) -> Path:
    """A whole run with curves, tokens and a table."""
    from engine.results import Note, RowResult, RunEnded, RunStarted
    from tests.sessions.test_store import INFO, RECIPE, base, curve

    writer = RunWriter.create(place / "run", RECIPE)
    info = {
        **INFO,
        "warnings": ["mind the gap"],
        "typical_distance": 9.0,
        "level": 0.5,
        "path": {"mode": "straight", "unit": "L2", "steps": 3, "stop": 3.0},
        "site": {
            "prompt": "One day", "token_ids": [0, 5, 6], "tokens": ["<s>", "One", " day"], "position": 2,
            "read_position": 2, "write": "blocks.1.hook_resid_pre", "read": ["blocks.5.hook_resid_post"],
            "basis": "raw",
        },
    }  # fmt: skip
    for event in (
        RunStarted(info),
        Note("hm", "warning"),
        base(),
        curve(0),
        curve(1),
        RowResult("grid", {"x": 1.0, "y": 2}),
    ):
        writer.write(event)
    return writer.finish(RunEnded("done")).folder
