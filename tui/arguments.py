"""What the `dirscope` command takes: its parsers, grouped, with an example per mode. Imports argparse alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

EPILOG: Final = """\
commands (dirscope COMMAND --help has an example of each):
  dirscope replay RUN|SESSION [--verify]        play a run back (no model needed), or compute it again and compare
  dirscope answer RUN --real A,C,...            answer a blind test: opens its seal and scores you
  dirscope export RUN --format FORMAT --out FILE    csv, parquet, jsonl, md, svg, png or py
  dirscope sessions list|show|rename|rm|restore|share|open   what is kept
  dirscope vectors list|show|save|import|export|rm  the library of steering vectors
  dirscope config --explain | paths | doctor    settings and who set them, where files live, what works here
  dirscope bench | completion bash|zsh|tcsh     the engine against naive ways; completion for your shell

examples:
  dirscope --prompt "Once upon a time, there was a little girl who"       the app
  dirscope --model gpt2 --sae gpt2-small-res-jb:blocks.1.hook_resid_pre   the app on another model with an SAE
  dirscope 20260101-120000-embedded                                       the app on a kept session
  dirscope --batch quickstart                                             a built-in recipe, no terminal
  dirscope --batch recipe.toml --out run --set directions.0.count=4 --format json
  dirscope vectors export mine --out mine.gguf

built-in recipes: base-kinds, blind-test, combine-features, decompose, gpt2-plateaus, gpt2-sae-error,
  gpt2-sensitive, gpt2-synthetic, gpt2-xl-anger, gpt2-xl-wedding, interaction, kinds, ladder, late-layer,
  layers, local-optimum, mechanism, mixtures, natural-variation, plane, plateaus, plateaus-untrained,
  propagation, quickstart, rank-features, sae-error, sae-fidelity, search, sensitive-directions, steering,
  synthetic, triangle
exit codes: 0 done, 1 the run or an expectation failed, 2 wrong usage or recipe, 3 model, device or SAE not loaded,
  4 time limit, 5 out of memory, 130 interrupted
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        print(f"dirscope: {message}. See {self.prog} --help.", file=sys.stderr)
        raise SystemExit(2)


def main_parser() -> argparse.ArgumentParser:
    """The app, and batch."""
    parser = Parser(
        prog="dirscope",
        description="An oscilloscope for directions in a language model's activation space.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("session", nargs="?", metavar="SESSION", help="open this session or run in the app")
    _fill_main(parser)
    return parser


def _fill_main(parser: argparse.ArgumentParser) -> None:
    app = parser.add_argument_group("the terminal app")
    app.add_argument("--model", metavar="M", help="'embedded', a Hugging Face directory or id (default: embedded)")
    app.add_argument("--prompt", metavar="TEXT", help="the prompt to start with")
    app.add_argument("--position", metavar="N", type=int, help="token index of the base, negative from the end")
    app.add_argument("--write", metavar="HOOK", help="where to perturb (default: blocks.1.hook_resid_pre)")
    app.add_argument("--sae", metavar="S", help="RELEASE[:SAE_ID]: 'bundled', a directory or a sae-lens release")
    app.add_argument("--device", metavar="D", help="auto, cpu, cuda, cuda:N or mps")
    _looks(app)
    batch = parser.add_argument_group("without a terminal")
    batch.add_argument("--batch", metavar="RECIPE", help="run a TOML file, a run folder's recipe or a built-in recipe")
    batch.add_argument("--out", metavar="DIR", type=Path, help="the run folder (default: a new one)")
    batch.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides",
                       help="override a recipe value, such as path.steps=50 or directions.0.count=4")  # fmt: skip
    batch.add_argument("--format", choices=["text", "csv", "json", "jsonl"], default="text", dest="form",
                       help="what goes to stdout: the summary, or the events (jsonl)")  # fmt: skip
    batch.add_argument("--time-limit", metavar="S", type=float, help="stop after S seconds, keeping what is done")
    parser.add_argument("--patience", metavar="S", type=float,
                       help="take a worker that says nothing for S seconds for hung (default: 300)")  # fmt: skip
    parser.add_argument("--cluster", metavar="ADDRESS",
                       help="compute on a Ray cluster: auto, HOST:PORT, or local for one on this machine")  # fmt: skip
    batch.add_argument("--resume", action="store_true", help="go on with the stopped run in --out")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.add_argument("--version", action="store_true", help="print the version and exit")


def _looks(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Flags of everything that opens the app; None where one is not given, so that the configuration decides."""
    parser.add_argument("--no-mouse", dest="mouse", action="store_false", default=None,
                        help="leave the mouse to the terminal")  # fmt: skip
    parser.add_argument("--ascii", action="store_true", default=None, help="draw without braille and blocks")
    parser.add_argument("--theme", metavar="T", help="a theme by name: dirscope config --themes lists them")


def _replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN|SESSION")
    parser.add_argument("--verify", action="store_true", help="compute again, print the largest deviations")
    parser.add_argument("--speed", type=float, default=1.0, metavar="X", help="multiple of the recorded pace")
    _looks(parser)


def _export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN")
    form = "csv, parquet, jsonl, md, svg, png or py (default: the suffix's)"
    parser.add_argument("--format", dest="form", metavar="FORMAT", help=form)
    parser.add_argument("--curve", type=int, default=0, metavar="N", help="which curve py computes again")
    parser.add_argument("--table", metavar="NAME", help="which table, of a run with several")
    parser.add_argument("--view", metavar="NAME", help="which picture svg and png draw, such as bands or cdf")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")


def _answer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN")
    what = "the items taken for real features; without it, what was answered"
    parser.add_argument("--real", metavar="A,C,...", action="append", help=what)


def _sessions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["list", "show", "rename", "rm", "restore", "trash", "share", "open"])
    parser.add_argument("name", nargs="?", metavar="NAME", help="of a session; for open, a shared file")
    parser.add_argument("--title", metavar="TEXT", help="with rename: what it is called from now on")
    parser.add_argument("--out", type=Path, metavar="FILE", help="with share: the file (default: beside you)")
    parser.add_argument("--empty", action="store_true", help="with trash: delete what is in it for good")


def _vectors(parser: argparse.ArgumentParser) -> None:
    from tui.vectors import fill

    fill(parser)


def _config(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--explain", action="store_true", help="say of every setting who set it")
    what.add_argument("--themes", action="store_true", help="list the themes")
    what.add_argument("--init", action="store_true", help="write a file with every setting, to be edited")


def _bench(parser: argparse.ArgumentParser) -> None:
    sizes = "'embedded', a directory, or the name of a size with random weights: gpt2-small, gpt2-xl, ..."
    parser.add_argument("--model", default="embedded", metavar="M", help=sizes)
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="interleaved rounds (default: 3)")


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=["bash", "zsh", "tcsh"])


Fill = Callable[[argparse.ArgumentParser], object]
SUBCOMMANDS: Final[dict[str, tuple[str, str, Fill]]] = {
    "replay": (
        "Play a run back in the app, or compute it again and compare.",
        "dirscope replay run --verify",
        _replay,
    ),
    "export": (
        "Write a run as csv, parquet, jsonl, md, svg, png or py (transformer-lens code).",
        "dirscope export run --out report.md",
        _export,
    ),
    "answer": (
        "Answer a blind test: open its seal, score the answer, keep both with the run.",
        "dirscope answer run --real A,C,D",
        _answer,
    ),
    "sessions": (
        "List, show, rename, throw away (rm), take back (restore), share or open what is kept.",
        "dirscope sessions share 20260101-120000-embedded --out mine.dirscope.zip",
        _sessions,
    ),
    "vectors": ("The library of steering vectors.", "dirscope vectors export mine --out mine.gguf", _vectors),
    "config": ("Print the settings in force.", "DIRSCOPE_THEME=nord dirscope config --explain", _config),
    "paths": ("Print where files live.", "dirscope paths", lambda parser: None),
    "doctor": (
        "Check what works here; say what to do about the rest.",
        "dirscope doctor",
        lambda parser: None,
    ),
    "bench": (
        "Time the engine against the naive ways, side by side in one run.",
        "dirscope bench --rounds 5",
        _bench,
    ),
    "completion": (
        "Print a completion script for your shell.",
        "dirscope completion bash > ~/.local/share/bash-completion/completions/dirscope",
        _completion,
    ),
}
"""By name: what it does, an example, and what it takes."""


def sub_parser(command: str) -> argparse.ArgumentParser:
    """The parser of a command."""
    parser = Parser(prog=f"dirscope {command}", allow_abbrev=False)
    _fill_sub(parser, command)
    return parser


def _fill_sub(parser: argparse.ArgumentParser, command: str) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, example, fill = SUBCOMMANDS[command]
    parser.epilog = f"example:\n  {example}"
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    fill(parser)


def whole_parser() -> argparse.ArgumentParser:
    """Everything in one parser, as completion scripts are made from."""
    parser = argparse.ArgumentParser(prog="dirscope", allow_abbrev=False)
    _fill_main(parser)
    commands = parser.add_subparsers()
    for name, (said, _, _) in SUBCOMMANDS.items():
        _fill_sub(commands.add_parser(name, help=said), name)
    return parser
