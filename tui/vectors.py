"""`dirscope vectors`: the library of steering vectors from the command line.

Knows arguments and the library; imports what an action needs when it is asked for.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def fill(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.description = "The library of steering vectors: keep one of a run, bring one in, give one away."
    parser.add_argument("action", choices=["list", "show", "save", "import", "export", "rm"])
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the vector in the library")
    parser.add_argument("--run", metavar="RUN", help="save: the steering run")
    parser.add_argument("--number", type=int, default=0, metavar="N", help="save: which of its vectors, from 0")
    parser.add_argument("--file", type=Path, metavar="FILE", help="import: .safetensors or .gguf")
    parser.add_argument("--out", type=Path, metavar="FILE", help="export: .safetensors or .gguf")
    parser.add_argument("--scale", type=float, default=1.0, metavar="X", help="export: times this")


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; gives the exit code."""
    from dataclasses import replace

    from engine.errors import UsageError
    from engine.printable import printable
    from engine.steering.interchange import read_vectors, write_vectors
    from sessions import saved_vectors
    from sessions.catalogue import find, one_run
    from sessions.paths import places
    from sessions.reader import read_run

    where, name = places(), arguments.name
    kept = where.vectors
    if arguments.action == "list" and name:
        raise UsageError(f"dirscope vectors list takes no name; got '{name}': did you mean show?")
    if arguments.action == "list":
        if not saved_vectors.names(kept):
            print("the library is empty: keep a vector with dirscope vectors save", file=sys.stderr)
        for each in saved_vectors.names(kept):
            found = saved_vectors.load(kept, each)
            print(f"{each:<24} {found.model or found.architecture or '?':<16} {printable(found.label)}")
        return 0
    needs = {"save": "run", "import": "file", "export": "out"}.get(arguments.action)
    if not name or (needs and getattr(arguments, needs) is None):
        flag = f" --{needs} {needs.upper() if needs == 'run' else 'FILE'}" if needs else ""
        raise UsageError(f"dirscope vectors {arguments.action} needs NAME{flag}: see dirscope vectors --help.")
    match arguments.action:
        case "show":
            print("\n".join(saved_vectors.lines(saved_vectors.load(kept, name))))
        case "save":
            steered = read_run(one_run(find(arguments.run, where.sessions)))
            print(
                f"saved {saved_vectors.save(kept, name, saved_vectors.of_run(steered, arguments.number))}",
                file=sys.stderr,
            )
        case "import":
            vectors = read_vectors(arguments.file)
            if vectors is None:
                raise UsageError(f"{arguments.file} has no metadata of dirscope: use it by a direction of kind 'file'.")
            print(f"saved {saved_vectors.save(kept, name, vectors)}", file=sys.stderr)
        case "export":
            vectors = saved_vectors.load(kept, name)
            if not 0 < abs(arguments.scale) < float("inf"):
                raise UsageError(f"--scale must be a finite number other than 0; got {arguments.scale:g}.")
            rows = {hook: held * arguments.scale for hook, held in vectors.rows.items()}
            write_vectors(arguments.out, replace(vectors, rows=rows))
            print(f"wrote {arguments.out}", file=sys.stderr)
        case "rm":
            saved_vectors.remove(kept, name)
            print(f"removed {name}", file=sys.stderr)
    return 0
