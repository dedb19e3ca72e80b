"""What the command imports, and what it says of itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import command

HEAVY = ("torch", "transformers", "transformer_lens", "sae_lens")


def modules_after(code: str) -> set[str]:
    """Names of the modules a fresh interpreter has after running some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    ["tui.cli", "tui.app", "tui.screens.probe", "sessions.batch", "sessions.verify", "engine.recipe", "engine"],
)
def test_the_terminal_process_imports_no_torch(module: str) -> None:
    assert not modules_after(f"import {module}") & set(HEAVY)


def test_batch_imports_no_terminal_library() -> None:
    loaded = modules_after(
        "import sys, tui.cli\ntry:\n    tui.cli.main(['--batch', 'no-such-recipe'])\nexcept SystemExit:\n    pass"
    )
    assert "sessions.batch" in loaded
    assert not loaded & {"textual", "rich", "plotext", *HEAVY}


def test_without_a_cluster_nothing_of_one_is_imported() -> None:
    code = (
        "import sessions.batch, tui.bridge\nfrom engine.client import any_worker\n"
        "from engine.worker import WorkerOptions\n"
    )
    assert not [name for name in modules_after(code + "any_worker(WorkerOptions())") if is_of_a_cluster(name)]
    # Ray itself is imported when a cluster is connected to.
    other = modules_after(code + "any_worker(WorkerOptions(cluster='auto'))")
    assert {name for name in other if is_of_a_cluster(name)} >= {"engine.cluster", "engine.cluster.client"}
    assert not other & {"ray", *HEAVY}


def is_of_a_cluster(module: str) -> bool:
    return module.split(".")[0] == "ray" or module.startswith("engine.cluster")


def test_help_pays_for_argparse_alone() -> None:
    loaded = modules_after("import tui.cli\ntry:\n    tui.cli.main(['--help'])\nexcept SystemExit:\n    pass")
    assert not loaded & {"numpy", "pydantic", "pyarrow", "textual", *HEAVY}


def test_help_names_commands_and_exit_codes(tmp_path: Path) -> None:
    text = command("--help", cwd=tmp_path).stdout
    for word in ("replay", "export", "--batch", "quickstart", "plateaus", "sensitive-directions", "130 interrupted"):
        assert word in text


def test_the_app_asks_for_a_terminal(tmp_path: Path) -> None:
    done = command(cwd=tmp_path)
    assert done.returncode == 2
    assert "--batch" in done.stderr


def test_version_is_that_of_the_distribution(tmp_path: Path) -> None:
    from importlib.metadata import version

    assert command("--version", cwd=tmp_path).stdout.strip() == f"dirscope {version('dirscope')}"


def test_built_in_recipes_named_in_the_help_are_there() -> None:
    from sessions.batch import builtin_names, find_recipe
    from tui.arguments import EPILOG

    assert ", ".join(builtin_names()) in " ".join(EPILOG.split())
    for name in builtin_names():
        assert find_recipe(name, []).experiment


@pytest.mark.parametrize("text", ["🐱 cat", 'a "quoted" \\ word', "café\tbar", "שלום"])
def test_a_prompt_on_the_command_line_is_the_prompt(text: str) -> None:
    from engine.recipe import parse_recipe, with_overrides
    from tui.arguments import main_parser
    from tui.commands import shorthand

    arguments = main_parser().parse_args(["--prompt", text])
    recipe = parse_recipe(with_overrides({"site": {"prompt": "x"}}, shorthand(arguments)))
    assert recipe.site.prompt == text
