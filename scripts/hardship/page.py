"""`docs/hardship.md` from what the trials gave: `python -m scripts.hardship.page FOLDER`.

The folder holds kills.json, fuzz.json and endurance.json. Knows those files; tries nothing itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PAGE = """\
# What was tried, and what was lost

A research instrument must not lose an hour of results, show a number that it cannot stand behind, or run what a file
brings along. This page says what was done to dirscope to find out. The campaigns are `scripts/hardship/`; a sample of
each, and everything else named here, is in `tests/` and runs with every change.

| tried | how often | lost | how to repeat |
|---|---|---|---|
{rows}

A trial with a kill counts as lost when a curve or base whose line had come out on stdout is not on disk to the last
digit, the status is not honest, a process stays, or going on does not end in the tables of a run that nobody killed,
bit for bit. A trial with a file counts when there is anything but a value or one sentence, after more than 5 seconds, a
file written elsewhere, a socket, a process, a pickle, or something printed that a terminal would obey.

## Guarantees

- **A line of `events.jsonl` that was written is kept**, and is on the disk within a second. Lines are appended whole or
  not at all: where the disk is full, what was half written is taken away again. The events alone are enough to read a
  run: a recipe, a record or a table that a power cut emptied is taken from them or derived again by `--resume`.
- **The status is honest.** `running` is said while a process holds the run, `cut off` where none does any more.
- **Going on ends in the same numbers**, bit for bit, on one machine. A run that never began begins with `--resume`.
- **A worker that dies or hangs is replaced**, and what was asked of it meanwhile is computed by the next. It hangs when
  it computes and says nothing for 300 seconds (`patience`, `--patience S`), 60 when something newer was asked for, 10
  after a cancel; between two chunks it says every second that it is alive, and loading is not judged. A GPU that failed
  needs another process, and gets one.
- **SIGTERM, SIGHUP and a closed terminal** leave everything saved: what ran is `stopped` and goes on.
- **A number that overflowed is missing**, and nothing is concluded from what lies behind it: no threshold, no
  censoring, no plateau. Weights, bases and directions that are no numbers are refused.
- **Files are read, never run.** No pickle of SAEs and vectors is opened, and a model's own in PyTorch's format only by
  its reader of plain tensors; code that comes with a model is never imported. What is read is checked where it is read.
- **No network** but for a Hub id that somebody named; no library reports home.
- **Private**: directories 0700, files 0600, whatever the umask. Exports follow it, as they are meant to be shared. The
  worker's log is two files of a megabyte and holds no prompt.
- **Another machine**: with the same versions, device and threads numbers are the same; with others they stay within
  the tolerances that `replay --verify` prints, and it says what differs.

## Mutation testing

Values, comparisons, operators and calls of the formulas were changed one at a time, and the tests run for each:

| file | changed | seen by its tests | seen by others | the same in effect, or a label | holes, closed since | left |
|---|---|---|---|---|---|---|
| `engine/metrics.py` | 297 | 211 | 2 | 55 | 29 | 0 |
| `engine/paths.py` | 157 | 130 | 0 | 9 | 18 | 0 |
| `engine/thresholds.py` | 93 | 78 | 0 | 10 | 4 | 1 |
| `engine/statistics.py` | 123 | 80 | 0 | 16 | 25 | 2 |
| `engine/directions/`, about 8 a file | 222 | 115 | 12 | 24 | 66 | 5 |

Left are: a note within a sweep of thresholds; the name of the random stream of pairs, and that its row 0 never comes
first; the model's name of a vector file without one; the share of an SAE without an active feature; the largest count
of terms; the stream of synthetic latents without its index; a bound of one character. None changes a number of a run
but the streams, whose names are part of the definition. Ones the same in effect are mostly `clamp`s of what cannot be
negative, block sizes, and dtypes that hold the value either way. mutmut and cosmic-ray were not used: the changes were
made to the syntax tree and tried in processes forked from a warm one, since importing torch takes longer than a test.

## Found and mended on the way

{mended}

## What this does not show

- No GPU was at hand: a failed device is an injected error, and memory held after exit was looked at on the CPU.
- A power cut is simulated by what it leaves (cut, emptied and zeroed files); no machine was switched off.
- The disk was full by a limit on file sizes and by a small file system of its own; quotas of network file systems may
  say so later, when a file is closed.
- Memory is not flat to the byte. With 27 runs pinned and all sorts of changes in turn the app's grew by 5 kB a change.
  The worker's rose twice, by 50 MB within some hundred changes each, and stayed where it was between and after; whether
  it would once more was not waited for.
- `options.keep = "summary"` does not exist: a run keeps every curve, about 30 kB each at 100 steps.
- Experiments that give tables store neither bases nor directions, so that they are recomputed only from the recipe.
"""

MENDED = """\
- A disk that filled up left half a line, and closing the file raised again, as plain Python's buffer tried to write it
  once more: the sentence named no folder and the tables were not written.
- A recipe, record or table that was emptied made the whole run unreadable, though its events were whole.
- A run killed before its first line could neither go on nor begin again in its folder.
- A killed run was listed as `running` for ever.
- A forward pass that never returned stopped the app and batch for good, also in the passes that check a model.
- A worker whose GPU had failed went on failing; one that was killed could stay as a zombie.
- Keys along the bottom of the screen that were no longer shown stayed in memory: 40 kB a change of the focus or so.
- A count of directions had no upper bound, and filled the memory before anything was computed; a full disk cut an
  exported file that was there before; a version in a record could set a terminal's title through `replay --verify`.
- SIGTERM and SIGHUP ended the app with its run unsaved and the terminal in disorder; a scheduler's signal to the whole
  group was told as a dead worker instead of an interruption.
- Lines were synced to disk only when another came.
- Curves that overflowed counted as censored, with a steepest step where the first value was missing; a threshold was
  read across missing values; steps below rounding were measured as if they were steps.
- A base that is NaN was told as a fault of the first direction.
- Errors quoted control characters, escape sequences, and a hundred thousand characters of whoever wrote them; tables
  and pictures did with labels, and a prompt with two dollar signs was set as a formula.
- Damaged headers of .npy files, deeply nested JSON and TOML, numbers of 5000 digits, names of 5000 characters, a record
  of the wrong types, curves without a base, a seal that unpacks without end: tracebacks, now sentences.
- Code of a model's own was not run, but asked for on a terminal that is not ours; it is refused.
- Damaged cache files failed a run instead of being computed again.
- Memory that ran out at two rows was exit 3 instead of 5, and the layout that was gone on with was not recorded.
- The tests had no line for entropy, for JS but at ln 2, for the far branch of KL, or for two kinds of directions.
"""


def page(folder: Path) -> str:
    """The page."""
    kills, fuzz, long = (json.loads((folder / f"{name}.json").read_text()) for name in ("kills", "fuzz", "endurance"))
    rows = [*_kills(kills), _fuzz(fuzz), _long(long), *_tests()]
    return PAGE.format(rows="\n".join(rows), mended=MENDED.rstrip())


def _kills(found: dict[str, Any]) -> list[str]:
    wrong = found["wrong"]
    return [
        f"| kill -9 of the {victim} at a random moment | {times} | {_lost([w for w in wrong if f' {victim}:' in w])} "
        "| `python -m scripts.hardship.kills` |"
        for victim, times in found["tried"].items()
    ]


def _lost(wrong: list[str]) -> str:
    return f"**{len(wrong)}**" if wrong else "nothing"


def _fuzz(found: dict[str, Any]) -> str:
    tried = found["tried"]
    sorts = ", ".join(f"{n} {name}" for name, n in sorted(tried.items(), key=lambda pair: -pair[1]))
    lost = _lost([w for _, w in found["wrong"].values()])
    if found["wrong"]:
        lost += " ended in a traceback, mended since"
    return (
        f"| spoiled files and texts ({sorts}); slowest {found['slowest']:.1f} s | {sum(tried.values()):,} | {lost} "
        "| `python -m scripts.hardship.fuzz` |"
    )


def _long(found: dict[str, Any]) -> str:
    last, growth = found["last"], found["growth"]
    return (
        f"| a session of {last['edits'] + 1:,} changes, one in ten seconds for {last['edits'] / 360:.0f} hours, and "
        f"{last['runs']:,} kept runs; "
        f"after the first 600, memory {growth['app MB']:+.1%} (app), {growth['worker MB']:+.1%} (worker), open files "
        f"{growth['app files']:+.0%} and {growth['worker files']:+.0%} | 1 | nothing "
        "| `python -m scripts.hardship.endurance` |"
    )


def _tests() -> list[str]:
    rows = (
        ("a tail of cut, zeroed or foreign bytes behind the events", "300", "tests/sessions/test_power_cuts.py"),
        ("recipe, record or table emptied, zeroed, cut or overwritten", "20", "tests/sessions/test_power_cuts.py"),
        ("worker hangs, exits, aborts, has a bug, loses its GPU", "5", "tests/tui/test_faults.py, test_trouble.py"),
        ("disk full, SIGHUP, SIGTERM to all, two processes, memory", "5", "tests/sessions/test_trouble.py"),
        ("paths, metrics, thresholds, aggregates by property", "60 each", "tests/engine/test_properties.py"),
        ("weights, bases, directions and values that are no numbers", "20", "tests/engine/test_bad_numbers.py"),
        ("no network: every socket refused", "5 commands", "tests/sessions/test_alone.py"),
    )
    return [f"| {what} | {times} | nothing | `{where}` |" for what, times, where in rows]


if __name__ == "__main__":
    (Path(__file__).parents[2] / "docs" / "hardship.md").write_text(page(Path(sys.argv[1])))
