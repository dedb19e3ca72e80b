"""Settings: who wins, who is named, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from engine.errors import UsageError
from sessions.config import Config, explained, settings, write_template


def test_flag_beats_environment_beats_project_beats_user_beats_default(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project" / "deep"
    project.mkdir(parents=True)

    def in_force(**flags: object) -> tuple[str, str]:
        row = next(r for r in settings(flags, project).rows if r.name == "theme")
        return row.value, row.source

    assert in_force() == (Config().theme, "default")
    (home / "config.toml").write_text('theme = "nord"\nascii = true')
    assert in_force() == ("nord", str(home / "config.toml"))
    (tmp_path / "project" / "dirscope.toml").write_text('theme = "gruvbox"')
    assert in_force() == ("gruvbox", str(tmp_path / "project" / "dirscope.toml"))
    monkeypatch.setenv("DIRSCOPE_THEME", "monokai")
    assert in_force() == ("monokai", "DIRSCOPE_THEME")
    assert in_force(theme="dracula") == ("dracula", "--theme")
    assert settings({}, project).config.ascii is True, "what the stronger leaves alone stays"


def test_keys_of_several_files_come_together(home: Path, tmp_path: Path) -> None:
    (home / "config.toml").write_text('[keys]\npin = "f6"\nundo = "f7"')
    (tmp_path / "dirscope.toml").write_text('[keys]\nundo = "f8"')
    found = settings({}, tmp_path)
    assert found.config.keys == {"pin": "f6", "undo": "f8"}
    assert any(line.startswith("keys.undo") and line.endswith("dirscope.toml") for line in explained(found.rows))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("thme = 1", "unknown setting 'thme'; did you mean 'theme'"),
        ("mouse = 1", "mouse must be whether"),
        ('clipboard = "x11"', "clipboard must be osc52"),
        ("keys = 3", "keys must be a table"),
        ("[keys]\npin = 3", "keys.pin must be"),
        ("theme = ", "is not TOML"),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(home: Path, tmp_path: Path, text: str, said: str) -> None:
    (home / "config.toml").write_text(text)
    with pytest.raises(UsageError) as error:
        settings({}, tmp_path)
    assert said in str(error.value)
    assert str(home / "config.toml") in str(error.value)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("DIRSCOPE_MODLE", "gpt2", "did you mean 'DIRSCOPE_MODEL'"),
        ("DIRSCOPE_MOUSE", "perhaps", "must be true or false"),
        ("DIRSCOPE_CONFIG", "/nowhere/config.toml", "is not there"),
    ],
)
def test_a_wrong_variable_is_named(
    variable: str, value: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=said):
        settings({}, tmp_path)


def test_the_template_has_every_setting_and_changes_none(home: Path, tmp_path: Path) -> None:
    file = write_template(home / "config.toml")
    assert settings({}, tmp_path).config == Config()
    uncommented = "\n".join(
        line.removeprefix("# ") for line in file.read_text().splitlines() if " = " in line or "[keys]" in line
    )
    assert set(tomllib.loads(uncommented)) == set(Config.model_fields)
    with pytest.raises(UsageError, match="there already"):
        write_template(file)
