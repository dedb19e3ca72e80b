"""Actors of a Ray cluster: as many as fit, calls to them, and their deaths. The only module that imports Ray.

Knows nodes, resources and calls in flight; not what is computed. Written against Ray 2 ("Ray Core", docs.ray.io).
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from engine.cluster.hand import Hand
from engine.cluster.messages import Setup
from engine.errors import LoadError, RunFailedError
from engine.recipe import ClusterSection

LOCAL: Final = "local"
"""An address that starts a cluster on this machine, for as long as the run takes."""
REACH_SECONDS: Final = 10.0
THREADS: Final = 8
"""Calls that one actor takes at once; one of them computes."""


@dataclass(eq=False)
class Member:
    """An actor."""

    number: int
    handle: Any
    node: str = ""
    """Its host; empty while it has no place yet."""
    pid: int = 0
    """Of its process there."""


@dataclass(frozen=True)
class _Call:
    member: Member
    then: Callable[[Member, Any], None]


@dataclass
class Crew:
    """Actors and the calls to them.

    Args:
        address: of the cluster: `auto`, `local` or HOST:PORT.
        setup: of every actor.
        on_loss: called with a member that died, once, after it was taken off.
    """

    address: str
    setup: Setup
    on_loss: Callable[[Member, str], None]
    members: list[Member] = field(default_factory=list)
    _calls: dict[Any, _Call] = field(default_factory=dict)
    _born: int = 0
    _connected: bool = False
    _room: str = ""
    """Where a cluster of ours keeps its sockets and logs."""

    def connect(self) -> None:
        """Connect to the cluster.

        Raises:
            LoadError: Ray is not installed, or there is no such cluster.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report home
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # it would announce that this is coming
        try:
            import ray
        except ImportError as error:
            raise LoadError(
                f"--cluster needs Ray, which is not here ({error}): pip install 'dirscope[cluster]' on every node."
            ) from None
        _reach(self.address)
        main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM) if main else None
        try:
            if ray.is_initialized():
                return
            if self.address == LOCAL:
                # Its sockets' paths must be short, and nobody else on the network is to reach it.
                os.environ.setdefault("RAY_worker_niceness", "0")
                self._room = tempfile.mkdtemp(prefix="dirscope-", dir="/tmp" if os.path.isdir("/tmp") else None)
                local = {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "_temp_dir": self._room}
                ray.init(address="local", log_to_driver=False, logging_level=logging.CRITICAL, **local)
            else:
                ray.init(address=self.address, log_to_driver=False, logging_level=logging.CRITICAL)
            self._connected = True
        except Exception as error:
            said = str(error).strip().splitlines()
            raise LoadError(
                f"There is no Ray cluster at '{self.address}' ({said[0] if said else type(error).__name__}): start one "
                "with 'ray start --head', give its HOST:PORT, or use --cluster local."
            ) from None
        finally:
            if main:
                signal.signal(signal.SIGTERM, before)  # Ray puts its own there

    def room(self, section: ClusterSection, cuda: bool) -> tuple[float, int]:
        """GPUs of each actor, and how many actors fit into the cluster as it is.

        Args:
            section: what the recipe says.
            cuda: whether the recipe would use a GPU where there is one.
        """
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        has_gpus = any(node.get("GPU", 0) >= 1 for node in nodes)
        gpus = section.gpus if section.gpus is not None else float(cuda and has_gpus)
        fits = sum(
            int(min(node.get("CPU", 0) / section.cpus, node.get("GPU", 0) / gpus if gpus else float("inf")) + 1e-9)
            for node in nodes
        )
        return gpus, min(fits, section.actors or fits)

    def recruit(self, section: ClusterSection, gpus: float) -> Member:
        """Another actor, which the cluster gives a place to when it has one."""
        import ray

        actor = ray.remote(Hand).options(
            num_cpus=section.cpus, num_gpus=gpus, max_concurrency=THREADS, max_restarts=0, max_task_retries=0
        )
        member = Member(self._born, actor.remote(self.setup))
        self._born += 1
        self.members.append(member)
        return member

    def call(self, member: Member, then: Callable[[Member, Any], None], method: str, *arguments: Any) -> None:
        """Call a method of an actor; `then` gets what it gives, unless the actor dies before."""
        if member in self.members:
            self._calls[getattr(member.handle, method).remote(*arguments)] = _Call(member, then)

    @property
    def busy(self) -> bool:
        """Whether calls are under way."""
        return bool(self._calls)

    def step(self, timeout: float) -> None:
        """Wait for what comes first, and hand on all that has come.

        Raises:
            RunFailedError: A method of an actor raised, which is a mistake of ours.
        """
        import ray

        if not self._calls:
            return
        try:
            ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=timeout)
            if ready:
                ready, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        except (ConnectionError, ray.exceptions.RaySystemError) as error:
            raise RunFailedError(
                f"The connection to the cluster broke ({error}). What was computed is kept."
            ) from error
        for reference in ready:
            call = self._calls.pop(reference, None)
            if call is None:
                continue  # of a member that was lost just now
            try:
                value = ray.get(reference)
            except ray.exceptions.RayActorError as error:
                self.dismiss(call.member, _why(error))
            except ray.exceptions.RayTaskError as error:
                raise RunFailedError(f"An actor on {call.member.node or 'a node'} failed: {error.cause!r}.") from error
            else:
                call.then(call.member, value)

    def dismiss(self, member: Member, why: str) -> None:
        """Take a member off, ending its process where there still is one."""
        import ray

        if member not in self.members:
            return
        self.members.remove(member)
        self._calls = {reference: call for reference, call in self._calls.items() if call.member is not member}
        with contextlib.suppress(Exception):  # it may be gone in more ways than Ray documents
            ray.kill(member.handle)
        self.on_loss(member, why)

    def leave(self) -> None:
        """End all actors, and the connection where it is ours."""
        import ray

        for member in self.members:
            with contextlib.suppress(Exception):
                ray.kill(member.handle)
        self.members, self._calls = [], {}
        if self._connected:
            self._connected = False
            ray.shutdown()
        if self._room:
            shutil.rmtree(self._room, ignore_errors=True)
            self._room = ""


def _reach(address: str) -> None:
    """See whether anybody listens at HOST:PORT, as Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise LoadError(
            f"Nobody listens at {address} ({error}): give the address that 'ray start --head' printed, and see that "
            "this machine reaches it."
        ) from None


def _why(error: Exception) -> str:
    """The first telling line of what Ray says of a death."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "because" in line or "died" in line or "killed" in line), lines[0])
