"""`dirscope --batch`: run a recipe without a terminal.

stdout carries results only, stderr everything else. Knows recipes, run folders and the worker; imports no torch and
no terminal library.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from engine.client import any_worker
from engine.errors import DirscopeError, InterruptedByUser, RunFailedError, TimeLimitError, UsageError, did_you_mean
from engine.expect import evaluate, parse_check
from engine.experiments import EXPERIMENTS
from engine.protocol import Held, RunRequest
from engine.recipe import Recipe, parse_recipe, parse_toml, read_recipe, with_overrides
from engine.results import CurveResult, Event, Note, Progress, RunEnded, RunStarted
from engine.silence import PATIENCE
from engine.worker import WorkerOptions
from sessions.catalogue import one_run
from sessions.paths import Places, new_folder, places
from sessions.reader import EVENTS_FILE, RECIPE_FILE, Run, read_run
from sessions.runner import held_of, run_to_end
from sessions.saved_vectors import written_out
from sessions.schema import to_line
from sessions.store import RunWriter, is_whole, never_began
from sessions.summary import digest_of, summary_text
from sessions.timeleft import TimeLeft

REPORT_SECONDS: Final = 5.0


@dataclass(frozen=True)
class BatchOptions:
    """The command line of a batch run."""

    recipe: str
    out: Path | None = None
    overrides: tuple[str, ...] = ()
    form: str = "text"
    time_limit: float | None = None
    resume: bool = False
    patience: float = PATIENCE
    """Seconds of silence after which a worker is taken for hung."""
    cluster: str | None = None
    """Address of a Ray cluster that computes."""


def builtin_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("sessions") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def find_recipe(name: str, overrides: Sequence[str], library: Path | None = None) -> Recipe:
    """A recipe by path, by run folder, or by built-in name.

    Raises:
        UsageError: There is none.
        RecipeError: It is not valid.
    """
    library = library or places().vectors
    try:
        path = Path(name).expanduser()
        exists = path.exists()
    except (OSError, ValueError, RuntimeError):  # a name that no file can have
        path, exists = Path(), False
    if exists and path.is_dir():
        folder = one_run(path)
        path = folder / RECIPE_FILE
        if not path.is_file() or not path.stat().st_size:  # a power cut may have emptied it; its run has it too
            data = parse_toml(read_run(folder).recipe.toml(), str(path))
            return parse_recipe(written_out(with_overrides(data, overrides), library))
    if exists and path.is_file():
        return read_recipe(path, overrides, lambda data: written_out(data, library))
    if name in builtin_names():
        text = (resources.files("sessions") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
        return parse_recipe(written_out(with_overrides(parse_toml(text, name), overrides), library))
    raise UsageError(
        f"There is no recipe file, run folder or built-in recipe '{name}'{did_you_mean(name, builtin_names())}"
    )


def run_batch(options: BatchOptions, where: Places) -> int:
    """Run a recipe; gives the exit code. Errors that end the run are raised after what was computed is kept."""
    recipe = find_recipe(options.recipe, options.overrides, where.vectors)
    experiment = EXPERIMENTS[recipe.experiment]
    tables = [name for name in experiment.tables if name not in experiment.optional_tables]
    if options.form == "csv" and len(tables) > 1:
        raise UsageError(
            f"csv holds one table, {recipe.experiment} gives {', '.join(tables)}: use --format json, or "
            "dirscope export RUN --out x.csv --table NAME afterwards."
        )
    if not options.resume:
        folder = options.out or new_folder(where.sessions, Path(options.recipe).name.removesuffix(".toml"))
        return _run(recipe, RunWriter.create(folder, recipe), Held(), options, where)
    if options.out is None:
        raise UsageError("--resume goes on with the run in --out DIR: name it.")
    if never_began(options.out):
        _say(f"{options.out}: nothing was computed there yet, so the run starts.")
        return _run(recipe, RunWriter.create(options.out, recipe, again=True), Held(), options, where)
    before = read_run(options.out)
    if before.recipe.computed != recipe.computed:
        raise UsageError(
            f"The recipe differs from the one in {options.out}: resume with that, or run into a new --out."
        )
    if before.status != "done":
        return _run(recipe, RunWriter.resume(options.out), held_of(before), options, where)
    _say(f"{options.out}: nothing to do, the run is done.")
    if options.form == "jsonl":
        sys.stdout.write((options.out / EVENTS_FILE).read_text(encoding="utf-8"))
    _conclude(before if is_whole(before) else RunWriter.repair(options.out), options.form)
    return 0


def _run(recipe: Recipe, writer: RunWriter, held: Held, options: BatchOptions, where: Places) -> int:
    _say(f"run folder {writer.folder}")
    run, error = _compute(recipe, writer, held, options, where)
    if error is not None:
        if (run.curves or run.rows) and options.form != "jsonl":
            _say("\n".join(digest_of(run)))
        raise error
    return _conclude(run, options.form)


def _compute(
    recipe: Recipe, writer: RunWriter, held: Held, options: BatchOptions, where: Places
) -> tuple[Run, DirscopeError | None]:
    deadline = None if options.time_limit is None else time.monotonic() + options.time_limit
    worker = any_worker(
        WorkerOptions(cache=where.cache, log=where.log, patience=options.patience, cluster=options.cluster)
    )
    reporter, stream = _Reporter(), _Stream()
    end = RunEnded("failed")
    error: DirscopeError | None = None
    with _interruptible() as interrupted:
        try:
            worker.start()

            def take(event: Event) -> None:
                writer.write(event)
                reporter.take(event)
                if options.form == "jsonl" and not isinstance(event, Progress):
                    stream.write(to_line(event, time.monotonic() - reporter.started))

            end = run_to_end(worker, RunRequest(1, recipe, held), take, deadline, lambda: bool(interrupted))
        except DirscopeError as caught:
            error = caught
        except OSError as caught:
            error = RunFailedError(f"Cannot write to {writer.folder} ({caught.strerror or caught}): free some space.")
        finally:
            worker.stop(timeout=0.5 if error else 2.0)
            reporter.close()
        stopped = isinstance(error, TimeLimitError | InterruptedByUser)
        if error is not None:
            end = RunEnded("stopped" if stopped else "failed", str(error))
        try:
            run = writer.finish(end)
        except OSError as caught:
            writer.close()
            run = read_run(writer.folder)
            error = error or RunFailedError(
                f"Cannot write the tables of {writer.folder} ({caught.strerror or caught}): its events are whole; free "
                "some space and use --resume."
            )
    if options.form == "jsonl":
        stream.write(to_line(end, time.monotonic() - reporter.started))
    return run, error


class _Stream:
    """Lines on stdout until its reader leaves, as `| head` does; the run goes on without it."""

    def __init__(self) -> None:
        self._open = True

    def write(self, line: str) -> None:
        if self._open:
            try:
                print(line, flush=True)
            except BrokenPipeError:
                self._open = False
                # What Python would flush at exit has nowhere to go either.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """ctrl+c, SIGTERM and a lost terminal fill the list instead of raising: the run folder is always finished."""
    received: list[int] = []
    signals = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32":
        signals.append(signal.SIGHUP)
    before = [signal.signal(s, lambda number, frame: received.append(number)) for s in signals]
    try:
        yield received
    finally:
        for s, handler in zip(signals, before, strict=True):
            signal.signal(s, handler)


class _Reporter:
    """Progress on stderr: a line that rewrites itself on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self._last = 0.0
        self._live = sys.stderr.isatty()
        self._open_line = False
        self._left = TimeLeft()

    def take(self, event: Event) -> None:
        match event:
            case RunStarted(info):
                for warning in info.get("warnings", []):
                    self._line(f"warning: {warning}")
                bridge = info.get("check", {}).get("transformer_lens_problem")
                if bridge:
                    self._line(f"note: transformer-lens could not cross-check this model ({bridge})")
            case Note(text, level):
                self._line(f"{level}: {text}")
            case Progress(text, done, total, rate):
                speed = f", {rate:,.0f} steps/s" if rate else ""
                left = self._left.after(done, total, time.monotonic()) if total else ""
                line = f"{text}: {done} of {total}{speed}{', ' + left if left else ''}" if total else text
                self._status(line, last=total > 0 and done == total)
            case CurveResult():
                pass

    def _status(self, text: str, last: bool) -> None:
        now = time.monotonic()
        if self._live:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
            self._open_line = True
        elif last or now - self._last > REPORT_SECONDS:
            print(text, file=sys.stderr, flush=True)
            self._last = now

    def _line(self, text: str) -> None:
        self.close()
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._open_line:
            print(file=sys.stderr, flush=True)
            self._open_line = False


def _conclude(run: Run, form: str) -> int:
    """Print the summary and judge the expectations."""
    tables = EXPERIMENTS[run.recipe.experiment].tables
    outcomes = [evaluate(parse_check(e.check, tables), run.summaries, run.tables) for e in run.recipe.expect]
    if form != "jsonl":
        sys.stdout.write(summary_text(run, outcomes, form))
        sys.stdout.flush()
    failed = [o for o in outcomes if not o.holds]
    for outcome in failed:
        _say(f"expectation {outcome}")
    return 1 if failed else 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
