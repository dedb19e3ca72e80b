"""Make the reference pages of `docs/` from the code: `python -m scripts.reference [FOLDER]`.

Keys from the bindings, recipe keys and kinds from the models that check recipes, settings from the configuration,
commands from the parsers. Nothing in them is written by hand, so nothing can drift; a test holds them in step.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from engine.bases import BASES
from engine.directions import DIRECTIONS
from engine.experiments import EXPERIMENTS
from engine.recipe import Recipe
from sessions.config import PREFIX, Config, told
from tui.arguments import SUBCOMMANDS, main_parser, sub_parser
from tui.keys import every_binding

FOLDER = Path(__file__).parents[1] / "docs"
MADE = "<!-- made by scripts/reference.py -->"
SIGNS = {
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "left_curly_bracket": "{",
    "right_curly_bracket": "}",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "question_mark": "?",
    "full_stop": ".",
    "comma": ",",
    "slash": "/",
    "plus": "+",
    "minus": "-",
    "equals_sign": "=",
    "left": "←",
    "right": "→",
    "up": "↑",
    "down": "↓",
    "escape": "esc",
}


def keys() -> str:
    """Every key, by where it works."""
    lines = [
        "# Keys",
        "",
        MADE,
        "",
        "Every action has an id, by which `[keys]` of the configuration gives it other keys:",
        "",
        "```toml",
        "[keys]",
        'pin = "f6"           # several: "f6,ctrl+g"',
        "```",
        "",
        "`ctrl+q` quits on every screen and cannot be given away; `ctrl+p` has everything by name.",
    ]
    place = ""
    for where, binding in every_binding():
        if where != place:
            place = where
            lines += ["", f"## {where[0].upper()}{where[1:]}", "", "| key | id | does |", "|---|---|---|"]
        shown = " ".join(f"`{SIGNS.get(k, k)}`" for k in binding.key.split(","))
        lines.append(f"| {shown} | `{binding.id}` | {_cell(binding.tooltip or binding.description)} |")
    return "\n".join(lines) + "\n"


def recipe() -> str:
    """Every key of a recipe."""
    lines = [
        "# Recipes",
        "",
        MADE,
        "",
        "A recipe is TOML. Only `site.prompt` is required; what is left out has the default shown. Unknown keys, wrong",
        "types and values out of range are refused by name. `--set section.key=value` overrides any of them.",
        "",
    ]
    plain = {name: f for name, f in Recipe.model_fields.items() if not _section(f.annotation)}
    lines += ["## At the top", "", *_table({n: f for n, f in plain.items() if n in ("experiment", "seed")})]
    for name, found in Recipe.model_fields.items():
        section = _section(found.annotation)
        if section is not None:
            lines += ["", f"## [{name}]", "", _first(section), "", *_table(section.model_fields)]
    lines += ["", "## [[bases]]", "", "Where a push starts; see [kinds](kinds.md).", ""]
    lines += ["## [[directions]]", "", "Where it goes; see [kinds](kinds.md).", ""]
    lines += ["## [[expect]]", "", "| key | must be |", "|---|---|"]
    lines += ["| `check` | an expression such as `median(threshold, 'random') < 9`; exit code 1 when one is false |"]
    lines += ["", "## [options]", "", "What only one experiment knows."]
    for experiment in sorted(EXPERIMENTS.values(), key=lambda e: e.name):
        lines += ["", f"### {experiment.name}", "", f"{_sentence(experiment.summary)}"]
        if experiment.options.model_fields:
            lines += ["", *_table(experiment.options.model_fields)]
    return "\n".join(lines) + "\n"


def kinds() -> str:
    """Every kind of direction and of base."""
    lines = [
        "# Kinds of direction and of base",
        "",
        MADE,
        "",
        "## Directions",
        "",
        "`[[directions]]` with a `kind`; `count` is how many. Default contrasts stay within one family: *toward* is a",
        "target minus the base, *along* a vector in its own right.",
    ]
    for kind in sorted(DIRECTIONS.values(), key=lambda k: k.name):
        sae = ", needs an SAE" if kind.needs_sae else ""
        lines += ["", f"### {kind.name}", "", f"{_sentence(kind.summary)} Family: {kind.family}{sae}.", ""]
        lines += _table({n: f for n, f in kind.spec.model_fields.items() if n != "kind"})
        if kind.example:
            lines += ["", "```toml", "[[directions]]", f'kind = "{kind.name}"', *kind.example.splitlines(), "```"]
    lines += ["", "## Bases", "", "`[[bases]]` with a `kind`; `count` is how many."]
    for base in sorted(BASES.values(), key=lambda k: k.name):
        sae = " Needs an SAE." if base.needs_sae else ""
        lines += ["", f"### {base.name}", "", f"{_sentence(base.summary)}{sae}", ""]
        lines += _table({n: f for n, f in base.spec.model_fields.items() if n != "kind"})
    return "\n".join(lines) + "\n"


def command() -> str:
    """What the command takes, and its settings."""
    lines = ["# The command", "", MADE, "", "## dirscope", "", *_flags(main_parser())]
    for name, (said, example, _) in SUBCOMMANDS.items():
        lines += ["", f"## dirscope {name}", "", said, "", f"    {example}", "", *_flags(sub_parser(name))]
    lines += [
        "",
        "## Settings",
        "",
        "Flag > environment > `dirscope.toml` of the project > `config.toml` of the user > default. `dirscope config",
        "--explain` says what is in force and who set it; `--init` writes a file to start from.",
        "",
        "| setting | variable | default | means |",
        "|---|---|---|---|",
    ]
    for name, field in Config.model_fields.items():
        variable = "" if name == "keys" else f"`{PREFIX}{name.upper()}`"
        default = "" if name == "keys" else f"`{told(field.default)}`"
        lines.append(f"| `{name}` | {variable} | {default} | {_cell(field.description or '')} |")
    return "\n".join(lines) + "\n"


def _flags(parser: argparse.ArgumentParser) -> Iterable[str]:
    """A row for each flag; the parser's own text differs between versions of Python."""
    yield "| takes | does |"
    yield "|---|---|"
    for action in parser._actions:
        if action.dest == "help":
            continue
        value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else "")
        value = "" if action.nargs == 0 else str(value or action.dest.upper())
        shown = " ".join([*action.option_strings[:1], *([value] if value else [])])
        yield f"| `{_cell(shown)}` | {_cell(action.help or '')} |"


PAGES = {"keys.md": keys, "recipe.md": recipe, "kinds.md": kinds, "command.md": command}
"""File names and what makes them."""


def _section(annotation: Any) -> type[BaseModel] | None:
    inner = (annotation, *get_args(annotation))  # one that may be missing too
    models = (t for t in inner if isinstance(t, type) and issubclass(t, BaseModel))
    return next((model for model in models if model.__name__.endswith("Section")), None)


def _first(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith(('.', '?')) else '.'}"


def _table(fields: Mapping[str, Any]) -> Iterable[str]:
    yield "| key | default | must be |"
    yield "|---|---|---|"
    for name, field in fields.items():
        default = "required" if field.is_required() else _default(field.get_default(call_default_factory=True))
        yield f"| `{name}` | {default} | {_cell(field.description or '')} |"


def _default(value: Any) -> str:
    if value is None:
        return ""
    return f"`{value.model_dump() if isinstance(value, BaseModel) else _toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return f"[{', '.join(_toml(v) for v in value)}]" if isinstance(value, tuple | list) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
