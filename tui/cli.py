"""The `dirscope` command: parses arguments, then imports only what the call needs.

`--help` and argument errors pay for argparse alone; `--batch` never imports textual; nothing here imports torch.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from tui.arguments import SUBCOMMANDS, main_parser, sub_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in SUBCOMMANDS:
        arguments = sub_parser(words[0]).parse_args(words[1:])
    else:
        arguments = main_parser().parse_args(words)
        if arguments.version:
            from importlib.metadata import version

            print(f"dirscope {version('dirscope')}")
            return 0
    from engine.errors import DirscopeError
    from tui import commands

    run = commands.COMMANDS.get(words[0]) if words else None
    if run is None:
        run = commands.app if arguments.batch is None else commands.batch
    try:
        return run(arguments)
    except DirscopeError as error:
        if arguments.debug:
            traceback.print_exc()
        print(f"dirscope: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # The reader of our output left, as `| head` does; nothing more can be said to it.
            sys.stderr.close()
            return 0
        if arguments.debug:
            traceback.print_exc()
        where = f" {error.filename}" if error.filename else ""
        print(f"dirscope: {error.strerror or error}{where}: is the disk full, or the directory gone?", file=sys.stderr)
        return 1
    except Exception as error:
        # A mistake of ours: still one sentence, and how to see more.
        if arguments.debug:
            traceback.print_exc()
        problem = f"{type(error).__name__}: {error}"
        said = DirscopeError(
            f"Something went wrong that should not ({problem}): --debug shows where. Please report it."
        )
        print(f"dirscope: {said}", file=sys.stderr)
        return said.exit_code
    except KeyboardInterrupt:
        print("dirscope: interrupted.", file=sys.stderr)
        return 130


def entry() -> None:
    """The console script."""
    raise SystemExit(main())
