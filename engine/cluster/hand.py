"""What runs in an actor: the engine with its model, doing one task after another.

Calls come from several threads of the actor; whatever touches the model waits for the lock. Knows laboratories and
shards; no Ray, so that it can be tested without. Importing it imports no torch.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

from engine.cluster.messages import CurveTask, Done, Opened, Refused, Setup, Sign, pack, unpack
from engine.errors import LoadError, Stopped
from engine.failing import failed
from engine.holding import Holder, prepare_process
from engine.memory import is_device_lost
from engine.protocol import Answer, Failed, Held
from engine.questions import Question
from engine.recipe import Recipe
from engine.shards import Layout, Rule
from engine.worker import DEVICE_LOST, OVERTAKEN

if TYPE_CHECKING:
    from engine.cluster.lead import Lead
    from engine.laboratory import Laboratory

T = TypeVar("T")


class Hand:
    """One member of a crew.

    Args:
        setup: before anything imports torch.
    """

    def __init__(self, setup: Setup) -> None:
        os.environ.update(setup.environment)
        os.environ["OMP_NUM_THREADS"] = str(setup.threads)
        prepare_process()
        self._setup = setup
        self._holder = Holder(setup.cache, self._report)
        self._lock = threading.RLock()
        self._lab: Laboratory | None = None
        self._lead: Lead | None = None
        self._run = 0
        self._stopped = 0
        """Runs up to this one are over."""
        self._newest = 0
        """Run that was asked for last: it overtakes questions."""
        self._doing = ""
        self._seen: float | None = None
        """When it last came by a checkpoint; None where nothing is computed."""

    def _report(self, text: str) -> None:
        self._doing, self._seen = text, None

    def _should_stop(self) -> bool:
        self._doing, self._seen = "", time.monotonic()
        return self._run <= self._stopped

    def _rest(self) -> None:
        self._seen = None

    def sign(self) -> Sign:
        """That the process is alive."""
        seen = self._seen
        return Sign(self._doing, 0.0 if seen is None else time.monotonic() - seen)

    def stop(self, run: int) -> None:
        """End a run, and all before it, between two chunks."""
        self._stopped = max(self._stopped, run)
        if self._lead is not None:
            self._lead.stop()

    def open(
        self, run: int, recipe: Recipe, held: Held, refused: tuple[Rule, ...] = ()
    ) -> Opened | Refused | Failed | None:
        """Put a recipe on the bench; None where it was stopped on the way."""
        began = time.monotonic()
        self._newest = max(self._newest, run)

        def attempt() -> Opened:
            from engine.provenance import describe

            here = version("dirscope")
            if here != self._setup.version:
                raise LoadError(
                    f"The node {platform.node()} has dirscope {here}, and the run was started with "
                    f"{self._setup.version}: install one version on all."
                )
            self._run, self._lab = run, None
            lab, check = self._holder.laboratory(recipe, held, self._should_stop)
            for rule in refused:
                self._holder.workshop.layouts.refuse(lab.model, rule)
            if refused:
                lab, check = self._holder.laboratory(recipe, held, self._should_stop)
            lab.checkpoint()
            lab.use_threads()
            info = describe(lab, check)
            self._lab = lab
            return Opened(info, lab.layout, time.monotonic() - began, platform.node(), os.getpid())

        return self._guarded(recipe, attempt)

    def curves(self, run: int, task: CurveTask) -> bytes:
        """Compute a shard: `Done`, `Refused` or `Failed`, packed; None where it was stopped."""
        lab = self._lab
        assert lab is not None, "open() comes first"

        def attempt() -> Done:
            from engine.rays import OVERFLOWED, Work, base_result

            began = time.monotonic()
            self._check(run)
            lab.held, lab.layout = task.held, task.layout
            lab.use_threads()
            events: list[Any] = []
            bases = []
            for number in task.shard.bases:
                base = lab.base(number)
                if number not in task.held.bases:
                    events.append(base_result(lab, number, base))
                bases.append(replace(base, vector=task.held.base_vectors.get(number, base.vector)))
            work = Work(lab, task.shard, bases)
            events += work.run()
            seconds = time.monotonic() - began
            if work.sweep.overflows:
                events.append(OVERFLOWED)
            return Done(tuple(events), work.sweep.layout, seconds, work.sweep.steps_done)

        return pack(self._guarded(lab.recipe, attempt))

    def block(self, run: int, data: bytes, layout: Layout) -> bytes:
        """Measure a block of directions: what was reached along each, `Refused` or `Failed`, packed."""
        lab = self._lab
        assert lab is not None, "open() comes first"

        def attempt() -> Any:
            from engine.thresholds import measured_block

            self._check(run)
            lab.layout = layout
            lab.use_threads()
            return measured_block(lab, unpack(data))

        return pack(self._guarded(lab.recipe, attempt))

    def _check(self, run: int) -> None:
        if run != self._run:  # what is on the bench by now is another
            raise Stopped
        if self._should_stop():
            raise Stopped

    def lead(self, run: int, held: Held) -> Layout:
        """Begin an experiment of tables, whose blocks others measure; gives the layout they are measured by."""
        from engine.cluster.lead import Lead

        assert self._lab is not None, "open() comes first"
        with self._lock:
            lab, _ = self._holder.laboratory(self._lab.recipe, held, self._should_stop)
        if self._lead is not None:  # of a run that began anew
            self._lead.stop()
        self._lead = Lead(lab, self._lock, self._rest)
        return lab.layout

    def more(self) -> bytes:
        """What the experiment has come to meanwhile: events, `Wanted` and at last `Led`, packed."""
        assert self._lead is not None, "lead() comes first"
        found = self._lead.more()
        self._exit_if_lost(self._lead.lost)
        return pack(found)

    def deliver(self, number: int, data: bytes) -> None:
        """What others found along a block."""
        if self._lead is not None:
            self._lead.deliver(number, unpack(data))

    def ask(self, recipe: Recipe, question: Question) -> Answer:
        """Find something out at the recipe's site."""
        newest = self._newest

        def overtaken() -> bool:
            self._doing, self._seen = "", time.monotonic()
            return self._newest > newest

        def attempt() -> Answer:
            from engine.layouts import exactly

            def answer() -> Answer:
                lab, _ = self._holder.laboratory(recipe, Held(), overtaken)
                lab.use_threads()
                return Answer(question.answer(lab))

            return exactly(answer)

        found = self._guarded(recipe, attempt)
        if isinstance(found, Answer):
            return found
        return Answer(problem=found.message if isinstance(found, Failed) else OVERTAKEN)

    def _guarded(self, recipe: Recipe, attempt: Callable[[], T]) -> T | Refused | Failed | None:
        """What an attempt gives, or what went wrong, as a value; None where it was stopped."""
        with self._lock:
            try:
                return attempt()
            except Stopped:
                return None
            except Exception as error:
                self._exit_if_lost(is_device_lost(error))
                return problem(error, recipe.model.name)
            finally:
                self._seen = None

    def _exit_if_lost(self, lost: bool) -> None:
        if lost:  # only another process can use the device again
            os._exit(DEVICE_LOST)


def problem(error: Exception, model: str) -> Refused | Failed:
    """What an error becomes where work is handed out."""
    from engine.layouts import LayoutRefused

    if isinstance(error, LayoutRefused):
        return Refused(error.rule, error.difference)
    return failed(error, model)
