"""An error of the engine as what crosses the process border.

Knows which errors mean memory, a lost device or a missing package. Imports no torch.
"""

from __future__ import annotations

import traceback

from engine.errors import DirscopeError, LoadError, OutOfMemoryError
from engine.memory import is_device_lost, is_out_of_memory
from engine.protocol import Failed


def failed(error: Exception, model: str) -> Failed:
    """What went wrong while running a model, as a sentence; the traceback goes along."""
    text = "".join(traceback.format_exception(error))
    if is_out_of_memory(error):
        message = f"Out of memory while running '{model}': use a smaller model, another device or a shorter prompt."
        return Failed(OutOfMemoryError.__name__, message, text)
    if is_device_lost(error):
        said = str(error).strip().splitlines()[0]
        return Failed(
            "RunFailedError", f"The device failed while running '{model}' ({said}): see dirscope doctor.", text
        )
    if isinstance(error, DirscopeError):
        return Failed(type(error).__name__, str(error), text)
    if isinstance(error, ImportError):
        return Failed(LoadError.__name__, f"A package is missing or broken: {error}. Reinstall dirscope.", text)
    return Failed("RunFailedError", f"The run failed: {type(error).__name__}: {error}", text)
