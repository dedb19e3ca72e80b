"""`dirscope sessions`: what is kept, from the command line.

Knows arguments and the sessions directory; imports what an action needs when it is asked for.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; gives the exit code."""
    from engine.errors import UsageError
    from engine.printable import printable
    from sessions import archive, housekeeping
    from sessions.catalogue import entries, find, show
    from sessions.paths import places

    where, action, name = places(), arguments.action, arguments.name
    if name and action in ("list", "trash"):
        raise UsageError(f"dirscope sessions {action} takes no name; got '{name}'.")
    if arguments.empty and action != "trash":
        raise UsageError("--empty belongs to dirscope sessions trash.")
    only = {"--title": (arguments.title, "rename"), "--out": (arguments.out, "share")}
    for flag, (value, owner) in only.items():
        if value is not None and action != owner:
            raise UsageError(f"{flag} belongs to dirscope sessions {owner}.")
    if action in ("list", "trash"):
        if action == "trash" and arguments.empty:
            print(f"deleted {housekeeping.empty(where.trash)} sessions for good", file=sys.stderr)
            return 0
        for e in entries(where.sessions if action == "list" else where.trash):
            kind = f"session, {e.runs} runs" if e.is_session else "batch run"
            said = f"{e.title}: {e.prompt}" if e.title else e.prompt
            print(f"{printable(e.name):<44} {e.changed:%Y-%m-%d %H:%M}  {kind:<18} {e.status:<8} {said}")
        return 0
    if not name:
        raise UsageError(f"dirscope sessions {action} needs a NAME: see dirscope sessions list.")
    match action:
        case "show":
            print("\n".join(show(find(name, where.sessions))))
        case "rename":
            if arguments.title is None:
                raise UsageError("dirscope sessions rename needs --title TEXT.")
            housekeeping.rename(find(name, where.sessions), arguments.title)
        case "rm":
            gone = housekeeping.remove(name, where.sessions, where.trash)
            print(f"moved {name} to {gone}: dirscope sessions restore {gone.name} takes it back", file=sys.stderr)
        case "restore":
            print(f"restored {housekeeping.restore(name, where.sessions, where.trash)}", file=sys.stderr)
        case "share":
            folder = find(name, where.sessions)
            file = arguments.out or Path(f"{folder.resolve().name}{archive.SUFFIX}")
            behind = archive.pack(folder, file)
            left = f"; left behind, as no session has them: {', '.join(behind)}" if behind else ""
            print(f"wrote {file}{left}", file=sys.stderr)
        case "open":
            print(archive.unpack(Path(name).expanduser(), where.sessions))
    return 0
