"""Workers with a fault: the real process, in which the forward pass does something else once.

A file says what; it is taken away when that happens, so that the next worker is sound.
"""

from __future__ import annotations

import os
import sys
import time
from multiprocessing import connection
from pathlib import Path
from typing import Any

import engine.worker
from engine.worker import WorkerOptions

VARIABLE = "FAULT_OF_THE_WORKER"


def _happen(fault: str) -> None:
    match fault:
        case "hang":
            time.sleep(10_000)
        case "spin":
            while True:
                pass
        case "exit":
            os._exit(3)
        case "abort":
            os.abort()
        case "cuda":
            raise RuntimeError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA")
        case "memory":
            raise MemoryError("not enough memory")
        case "bug":
            raise ZeroDivisionError("division by zero")


def serve(pipe: connection.Connection, options: WorkerOptions) -> None:
    """The worker, with `VARIABLE` naming the file that says what goes wrong."""
    from engine.forward import Forward

    sound = Forward.run

    def run(self: Forward, *arguments: Any, **named: Any) -> Any:
        file = Path(os.environ[VARIABLE])
        if file.exists():
            fault, _, left = file.read_text().partition(" ")
            if int(left or 0):
                file.write_text(f"{fault} {int(left) - 1}")
            else:
                file.unlink()
                print(f"fault: {fault}", file=sys.stderr, flush=True)
                _happen(fault)
        return sound(self, *arguments, **named)

    Forward.run = run  # type: ignore[method-assign]
    engine.worker.serve(pipe, options)
