"""A curve as a few lines of plain transformer-lens that compute it again.

Nothing of dirscope is in the code that is written, so that it checks a curve by other means. It reads the run's vectors
from its folder. Knows one run folder; runs nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from engine.embedded import MODEL_DIR
from engine.errors import UsageError
from sessions.reader import Run

TEMPLATE: Final = '''\
"""Curve {curve} of {folder} ({label}), computed again with plain transformer-lens."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.numpy import load_file
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

RUN = Path({run!r})
MODEL = {model!r}
HOOK, READ = {write!r}, {read!r}
POSITION, READ_POSITION = {position}, {read_position}
TOKENS = {tokens}

vectors = load_file(RUN / "arrays.safetensors")
x = torch.from_numpy(vectors["bases"][{base_row}]).double()
d = torch.from_numpy(vectors["directions"][{curve_row}]).double()
recorded = pq.read_table(RUN / "curves.parquet", filters=[("curve", "==", {curve})]).to_pandas()
recorded = recorded[(recorded.metric == "kl") & (recorded["read"] == "logits")].sort_values("step")

{load}
model = TransformerBridge.boot_transformers(MODEL, hf_model=network, tokenizer=AutoTokenizer.from_pretrained(MODEL))


def basis(v):
    return {basis}


{path}
stream = {{}}


def write(value, hook):
    flat = value.reshape(*value.shape[:2], -1).clone()
    raw = flat[:, POSITION].double()
    flat[:, POSITION] = (raw + (x - basis(raw)) + offsets).to(flat.dtype)
    return flat.reshape(value.shape)


def read(value, hook):
    stream["read"] = basis(value.reshape(*value.shape[:2], -1)[:, READ_POSITION].double())


with torch.no_grad():
    batch = torch.tensor([TOKENS[: READ_POSITION + 1]]).expand(len(offsets), -1)
    logits = model.run_with_hooks(batch, fwd_hooks=[(HOOK, write), (READ, read)])
log_p = logits[:, READ_POSITION].double().log_softmax(-1)
kl = (log_p[0].exp() * (log_p[0] - log_p)).sum(-1).numpy()
l2 = (stream["read"] - stream["read"][0]).norm(dim=-1).numpy()
difference = np.abs(kl - recorded["value"].to_numpy()).max()
print(f"largest difference of KL from the recorded curve: {{difference:.2g}} nats, of at most {{kl.max():.3g}}")
'''
STRAIGHT: Final = """\
# x' = x + a d/|d|, a = L2 distance.
offsets = torch.from_numpy(recorded["distance"].to_numpy())[:, None] * d / d.norm()
"""
SPHERE: Final = """\
# x' = |x| (cos t x/|x| + sin t u), u along the part of d orthogonal to x.
u = d - (d @ x) / (x @ x) * x
t = torch.from_numpy(np.radians(recorded["angle"].to_numpy()))[:, None]
offsets = (torch.cos(t) - 1) * x + torch.sin(t) * x.norm() * u / u.norm()
"""
TRAINED: Final = """\
network = AutoModelForCausalLM.from_pretrained(MODEL, dtype={dtype}).eval()"""
REINITIALISED: Final = """\
torch.manual_seed({seed})
network = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(MODEL), dtype={dtype}).eval()"""


def snippet(run: Run, curve: int) -> str:
    """Python code that computes a curve of a run again.

    Args:
        run: whole on disk.
        curve: its number.

    Raises:
        UsageError: The run has no such curve.
    """
    numbers = [c.summary.curve for c in run.curves]
    if curve not in numbers:
        have = f"0 to {max(numbers)}" if numbers else "none"
        raise UsageError(f"{run.folder} has no curve {curve}; it has {have}: name one with --curve.")
    found = run.curves[numbers.index(curve)]
    bases = [b.base for b in run.bases]
    base = run.bases[bases.index(found.summary.base)]
    site, recipe = run.info["site"], run.recipe
    load = TRAINED if recipe.model.weights == "trained" else REINITIALISED
    return TEMPLATE.format(
        curve=curve,
        folder=run.folder.name,
        label=found.summary.label.replace("\\", "/").replace('"', "'"),
        run=str(run.folder.resolve()),
        model=_location(recipe.model.name),
        write=site["write"],
        read=site["read"][-1],
        position=site["position"],
        read_position=site["read_position"],
        tokens=list(base.token_ids),
        base_row=bases.index(found.summary.base),
        curve_row=numbers.index(curve),
        load=load.format(dtype=f"torch.{recipe.model.dtype}", seed=recipe.seed),
        basis=_basis(site),
        path=STRAIGHT if recipe.path.mode == "straight" else SPHERE,
    )


def _location(name: str) -> str:
    if name == "embedded":
        return str(MODEL_DIR)
    path = Path(name).expanduser()
    return str(path.resolve()) if path.is_dir() else name


def _basis(site: dict[str, Any]) -> str:
    # The mean over d_model of a LayerNorm model does nothing, and is taken out.
    return "v - v.mean(-1, keepdim=True)" if site["basis"] == "centred" else "v"
