"""The engine against the naive ways, timed side by side in one run: `dirscope bench`.

A sweep is 100 steps along one direction at the last token of a ten-token prompt, written before block 1, logits and the
last residual read, KL included. Rounds are interleaved and medians are given: ratios carry over between machines,
milliseconds do not. Imports torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

from engine import metrics
from engine.crosscheck import boot_bridge
from engine.errors import UsageError, did_you_mean
from engine.forward import Forward, Hosts
from engine.hooks import default_read, parse_hook
from engine.layouts import choose
from engine.models import Model, from_network, load_model, pick_device
from engine.recipe import parse_recipe
from engine.shards import Layout
from engine.taps import editing

STEPS: Final = 100
TOKENS: Final = 10
LONG: Final = 1024
HOSTS: Final = 8
DIRECTIONS: Final = 4
"""Prompts and directions of each that are computed together in population mode: a shard of an experiment."""
LOOPED: Final = 10
"""Steps of the slow loop that are timed in a round."""
SCALES: Final = (1.0, -1.0, 0.5, -0.5)
"""What makes four directions of one."""
GEMM: Final = 4096
REPEATS: Final = 5
REPEAT_SECONDS: Final = 1.0
"""A method is repeated within a round up to so often, unless it is slow."""
SIZES: Final = {
    "gpt2-small": {"n_layer": 12, "n_head": 12, "n_embd": 768},
    "gpt2-medium": {"n_layer": 24, "n_head": 16, "n_embd": 1024},
    "gpt2-large": {"n_layer": 36, "n_head": 20, "n_embd": 1280},
    "gpt2-xl": {"n_layer": 48, "n_head": 25, "n_embd": 1600},
}
"""Shapes with random weights: what takes time does not depend on them, and nothing is downloaded."""


@dataclass
class Timings:
    """Seconds of each method in each round."""

    of: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, seconds: float) -> None:
        self.of.setdefault(name, []).append(seconds)

    def median(self, name: str) -> float:
        return statistics.median(self.of[name])


def bench_model(name: str, device: str = "auto") -> Model:
    """A model by size name, directory or id.

    Raises:
        UsageError: There is neither.
        LoadError: It cannot be loaded.
    """
    if name in SIZES:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = GPT2LMHeadModel(GPT2Config(**SIZES[name], attn_implementation="eager"))
        network = network.eval().requires_grad_(False).to(pick_device(device))
        folder = Path(tempfile.mkdtemp(prefix="dirscope-bench-"))
        network.config.save_pretrained(folder)  # transformer-lens looks for it under the model's name
        return from_network(str(folder), network, None, weights_sha256=name)
    if name != "embedded" and "/" not in name and not Path(name).exists() and name.startswith("gpt2-"):
        raise UsageError(f"There is no size or directory '{name}'{did_you_mean(name, SIZES)}")
    return load_model(parse_recipe({"site": {"prompt": "x"}, "model": {"name": name, "device": device}}).model)


class _Task:
    """One sweep by every method; each gives KL of steps 0 to 100."""

    def __init__(self, model: Model) -> None:
        self.model = model
        write = parse_hook(f"blocks.{min(1, model.n_layers - 1)}.hook_resid_pre", model.n_layers)
        self.read = default_read(model.n_layers)
        self.forward = Forward(model, write, [parse_hook(self.read, model.n_layers)])
        self.contexts = [[(37 * i + 101 * k + 7) % model.d_vocab for i in range(TOKENS)] for k in range(HOSTS)]
        self.position = TOKENS - 1
        self.one = choose(model, self.position, 1, STEPS)
        self.many = choose(model, self.position, 1, DIRECTIONS)
        self._square = torch.randn(GEMM, GEMM, device=model.device)
        self.rows = self.rows_of(self.forward.hosts(self.contexts[:1], self.position))[0]

    def rows_of(self, hosts: Hosts, steps: int = STEPS) -> Tensor:
        """Base rows and steps along one direction: [B, steps + 1, d_model]."""
        generator = torch.Generator().manual_seed(1)
        u = torch.randn(self.model.d_model, generator=generator).to(hosts.raw)
        u = u - u.mean() if self.model.centred else u
        # Twice the distance between two contexts, so that the model leaves its plateau.
        reach = 2 * torch.linalg.vector_norm(hosts.raw[:1] - hosts.raw[0].roll(1)) / 1.4
        shares = torch.linspace(0, 1, steps + 1).to(hosts.raw)
        rows: Tensor = hosts.raw[:, None] + reach * shares[:, None] * u / u.norm()
        return rows

    def _clean(self, tokens: int = 1) -> Tensor:
        return self.model.tensor(self.contexts[:1]).expand(tokens, -1)

    def lens_loop(self, bridge: Any, steps: int) -> Tensor:
        """(a) One full forward with a hook per step, as with transformer-lens' `run_with_hooks`."""
        name, logits = self.forward.write.name, []
        for row in self.rows[: steps + 1]:
            with torch.no_grad():
                hooks = [(name, lambda s, hook, row=row: _put(s, row))]
                logits.append(bridge.run_with_hooks(self._clean(), fwd_hooks=hooks)[:, -1])
        return metrics.kl(logits[0][0], torch.cat(logits))

    def loop(self, steps: int) -> Tensor:
        """(a') The same on the bare Hugging Face modules."""
        logits = []
        for row in self.rows[: steps + 1]:
            with torch.no_grad(), editing(self.model, self.forward.write, lambda s, row=row: _put(s, row)):  # type: ignore[misc]
                logits.append(self.model.network(input_ids=self._clean(), use_cache=False).logits[:, -1])
        return metrics.kl(logits[0][0], torch.cat(logits))

    def bridge(self, bridge: Any) -> Tensor:
        """(b) All steps as one batch through the full model, every hook of every position cached."""
        name = self.forward.write.name
        with torch.no_grad(), bridge.hooks(fwd_hooks=[(name, lambda s, hook: _put(s, self.rows))]):
            logits, cache = bridge.run_with_cache(self._clean(len(self.rows)))
        metrics.l2(cache[self.read][0, -1], cache[self.read][:, -1])
        return metrics.kl(logits[0, -1], logits[:, -1])

    def batched(self) -> Tensor:
        """(b') The same without caching anything."""
        with torch.no_grad(), editing(self.model, self.forward.write, lambda s: _put(s, self.rows)):
            logits = self.model.network(input_ids=self._clean(len(self.rows)), use_cache=False).logits[:, -1]
        return metrics.kl(logits[0], logits)

    def cached(self) -> Tensor:
        """(c) Hugging Face's own cache: the prefix once, copied for every row, the last token for all rows."""
        ids, cache = self._clean(), DynamicCache()
        with torch.no_grad():
            self.model.network(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache.batch_repeat_interleave(len(self.rows))
            with editing(self.model, self.forward.write, lambda s: _put(s, self.rows)):
                logits = self.model.network(
                    input_ids=ids[:, -1:].expand(len(self.rows), -1), past_key_values=cache, use_cache=True
                ).logits[:, -1]
        return metrics.kl(logits[0], logits)

    def sweep(self) -> Tensor:
        """Ours: one sweep, its prefix pass included."""
        hosts = self.forward.hosts(self.contexts[:1], self.position)
        return torch.cat(list(self.measured(hosts, self.rows[None], self.one)))

    def population(self) -> Tensor:
        """Ours: sweeps of several prompts and directions together, prefix passes included; gives KL of the first."""
        hosts = self.forward.hosts(self.contexts, self.position)
        steps = self.rows_of(hosts)[:, 1:]
        rows = torch.cat(
            [hosts.raw[:, None], *[hosts.raw[:, None] + s * (steps - hosts.raw[:, None]) for s in SCALES]], 1
        )
        first = [kl[: -(-len(kl) // HOSTS)] for kl in self.measured(hosts, rows, self.many)]
        return torch.cat(first)[: STEPS + 1]

    def measured(self, hosts: Hosts, rows: Tensor, layout: Layout) -> Iterator[Tensor]:
        """KL of rows [B, steps + 1, d_model] in chunks of the layout, each with the base rows in front."""
        width = layout.rows_per_chunk // len(hosts) - 1
        for start in range(0, rows.shape[1], width):
            chunk = torch.cat([rows[:, :1], rows[:, start : start + width]], dim=1)
            output = self.forward.run(hosts, chunk, layout.rule)
            found = []
            for logits, read in zip(output.logits, output.reads[0], strict=True):
                stream = self.model.to_basis(read, self.forward.reads[0])
                metrics.l2(stream[0], stream[1:])
                found.append(metrics.kl(logits[0], logits[1:]))
            yield torch.cat(found)

    def gemm(self) -> None:
        """One large matrix product."""
        torch.matmul(self._square, self._square)

    def flops(self) -> int:
        """Multiplications and additions that 100 steps cannot do without: one token each from the write on."""
        hosts = self.forward.hosts(self.contexts[:1], self.position)
        self.forward.run(hosts, self.rows[None, :1])  # takes the prefix down
        with FlopCounterMode(display=False) as counter:
            self.forward.run(hosts, self.rows[None, :1])
        return int(counter.get_total_flops()) * STEPS


def _put(stream: Tensor, rows: Tensor) -> Tensor:
    """The last position of a stream [batch, pos, d_model] becomes these rows."""
    stream = stream.clone()
    stream[:, -1] = rows
    return stream


def bench_lines(name: str, rounds: int, device: str = "auto") -> Iterator[str]:
    """Lines of text: a table of methods, then what the machine could do, memory, and a long prompt."""
    model = bench_model(name, device)
    try:
        yield from _lines(model, name, rounds)
    finally:
        if name in SIZES:
            shutil.rmtree(model.name, ignore_errors=True)


def _lines(model: Model, name: str, rounds: int) -> Iterator[str]:
    task, timings = _Task(model), Timings()
    yield (
        f"{name}: {model.n_layers} layers, d_model {model.d_model}, {TOKENS} tokens, {STEPS} steps, {model.device}, "
        f"float32, {torch.get_num_threads()} threads, median of {rounds} rounds"
    )
    methods: dict[str, tuple[Callable[[], Tensor | None], float]] = {
        "a'  one full forward per step, bare": (lambda: task.loop(LOOPED), STEPS / (LOOPED + 1)),
        "b'  one full forward, all steps, bare": (task.batched, 1),
        "c   Hugging Face DynamicCache": (task.cached, 1),
        "dirscope, one sweep": (task.sweep, 1),
        "dirscope, population, per sweep": (task.population, 1 / (HOSTS * DIRECTIONS)),
        "floor": (task.gemm, 1),
    }
    try:
        bridge = boot_bridge(model)
        methods["a   one run_with_hooks per step"] = (
            lambda: task.lens_loop(bridge, LOOPED),
            STEPS / (LOOPED + 1),
        )
        methods["b   one run_with_cache, all steps"] = (lambda: task.bridge(bridge), 1)
    except Exception as error:  # transformer-lens does not know every architecture
        yield f"b cannot be run: transformer-lens does not boot this model ({type(error).__name__})"
    truth = task.loop(STEPS)
    results = {method: run() for method, (run, _) in methods.items()}
    for _ in range(rounds):
        for method, (run, scale) in methods.items():
            timings.add(method, _seconds(model, run) * scale)
    ours, many = timings.median("dirscope, one sweep"), timings.median("dirscope, population, per sweep")
    yield f"{'method':<36} {'ms':>9}  {'one sweep':>10}  {'population':>10}  largest difference of KL, nats"
    for method in sorted(m for m in methods if m != "floor"):
        seconds, kl = timings.median(method), results[method]
        assert kl is not None
        apart = float((kl - truth[: len(kl)].to(kl)).abs().max())
        yield f"{method:<36} {1000 * seconds:9.1f}  {seconds / ours:8.1f} x  {seconds / many:8.1f} x  {apart:.1e}"
    rate = 2 * GEMM**3 / timings.median("floor")
    floor = task.flops() / rate
    yield (
        f"floor: {task.flops() / 1e9:.1f} Gflop a sweep at {rate / 1e9:,.0f} Gflop/s ({GEMM} x {GEMM} product) is "
        f"{1000 * floor:.1f} ms: one sweep reaches {floor / ours:.0%}, population {floor / many:.0%}"
    )
    yield from _memory(task)
    if model.context >= LONG:
        yield from _long_prompt(task, rounds)


def _memory(task: _Task) -> Iterator[str]:
    """What one more step of a pass costs."""
    for tokens in (TOKENS, LONG):
        if tokens > task.model.context:
            continue
        hosts = task.forward.hosts([[(37 * i + 7) % task.model.d_vocab for i in range(tokens)]], tokens - 1)
        layout = choose(task.model, tokens - 1, 1, STEPS)
        few, many = layout.rows_per_chunk // 4, layout.rows_per_chunk
        rows = task.rows_of(hosts, many - 1)
        task.forward.run(hosts, rows[:, :1], layout.rule)
        peaks = []
        for n in (few, many):
            _give_back()
            _reset_peak(task.model)
            output = task.forward.run(hosts, rows[:, :n], layout.rule)
            metrics.kl(output.logits[0, 0], output.logits[0])
            peaks.append(_peak(task.model))
        if None not in peaks:
            each = (peaks[1] - peaks[0]) / (many - few)
            yield f"memory: {each / 2**20:.2f} MiB for each further step of a pass, {tokens}-token prompt"


def _long_prompt(task: _Task, rounds: int) -> Iterator[str]:
    """A sweep behind a long prompt against its prefix pass plus a short sweep."""
    ids, forward, timings = [[(37 * i + 7) % task.model.d_vocab for i in range(LONG)]], task.forward, Timings()
    layout = choose(task.model, LONG - 1, 1, STEPS)

    def whole() -> None:
        hosts = forward.hosts(ids, LONG - 1)
        list(task.measured(hosts, task.rows_of(hosts), layout))

    def prefix() -> None:
        forward.prefix(forward.hosts(ids, LONG - 1))

    for _ in range(rounds):
        for name, method in (("whole", whole), ("prefix", prefix), ("short", task.sweep)):
            timings.add(name, _seconds(task.model, method))
    whole_time, parts = timings.median("whole"), timings.median("prefix") + timings.median("short")
    yield (
        f"{LONG}-token prompt: {1000 * whole_time:.0f} ms, {whole_time / parts:.2f} x of its prefix pass "
        f"({1000 * timings.median('prefix'):.0f} ms) plus a {TOKENS}-token sweep "
        f"({1000 * timings.median('short'):.0f} ms)"
    )


def _seconds(model: Model, run: Callable[[], object]) -> float:
    """Median time of some runs after one that brings caches and allocator into the state of a steady loop."""
    run()
    _finish(model)
    found: list[float] = []
    while len(found) < REPEATS and sum(found) < REPEAT_SECONDS:
        began = time.perf_counter()
        run()
        _finish(model)
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def _finish(model: Model) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


def _give_back() -> None:
    """Hand freed memory back to the system, which otherwise counts it as held."""
    with contextlib.suppress(OSError, AttributeError):  # the allocator of other systems has no such call
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _reset_peak(model: Model) -> None:
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak that the system keeps of resident memory


def _peak(model: Model) -> Any:
    """Bytes at the peak since it was reset; None where the system does not tell."""
    if model.device.type == "cuda":
        return torch.cuda.max_memory_allocated(model.device)
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)
