"""The configuration: what the app starts with and how it looks. Flag > environment > project > user > default.

The project's file is the nearest `dirscope.toml` from the working directory upwards, the user's is `config.toml` where
`dirscope paths` says. Recipes are not configured: a batch run is its recipe and nothing else. Knows files and the
environment; no terminal.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.durable import make_private, private
from engine.errors import UsageError, did_you_mean
from engine.recipe import parse_toml
from engine.silence import PATIENCE
from sessions.paths import places

PROJECT_FILE: Final = "dirscope.toml"
PREFIX: Final = "DIRSCOPE_"
OTHERS: Final = ("DIRSCOPE_HOME", "DIRSCOPE_CONFIG")
"""Variables that are no settings: where everything lives, and which file is the user's configuration."""


class Config(BaseModel):
    """Every setting."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str | None = Field(None, min_length=1, description="the model that the app starts with")
    device: str | None = Field(None, min_length=1, description="auto, cpu, cuda, cuda:N or mps")
    sae: str | None = Field(
        None, min_length=1, description="RELEASE[:SAE_ID]: 'bundled', a directory or a sae-lens release"
    )
    theme: str = Field("textual-dark", description="a theme by name: dirscope config --themes lists them")
    mouse: bool = Field(True, description="whether the app takes the mouse; false leaves it to the terminal")
    ascii: bool = Field(False, description="draw without braille and blocks")
    clipboard: Literal["osc52", "file", "off"] = Field(
        "osc52", description="osc52 (the terminal's clipboard, and a file), file, or off"
    )
    patience: float = Field(
        PATIENCE, gt=0, allow_inf_nan=False, description="seconds of silence after which a computing worker is replaced"
    )
    cluster: str | None = Field(
        None, min_length=1, description="a Ray cluster that computes in place of this machine: auto, local or HOST:PORT"
    )
    hints: bool = Field(True, description="whether a first start shows a line of hints")
    keys: dict[str, str] = Field(default_factory=dict, description="a table of keys by the id of what they do")


EXAMPLES: Final = {"model": "embedded", "device": "auto", "sae": "bundled", "cluster": "auto"}
"""What a template shows of settings that have no default."""


@dataclass(frozen=True)
class Setting:
    """One setting in force."""

    name: str
    value: Any
    source: str
    """Who set it: a flag, a variable, a file, or `default`."""


@dataclass(frozen=True)
class Settings:
    """Everything in force, and who set it."""

    config: Config
    rows: tuple[Setting, ...]


def settings(flags: Mapping[str, Any] | None = None, folder: Path | None = None) -> Settings:
    """What is in force.

    Args:
        flags: settings given on the command line, by name; None where one was not given.
        folder: where the project's file is looked for, upwards; the working directory without one.

    Raises:
        UsageError: A file or variable has an unknown name or a wrong value; it is named.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, found in _layers(flags or {}, folder or Path.cwd()):
        for name, value in found.items():
            if name == "keys":  # of several files, each adds its own
                keys = values.setdefault("keys", {})
                for action, key in value.items():
                    keys[action] = key
                    sources[f"keys.{action}"] = source
            else:
                values[name], sources[name] = value, source
    config = Config(**values)
    rows = [
        Setting(name, getattr(config, name), sources.get(name, "default"))
        for name in Config.model_fields
        if name != "keys"
    ]
    rows += [Setting(f"keys.{action}", key, sources[f"keys.{action}"]) for action, key in config.keys.items()]
    return Settings(config, tuple(rows))


def user_file() -> Path:
    """The user's configuration; `DIRSCOPE_CONFIG` names another."""
    named = os.environ.get("DIRSCOPE_CONFIG")
    return Path(named).expanduser() if named else places().config


def project_file(folder: Path) -> Path | None:
    """The nearest configuration of a project, upwards."""
    return next((p / PROJECT_FILE for p in (folder, *folder.parents) if (p / PROJECT_FILE).is_file()), None)


def _layers(flags: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each source with its checked values, the weakest first."""
    user = user_file()
    if user.is_file():
        yield str(user), _of_file(user)
    elif os.environ.get("DIRSCOPE_CONFIG"):
        raise UsageError(f"DIRSCOPE_CONFIG names {user}, which is not there: create it or unset the variable.")
    project = project_file(folder)
    if project is not None:
        yield str(project), _of_file(project)
    yield from _of_environment()
    for name, value in flags.items():
        if value is not None:
            yield f"--{'no-mouse' if name == 'mouse' else name}", _checked({name: value}, f"--{name}")


def _of_file(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read the configuration {file}: {error}.") from None
    return _checked(parse_toml(text, str(file), 'theme = "textual-light"'), str(file))


def _of_environment() -> Iterator[tuple[str, dict[str, Any]]]:
    known = {f"{PREFIX}{name.upper()}": name for name in Config.model_fields if name != "keys"}
    for variable, text in sorted(os.environ.items()):
        if not variable.startswith(PREFIX) or variable in OTHERS or not text:
            continue
        if variable not in known:
            raise UsageError(f"Unknown variable {variable}{did_you_mean(variable, [*known, *OTHERS])}")
        name = known[variable]
        value: Any = text
        if Config.model_fields[name].annotation is bool:
            word = text.strip().lower()
            if word not in ("1", "0", "true", "false"):
                raise UsageError(f"{variable} must be true or false; got {text!r}.")
            value = word in ("1", "true")
        elif Config.model_fields[name].annotation is float:
            with contextlib.suppress(ValueError):  # what is no number is refused as such
                value = float(text)
        yield variable, _checked({name: value}, variable)


def _checked(found: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The values themselves, once they are settings."""
    try:
        Config(**found)
    except ValidationError as error:
        raise UsageError(_sentence(error, source, found)) from None
    return dict(found)


def _sentence(error: ValidationError, source: str, found: Mapping[str, Any]) -> str:
    fault = error.errors()[0]
    name = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden":
        return f"In {source}: unknown setting '{name}'{did_you_mean(name, list(Config.model_fields))}"
    where = ".".join(str(part) for part in fault["loc"])
    return f"In {source}: {where} must be {Config.model_fields[name].description}; got {fault.get('input')!r}."


def write_template(file: Path) -> Path:
    """Write a file that has every setting, commented out, with what it means.

    Raises:
        UsageError: There is one already, or it cannot be written.
    """
    lines = ["# Settings of dirscope. dirscope config --explain says what is in force, and who set it.", ""]
    for name, field in Config.model_fields.items():
        lines.append(f"# {field.description}")
        default = EXAMPLES.get(name, field.default)
        lines += ["# [keys]", '# pin = "f6"'] if name == "keys" else [f"# {name} = {_toml(default)}", ""]
    try:
        make_private(file.parent)
        with os.fdopen(private(file, os.O_WRONLY | os.O_EXCL), "w", encoding="utf-8") as handle:
            handle.write("\n".join(lines) + "\n")
    except FileExistsError:
        raise UsageError(f"{file} is there already: edit that.") from None
    except OSError as error:
        raise UsageError(f"Cannot write {file} ({error.strerror or error}).") from None
    return file


def explained(rows: Sequence[Setting]) -> list[str]:
    """A line for each setting: its value, and who set it."""
    wide = max(len(row.name) for row in rows)
    return [f"{row.name:<{wide}}  {told(row.value):<24} {row.source}" for row in rows]


def told(value: Any) -> str:
    """A value as it stands in a file; what is not set says so."""
    return "(not set)" if value is None else _toml(value)


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
