"""`docs/cluster.md`: what a run on a cluster costs, measured on this machine and reckoned for others.

`python -m scripts.cluster_page`. Ratios are of runs side by side; figures for GPUs are arithmetic, and say so.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

os.environ["OMP_NUM_THREADS"] = "1"  # as an actor of one CPU has

from engine.client import AnyWorker, Worker
from engine.cluster.client import ClusterWorker
from engine.protocol import RunRequest
from engine.recipe import Recipe, parse_recipe
from engine.results import CurveResult, Event, RowResult, RunEnded
from engine.worker import WorkerOptions
from sessions.runner import run_to_end
from sessions.store import RunWriter

ROUNDS: Final = 4
CURVES: Final = 640
STEPS: Final = 100
ROWS: Final = 20_000
PROMPTS: Final = 10_000
FEATURES: Final = 131_072
PARAMETERS: Final = 8.0e9
D_MODEL: Final = 4096
OUT: Final = Path(__file__).parents[1] / "docs" / "cluster.md"

PAGE: Final = """\
# On a cluster

The recipe does not change; who computes it does. [Ray](https://docs.ray.io) is an extra, wanted on every node:

```sh
pip install 'dirscope[cluster]'                                # the same version everywhere
ray start --head                                               # prints HOST:PORT; on other nodes: ray start --address HOST:PORT
dirscope --batch big.toml --out run --cluster auto             # or HOST:PORT; local makes one of this machine
dirscope --cluster auto                                        # the app, computing there
```

Slurm, in one command; Ray starts on all nodes of the allocation, the run on the first, and both end together:

```sh
srun --nodes=4 --ntasks-per-node=1 --gpus-per-node=8 --cpus-per-task=32 sh -c '
  head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -1)
  exec ray symmetric-run --address "$head:6379" --min-nodes 4 -- \\
    dirscope --batch big.toml --out run --cluster auto --resume'
```

`--resume` begins a run that is not there yet and goes on with one that is, so the same line serves a job that was requeued.

## What an actor gets

```toml
[cluster]          # all optional
gpus = 1           # of each actor: 1 where the cluster has any, else 0; 0.5 lets two share one
cpus = 4           # CPUs, which are its threads too, rounded down: 1 by default
actors = 16        # the most there may be: as many as fit by default
```

The section is no part of what is computed: a run that was begun on 16 actors goes on here, or on 2. As many actors start
as the cluster has room for, also when nodes join later. Each loads the model once and keeps it. What a recipe names must
be on every node: a local model or SAE directory under the same path, the Hub's cache, or a network.

## How it is shared out

- **Curves** (`probe`, `plateaus`, `sensitive-directions`, `synthetic` and the like): the run is cut into the shards that
  one machine would compute one after another (32 curves on a CPU, 256 on a GPU), in the same company, so that the numbers
  are the same. An actor has two at most, and asks for more when it is through.
- **Thresholds of many directions** (`rank-features`, `combine-features`, `mixtures`, `local-optimum`, `triangle`,
  `search`): one actor leads the experiment and draws the directions, blocks of 32 go to all, itself among them.
- **What is left** (steering, maps of a plane, SAE fidelity, layers) is computed by one actor.

One process, the one you started, writes the run folder. It takes results when it has written those before, and hands out
new work only then. Progress names every node with its actors and rows a second.

**The same numbers.** On one type of device, with as many threads, a run on a cluster ends in the tables of a local run
bit for bit; the tests compare them. Where nodes differ in device or versions, it is said, and numbers agree within
rounding (`replay --verify` has the tolerances). Nodes with other weights or another population are refused.

**What dies.** An actor or node: its shards are done again by others, and a new actor takes its place; a shard that takes
down three is the run's own fault, and ends it. A shard counts once, whoever else computes it. An actor that is silent for
`--patience` seconds is ended. A slow node holds nobody: when nothing is left to hand out, what somebody has had for twice
the usual time is given to a second one, and the first result counts. The process that writes: start it again with
`--resume`. Ray's own head: the same.

**Who gets in.** Ray trusts whoever reaches its ports, and what actors send is unpacked as Python objects: use clusters of
your own, behind a firewall. Ray's report of its use is switched off where dirscope starts it. The cluster of
`--cluster local` listens on this machine alone, and its files go with it.

## Measured

On {machine}, the bundled model (5.9 M parameters), 640 curves of 100 rows, the median of three interleaved rounds, from the
second shard on. One core also runs the writer, Ray's services and the measuring itself, so that two actors have less than two
cores:

| | curves/s (range) | rows/s | speed-up | efficiency |
|---|---|---|---|---|
{rows}

| | |
|---|---|
| from the request to the first curve, an actor's start, torch, model and its checks included | {cold} |
| the same with an actor that has the model: a population read, a shard computed | {warm} |
| a call to an actor and back, with nothing to do | {trip} |
| over the network, a curve of 101 points at two reads, 256 numbers wide | {bytes} |
| on disk, the same as a line of events | {disk} |
| one writer takes, with all results at hand | {writer} curves/s, {row_writer} rows of a table/s |

## What many GPUs would do

All {features:,} features of an SAE from {prompts:,} prompts of an 8B model, 100 steps each: 1.3 billion directions, 131
billion rows. A row costs 2 FLOPs a parameter, as everything before the perturbed token is computed once: 16 GFLOPs. No GPU
was at hand; the rates are the data sheet's FLOP/s of an H100 (67 T in float32, 989 T in bfloat16, dense) times an assumed
share (60 % and 30 %), so read the table by its order of magnitude.

{costs}

**Where it stops.** Not at the network: a GPU gives {curves_of_a_gpu} curves a second, {mb_of_a_gpu} MB/s; and not at handing out
work: a shard of 256 curves keeps a GPU for seconds, and takes one call of milliseconds. It stops at the one writer, who turns
curves into lines of JSON on one core. Ask for rows in place of curves, as `rank-features` does, and the limit is out of
sight; split a run of curves by prompt into several run folders, each with its writer, and it goes away; fewer steps move both
sides alike. Loading comes next: 16 GB of weights take a node about a minute from local disk and many from a network file
system that all nodes ask at once, which matters only for runs of minutes. At the end of a run actors idle for half a shard on
average, which is why late shards are given to two.
"""


def recipe(curves: int, actors: int) -> Recipe:
    """A recipe of many curves from one base."""
    return parse_recipe(
        {
            "site": {"prompt": "Once upon a time, there was a little girl who"},
            "path": {"steps": STEPS},
            "directions": [{"kind": "real-other", "count": curves // 2}, {"kind": "random", "count": curves // 2}],
            "cluster": {"actors": actors, "cpus": 0.5},  # three actors that wait for their turn, on two cores
        }
    )


@dataclass
class Timed:
    """A run: seconds until the first curve, and curves a second behind it."""

    first: float
    rate: float


def timed(worker: AnyWorker, recipe: Recipe, place: Path) -> Timed:
    """Run a recipe into a folder, as batch does."""
    writer = RunWriter.create(place, recipe)
    began, arrived = time.monotonic(), list[float]()

    def take(event: Event) -> None:
        writer.write(event)
        if isinstance(event, CurveResult):
            arrived.append(time.monotonic())

    run_to_end(worker, RunRequest(1, recipe), take)
    writer.finish(RunEnded("done"))
    first = arrived[0]
    behind = [t for t in arrived if t > first + 1e-3]
    # The first shard of each has to be left out: it came with the first curve, or soon after.
    return Timed(first - began, len([t for t in behind if t > behind[0]]) / (arrived[-1] - behind[0]))


def measured(place: Path) -> dict[str, Any]:
    """Everything that is measured here."""
    found: dict[str, list[float]] = {"local": [], "threads": [], "one": [], "two": []}
    loads: list[float] = []
    crews = {"one": ClusterWorker("local", WorkerOptions(cache=place / "cache"))}
    crews["two"] = ClusterWorker("local", WorkerOptions(cache=place / "cache"))
    for worker in crews.values():
        worker.start()
    alone = Worker(WorkerOptions(cache=place / "cache", log=place / "log"))
    alone.start()
    os.environ["OMP_NUM_THREADS"] = "2"
    threads = Worker(WorkerOptions(cache=place / "cache", log=place / "log"))
    threads.start()
    size = 0.0
    for number in range(ROUNDS):
        found["local"].append(timed(alone, recipe(CURVES, 1), place / f"local{number}").rate)
        found["threads"].append(timed(threads, recipe(CURVES, 1), place / f"threads{number}").rate)
        for name, actors in (("one", 1), ("two", 2)):
            worker = crews[name]
            run = timed(worker, recipe(CURVES, actors), place / f"{name}{number}")
            if name == "one":
                loads.append(run.first)
            if number:  # in the first round actors start
                found[name].append(run.rate)
            assert worker.tally is not None
            size = worker.tally.bytes / CURVES
        print(number, {name: round(rates[-1], 1) for name, rates in found.items() if rates}, flush=True)
    crew = crews["one"]._crew
    assert crew is not None
    began, calls = time.monotonic(), 500
    for _ in range(calls):
        crew.call(crew.members[0], lambda *_: None, "sign")
        while crew.busy:
            crew.step(1.0)
    trips = (time.monotonic() - began) / calls
    crews["two"].stop()
    crews["one"].stop()
    alone.stop()
    threads.stop()
    return {
        "rates": {name: statistics.median(rates) for name, rates in found.items()},
        "spread": {name: (min(rates), max(rates)) for name, rates in found.items()},
        "cold": loads[0],
        "warm": statistics.median(loads[1:]),
        "bytes": size,
        "trip": trips,
        "disk": _on_disk(place / "local0"),
        "writer": _writer(place / "local0", place / "again"),
        **_row_writer(place / "rows"),
    }


def _on_disk(folder: Path) -> float:
    """Bytes of events for a curve."""
    return (folder / "events.jsonl").stat().st_size / CURVES


def _writer(folder: Path, place: Path) -> float:
    """Curves a second that one writer takes, when all are there at once."""
    from sessions.reader import read_run

    run = read_run(folder)
    writer = RunWriter.create(place, run.recipe)
    events = [event for _, event in run.events if not isinstance(event, RunEnded)]
    began = time.monotonic()
    for event in events:
        writer.write(event)
    seconds = time.monotonic() - began
    writer.finish(RunEnded("done"))
    return CURVES / seconds


def _row_writer(place: Path) -> dict[str, float]:
    """Rows of a ranking that one writer takes a second, and bytes of each."""
    writer = RunWriter.create(place, recipe(2, 1))
    row = {
        "feature": 70_000, "sign": "+", "activation": 0.123456789012, "share_of_l1": 0.0123456789012,
        "rate_at_site": 0.00123456789, "length": 12.3456789012, "threshold": 6.78901234567, "censored": False,
        "p": 0.0497512437811,
    }  # fmt: skip
    before, began = (place / "events.jsonl").stat().st_size, time.monotonic()
    for _ in range(ROWS):
        writer.write(RowResult("ranking", row))
    seconds = time.monotonic() - began
    writer.close()
    return {"row_writer": ROWS / seconds, "row_bytes": ((place / "events.jsonl").stat().st_size - before) / ROWS}


def page(found: dict[str, Any]) -> str:
    """The page."""
    rates, spread = found["rates"], found["spread"]
    rows = []
    for name, words, cores in (
        ("local", "no cluster, one worker of one thread", 1),
        ("threads", "no cluster, one worker of two threads", 2),
        ("one", "cluster, one actor of one CPU", 1),
        ("two", "cluster, two actors of one CPU", 2),
    ):
        speedup = rates[name] / rates["one"]
        low, high = spread[name]
        rows.append(
            f"| {words} | {rates[name]:.1f} ({low:.1f} to {high:.1f}) | {rates[name] * STEPS:,.0f} | {speedup:.2f} "
            f"| {speedup / cores:.0%} |"
        )
    gpu = GPUS[-1][1] * GPUS[-1][2] / (2 * PARAMETERS) / STEPS
    return PAGE.format(
        machine=f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}",
        rows="\n".join(rows),
        cold=f"{found['cold']:.0f} s",
        warm=f"{found['warm']:.1f} s",
        trip=f"{found['trip'] * 1000:.1f} ms",
        bytes=f"{found['bytes'] / 1000:.1f} kB",
        disk=f"{found['disk'] / 1000:.0f} kB",
        writer=f"{found['writer']:,.0f}",
        row_writer=f"{found['row_writer']:,.0f}",
        features=FEATURES,
        prompts=PROMPTS,
        curves_of_a_gpu=f"{gpu:,.0f}",
        mb_of_a_gpu=f"{gpu * (found['bytes'] + 4 * (D_MODEL - 256)) / 1e6:,.1f}",
        costs=costs(found),
    )


GPUS: Final = (("float32", 67e12, 0.6), ("bfloat16", 989e12, 0.3))
"""dtype, peak FLOP/s of an H100 SXM by its data sheet (dense), and the share of it that is assumed to be had."""


def costs(found: dict[str, Any]) -> str:
    """The table for an 8B model: GPU-hours, and where one writer is full."""
    lines = [
        "| kept of each direction | dtype | rows/s of a GPU | GPU-hours | bytes in all | GPUs that fill one writer "
        "| days on 8, 64, 512 GPUs |",
        "|---|---|---|---|---|---|---|",
    ]
    curve_bytes = found["disk"] + 8 * 4 / 3 * (D_MODEL - 256)  # the direction itself, base64 of float32
    for kept, size, taken in (
        ("the whole curve", curve_bytes, found["writer"] * found["disk"] / curve_bytes),
        ("a row: threshold and p", found["row_bytes"], found["row_writer"]),
    ):
        for dtype, peak, share in GPUS:
            rate = peak * share / (2 * PARAMETERS)
            directions = FEATURES * PROMPTS
            hours = directions * STEPS / rate / 3600
            full = taken / (rate / STEPS)
            days = ", ".join(_short(hours / 24 / min(n, full)) for n in (8, 64, 512))
            lines.append(
                f"| {kept} | {dtype} | {rate:,.0f} | {hours:,.0f} | {directions * size / 1e12:,.1f} TB "
                f"| {_short(full)} | {days} |"
            )
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="dirscope-cluster-") as folder:
        OUT.write_text(page(measured(Path(folder))))
