"""One run on a crew: its members put the recipe on their benches, get shards or blocks, and what they find is told.

A run of curves is cut into the same shards as on one machine. A run of tables is led by one member, and the blocks of
directions that it measures thresholds along go to all. Knows shards, members and events; no Ray.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from engine.cluster.messages import CurveTask, Done, Led, Opened, Refused, Wanted, unpack
from engine.cluster.sharing import Sharing
from engine.cluster.tally import Tally
from engine.errors import RunFailedError
from engine.experiments import EXPERIMENTS
from engine.protocol import Failed, Held, RunRequest
from engine.results import BaseResult, CurveResult, Note, Progress, RowResult, RunEnded, RunStarted
from engine.shards import Layout, Rule, Shard, shards

T = TypeVar("T")

AT_ONCE: Final = 2
"""Tasks of one member: the second is there when the first is done. More would wait where others have nothing."""
LEADS_TOO_MANY: Final = 3
SAME: Final = (("model", "weights_sha256"), ("population", "hash"), ("sae", "sha256"))
"""Of the record: what must be the same on all members."""

Call = Callable[..., None]
"""call(member, then, method, *arguments), as of a crew."""


class _Feed(Iterator[T]):
    """Tasks that come up on the way; an iterator that may have more later."""

    def __init__(self) -> None:
        self.waiting: deque[T] = deque()

    def __next__(self) -> T:
        if not self.waiting:
            raise StopIteration
        return self.waiting.popleft()


@dataclass(eq=False)
class Course:
    """A run, from the first member that opens it to its end.

    Args:
        request: what to compute, and what is there already.
        number: of this course; higher than those before.
        call: to members.
        emit: gets events, and at last `RunEnded` or `Failed`.
        tally: who measures how much.
    """

    request: RunRequest
    number: int
    call: Call
    emit: Callable[[Any], None]
    tally: Tally
    ended: bool = False
    wants_all: bool = False
    """Whether there is work for more than one member."""
    _refused: tuple[Rule, ...] = ()
    _first: Opened | None = None
    _layout: Layout | None = None
    _ready: list[Any] = field(default_factory=list)
    _sharing: Sharing[Any] | None = None
    _blocks: _Feed[Wanted] = field(default_factory=_Feed)
    _lead: Any = None
    _leads: int = 0
    _told: set[str] = field(default_factory=set)
    _curves: set[int] = field(default_factory=set)
    _bases: set[int] = field(default_factory=set)
    _rows: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        held = self.request.held
        self._curves, self._bases = set(held.curves), set(held.bases)
        self._rows = {table: list(rows) for table, rows in held.rows.items()}
        self.wants_all = self._is_curves()

    @property
    def counts(self) -> bool:
        """Whether it is known how much there is to do."""
        return self._first is not None and self._is_curves()

    @property
    def redone(self) -> int:
        """Tasks that were given out again since their member was lost."""
        return 0 if self._sharing is None else self._sharing.redone

    def join(self, member: Any) -> None:
        """Have a member put the recipe on its bench."""
        held = replace(self.request.held, curves=frozenset(), bases=frozenset(), rows={})
        run = self.number

        def opened(member: Any, found: Any) -> None:
            if run == self.number:
                self._opened(member, found)
            else:  # it began anew meanwhile
                self.join(member)

        self.call(member, opened, "open", run, self.request.recipe, held, self._refused)

    def leave(self) -> None:
        """End it."""
        self.ended = True

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.emit(Note(text, "warning"))

    def _end(self, body: Any) -> None:
        self.ended = True
        self.emit(body)
        for member in self._ready:
            if self.tally.has(member):  # what another was faster with
                self.call(member, lambda *_: None, "stop", self.number)

    def _opened(self, member: Any, found: Any) -> None:
        if self.ended:
            return
        if isinstance(found, Failed):
            self._end(found)
        elif isinstance(found, Refused):
            self._again(found)
        elif isinstance(found, Opened):
            member.node, member.pid = found.node, found.pid
            if not self._fits(found):
                return
            self._ready.append(member)
            self.tally.joined(member, found.node)
            if self._first is None:
                self._begin(found)
            if self._sharing is None:
                self._follow(member)
            self._feed(member)

    def _is_curves(self) -> bool:
        return not EXPERIMENTS[self.request.recipe.experiment].tables

    def _fits(self, found: Opened) -> bool:
        """Whether a member computes the same as the first; says what is wrong with it otherwise."""
        if self._first is None:
            return True
        mine, its = self._first.info, found.info
        for section, name in SAME:
            here, there = ((info.get(section) or {}).get(name) for info in (mine, its))
            if here != there:
                why = (
                    f"{found.node} has another {section} than {self._first.node} ({name} {str(there)[:12]}, not "
                    f"{str(here)[:12]}): put the same files on all nodes. What was computed is kept."
                )
                self._end(Failed(RunFailedError.__name__, why))
                return False
        for name in ("device_name", "versions", "threads"):
            if mine.get(name) != its.get(name):
                self._tell(
                    f"{found.node} differs from {self._first.node} in {name}: numbers agree within rounding, not bit "
                    "for bit."
                )
        return True

    def _begin(self, found: Opened) -> None:
        self._first, self._layout = found, found.layout
        self.emit(RunStarted(found.info))
        if self._is_curves():
            n_bases, n_curves = int(found.info["n_bases"]), int(found.info["n_curves"])
            everything = shards(n_bases, n_curves // n_bases, found.layout)
            self.tally.expect(len(self._curves), n_curves)
            self._sharing = Sharing(shard for shard in everything if not self._curves.issuperset(shard.curves))

    def _follow(self, member: Any) -> None:
        """A run of tables: the first member leads it."""
        self._lead, self._sharing = member, Sharing(self._blocks)
        held = replace(self.request.held, rows=self._rows)

        def led(member: Any, layout: Layout) -> None:
            self._layout = layout
            self._fetch()

        self.call(member, led, "lead", self.number, held)

    def _fetch(self) -> None:
        if not self.ended and self._lead is not None:
            self.call(self._lead, self._fetched, "more")

    def _fetched(self, member: Any, data: bytes) -> None:
        if self.ended or member is not self._lead:
            return
        for item in unpack(data):
            if isinstance(item, Wanted):
                self.wants_all = True
                self._blocks.waiting.append(item)
            elif isinstance(item, Led):
                self._led(item)
                return
            elif isinstance(item, Progress):
                self.emit(replace(item, text=f"{item.text} ({self.tally.nodes()})"))
            else:
                if isinstance(item, RowResult):
                    self._rows.setdefault(item.table, []).append(item.values)
                self.emit(item)
        self.look()
        self._fetch()

    def _led(self, led: Led) -> None:
        if led.problem is None:
            self._end(RunEnded("done"))
        elif isinstance(led.problem, Refused):
            self._again(led.problem)
        else:
            self._end(led.problem)

    def look(self) -> None:
        """Give members that have nothing to do something, where there is anything."""
        for member in list(self._ready):
            self._feed(member)

    def _feed(self, member: Any) -> None:
        while not self.ended and self._sharing is not None and self.tally.has(member) < AT_ONCE:
            found = self._sharing.next(member, self.tally.clock())
            if found is None:
                if self._is_curves() and self._sharing.over:
                    self._end(RunEnded("done"))
                return
            number, task = found
            self.tally.took(member)
            if isinstance(task, Shard):
                self.call(member, self._computed(number), "curves", self.number, self._task(task))
            else:
                self.call(member, self._measured(number, task), "block", self.number, task.block, self._layout)

    def _task(self, shard: Shard) -> CurveTask:
        held = self.request.held
        assert self._layout is not None
        mine = Held(
            curves=frozenset(self._curves.intersection(shard.curves)),
            bases=frozenset(self._bases.intersection(shard.bases)),
            base_vectors={n: v for n in shard.bases if (v := held.base_vectors.get(n)) is not None},
            direction_vectors={n: v for n in shard.curves if (v := held.direction_vectors.get(n)) is not None},
        )
        return CurveTask(shard, mine, self._layout)

    def _computed(self, number: int) -> Callable[[Any, bytes], None]:
        run = self.number

        def then(member: Any, data: bytes) -> None:
            if self.ended or run != self.number:
                return
            found = unpack(data)
            assert self._sharing is not None
            if isinstance(found, Done):
                self.tally.gave(member, found.steps, len(data))
                if self._sharing.finished(number, member, self.tally.clock()):
                    self._take(found)
            elif isinstance(found, Refused):
                return self._again(found)
            elif isinstance(found, Failed):
                return self._end(found)
            self._feed(member)

        return then

    def _take(self, done: Done) -> None:
        for event in done.events:
            if isinstance(event, BaseResult):
                if event.base in self._bases:
                    continue
                self._bases.add(event.base)
            elif isinstance(event, CurveResult):
                self._curves.add(event.summary.curve)
                self.tally.counted()
            elif isinstance(event, Note) and event.text in self._told:
                continue
            elif isinstance(event, Note):
                self._told.add(event.text)
            self.emit(event)
        assert self._layout is not None
        assert self._first is not None
        if done.layout.rows_per_chunk < self._layout.rows_per_chunk:
            # Memory ran out: whoever computes this again goes by what was used.
            self._layout = replace(self._layout, rows_per_chunk=done.layout.rows_per_chunk)
            recorded = {**self._first.info["layout"], **self._layout.data()}
            self.emit(RunStarted({**self._first.info, "layout": recorded}))

    def _measured(self, number: int, wanted: Wanted) -> Callable[[Any, bytes], None]:
        run = self.number

        def then(member: Any, data: bytes) -> None:
            if self.ended or run != self.number:
                return
            assert self._sharing is not None
            self.tally.gave(member, 0, len(data))
            if self._sharing.finished(number, member, self.tally.clock()):
                self.call(self._lead, lambda *_: None, "deliver", wanted.number, data)
            self._feed(member)

        return then

    def _again(self, refused: Refused) -> None:
        """Everybody goes on by the next arrangement; what came before was checked and found right."""
        self._tell(
            f"Passes arranged as a {refused.rule} differ from plain ones by {refused.difference:.2g} in "
            "log-probability here: going on by the next exact way."
        )
        self._refused = (*self._refused, refused.rule)
        self._restart()

    def _restart(self) -> None:
        members, self._ready, self._first, self._sharing, self._lead = self._ready, [], None, None, None
        self._blocks = _Feed()
        self.number += 1
        for member in members:
            self.tally.forgot(member)
            self.join(member)

    def lost(self, member: Any) -> None:
        """A member died: what it had is done again.

        Raises:
            RunFailedError: Members die of it.
        """
        if self.ended:
            return
        if member in self._ready:
            self._ready.remove(member)
        if member is self._lead:
            self._leads += 1
            if self._leads >= LEADS_TOO_MANY:
                raise RunFailedError(
                    f"{LEADS_TOO_MANY} actors died while they led this run: see the cluster's logs. What was computed "
                    "is kept."
                )
            self._restart()
        elif self._sharing is not None:
            self._sharing.lost(member)
            self.look()
