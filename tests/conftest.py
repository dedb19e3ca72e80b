"""Shared fixtures: a private home, an offline Hub, the bundled model, a small random Llama, one whole run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

# Before torch is loaded: the tests start many processes, whose models are too small for a second thread to pay.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from engine.quiet import quiet_libraries

quiet_libraries()
os.environ["HF_HUB_OFFLINE"] = "1"

PROMPT = "Once upon a time, there was a little girl who"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start processes take longest: first, so that no worker is left alone with one at the end."""
    quick = Path(__file__).parent / "engine"
    items.sort(key=lambda item: quick in item.path.parents)


def _cached(folder: Path, shared: Path) -> None:
    """Have a home's caches be those of all tests."""
    shared.mkdir(exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "cache").exists():
        (folder / "cache").symlink_to(shared)


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the caches of all homes are."""
    global _SHARED
    _SHARED = tmp_path_factory.getbasetemp() / "cache"
    return _SHARED


_SHARED: Path | None = None


@pytest.fixture(autouse=True)
def home(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Nothing of the developer's own configuration or sessions is seen or touched; caches are shared by all tests."""
    folder = tmp_path_factory.mktemp("home")
    _cached(folder, shared_cache)
    monkeypatch.setenv("DIRSCOPE_HOME", str(folder))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty-hub"))
    return folder


@pytest.fixture(scope="session")
def embedded():
    """The bundled model, loaded once; read-only."""
    from engine.models import load_model
    from engine.recipe import ModelSection

    return load_model(ModelSection(device="cpu"))


@pytest.fixture(scope="session")
def llama_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama with random weights and the bundled tokenizer, as a local Hugging Face directory."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from engine.embedded import MODEL_DIR

    folder = tmp_path_factory.mktemp("llama")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        config = LlamaConfig(
            vocab_size=4096,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            bos_token_id=0,
            eos_token_id=0,
            initializer_range=0.15,  # strong enough that a perturbation moves the output by nats
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(MODEL_DIR).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def llama(llama_dir: Path):
    """The same, loaded."""
    from engine.models import load_model
    from engine.recipe import ModelSection

    return load_model(ModelSection(name=str(llama_dir), device="cpu"))


def command(
    *words: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would, from another directory, in a process of its own."""
    if env and "DIRSCOPE_HOME" in env and _SHARED is not None:
        _cached(Path(env["DIRSCOPE_HOME"]), _SHARED)
    return subprocess.run(
        [sys.executable, "-m", "tui", *words],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


RECIPE = f"""
[site]
prompt = "{PROMPT}"
read = ["blocks.3.hook_resid_pre", "blocks.5.hook_resid_post"]

[path]
steps = 20

[metrics]
extra = ["js", "top1_flip"]

[[directions]]
kind = "random"
count = 2

[[directions]]
kind = "real-other"
count = 2

[[directions]]
kind = "isotropic"
count = 2

[[directions]]
kind = "sae-feature"
count = 1

[[directions]]
kind = "steering"
plus = "She was very happy"
minus = "She was very sad"
"""


def whole_run(place: Path, recipe: str) -> Path:
    """A batch run that nothing happens to, made by the command with a home of its own."""
    (place / "recipe.toml").write_text(recipe)
    done = command("--batch", "recipe.toml", "--out", "out", cwd=place, env={"DIRSCOPE_HOME": str(place / "home")})
    assert done.returncode == 0, done.stderr
    return place / "out"


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole batch run of the bundled model; read-only."""
    return whole_run(tmp_path_factory.mktemp("run"), RECIPE)
