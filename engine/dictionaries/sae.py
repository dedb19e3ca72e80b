"""One SAE from sae-lens, checked against the model and hook, with numpy in and out.

Knows release / sae_id, local sae-lens directories and the bundled SAEs. Vectors come and go in the basis of the
write hook; where the SAE was trained on uncentred residuals of a centred model, the mean that the basis removed is
put back first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.dictionaries.evidence import EvidenceFile, read_evidence
from engine.drawing import Base
from engine.embedded import SAES_DIR
from engine.errors import HookError, SaeError
from engine.hooks import HookPoint, parse_hook
from engine.models import Model, Report, tensors_sha256
from engine.recipe import SaeSection
from engine.taps import width


@dataclass(frozen=True, eq=False)
class Sae:
    """An SAE that fits the model and hook it was loaded for. Satisfies `engine.drawing.Features`."""

    release: str
    sae_id: str
    sha256: str
    """Of all its tensors."""
    module: Any
    centre: bool
    """Whether to remove the mean over d_model from what the SAE gives back."""
    uncentred: bool
    """Whether it was trained on residuals with their mean over d_model, of a model whose basis has none."""
    evidence: EvidenceFile | None = None
    """What its features seem to stand for, where that lies beside it."""

    @property
    def n_features(self) -> int:
        return int(self.module.cfg.d_sae)

    @property
    def architecture(self) -> str:
        return str(self.module.cfg.architecture())

    @torch.no_grad()
    def encode(self, vectors: NDArray[np.float32], means: NDArray[np.float32]) -> NDArray[np.float64]:
        """Feature activations [n, d_sae] of vectors [n, d_hook] whose removed means are [n]."""
        return np.asarray(self.module.encode(self._input(vectors, means)).cpu().double().numpy())

    def activations(self, base: Base) -> NDArray[np.float64]:
        return np.asarray(self.encode(*_one(base))[0])

    @torch.no_grad()
    def contribution(self, base: Base, feature: int) -> NDArray[np.float64]:
        x = self._input(*_one(base))
        f = self.module.encode(x)
        on, off = f.clone(), f.clone()
        if f[0, feature] == 0:
            on[0, feature] = 1.0
        off[0, feature] = 0.0
        with_feature = self._output(self.module.decode(on))
        # Encoding again restores what run-time normalisation keeps between encode and decode.
        self.module.encode(x)
        return np.asarray((with_feature - self._output(self.module.decode(off)))[0])

    def encoder(self, feature: int) -> NDArray[np.float64]:
        return self._output(self.module.W_enc[:, feature].detach())

    @torch.no_grad()
    def quality(self, vectors: NDArray[np.float32], means: NDArray[np.float32]) -> tuple[float, float]:
        """Unexplained fraction of the variance of the vectors [n, d_hook], and mean number of active features (L0)."""
        f = self.module.encode(self._input(vectors, means))
        x = vectors.astype(np.float64)
        error = ((x - self._output(self.module.decode(f))) ** 2).sum()
        return float(error / ((x - x.mean(0)) ** 2).sum()), float((f > 0).sum(-1).cpu().double().mean())

    @torch.no_grad()
    def reconstruction(self, vectors: NDArray[np.float32], means: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the SAE makes of vectors [n, d_hook] whose removed means are [n]: SAE(x), in the basis [n, d_hook]."""
        x = self._input(vectors, means)
        return self._output(self.module.decode(self.module.encode(x)))

    def error(self, base: Base) -> NDArray[np.float64]:
        return np.asarray(self.reconstruction(*_one(base))[0] - base.vector)

    def _input(self, vectors: NDArray[np.float32], means: NDArray[np.float32]) -> Tensor:
        x = vectors + means[:, None] if self.uncentred else vectors
        return torch.from_numpy(np.ascontiguousarray(x)).to(self.module.W_enc.device, self.module.W_enc.dtype)

    def _output(self, x: Tensor) -> NDArray[np.float64]:
        y = x.cpu().double().numpy()
        return np.asarray(y - y.mean(-1, keepdims=True) if self.centre else y)


def _one(base: Base) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A base as a batch of one."""
    return base.vector[None], np.array([base.mean], dtype=np.float32)


def load_sae(section: SaeSection, model: Model, hook: HookPoint, report: Report) -> Sae:
    """Load the SAE of a recipe's `[sae]` section and check that it belongs to this model's hook.

    Args:
        section: release and sae_id; sae_id defaults to the write hook's name.
        model: the model it must fit.
        hook: the write hook.
        report: called with a line of text at each stage.

    Raises:
        SaeError: It cannot be found or loaded, or has another width or another hook.
    """
    report("loading sae-lens")
    from sae_lens import SAE

    sae_id = section.sae_id or hook.name
    folder = _folder(section, model, hook, sae_id)
    report(f"loading SAE {section.release} / {sae_id}")
    try:
        if folder is not None:
            module = SAE.load_from_disk(folder, device="cpu", dtype="float32")
        else:
            module = SAE.from_pretrained(section.release, sae_id, device="cpu", dtype="float32")
    except Exception as error:
        raise SaeError(_why_not(section.release, sae_id, folder, error)) from error
    module = module.eval().requires_grad_(False).to(model.device)
    if int(module.cfg.d_in) != width(model, hook):
        raise SaeError(
            f"SAE {section.release} / {sae_id} has width {module.cfg.d_in}, but {model.name} has d_hook "
            f"{width(model, hook)} at {hook.name}: choose an SAE of this model and hook."
        )
    metadata = module.cfg.metadata
    trained_at = metadata.hook_name
    if trained_at is not None and not _same_hook(str(trained_at), hook, model):
        raise SaeError(
            f"SAE {section.release} / {sae_id} was trained on {trained_at}, but the write hook is {hook.name}: set "
            f"site.write to {trained_at} or choose another SAE."
        )
    # sae-lens loads its models without processing unless this says otherwise.
    kwargs = metadata.model_from_pretrained_kwargs or {}
    sha256 = tensors_sha256(module.state_dict())
    return Sae(
        release=section.release,
        sae_id=sae_id,
        sha256=sha256,
        module=module,
        centre=model.is_centred(hook),
        uncentred=model.is_centred(hook) and not kwargs.get("center_writing_weights", False),
        evidence=_evidence(folder, model, sha256),
    )


def _evidence(folder: Path | None, model: Model, sae_sha256: str) -> EvidenceFile | None:
    def text(ids: list[int]) -> str:
        # The end of a text is a place like any other, so it is shown.
        return str(model.tokenizer.decode(ids)).replace(str(model.tokenizer.eos_token), " ¶ ")

    return None if folder is None else read_evidence(folder, model.weights_sha256, sae_sha256, text)


def _folder(section: SaeSection, model: Model, hook: HookPoint, sae_id: str) -> Path | None:
    """The directory of a bundled or local SAE; None for one of the Hub."""
    if section.release == "bundled":
        if model.name != "embedded":
            raise SaeError(
                f"The bundled SAE belongs to the embedded model, not to '{model.name}': name one with sae.release and "
                "sae.sae_id, or --sae RELEASE:SAE_ID."
            )
        bundled = sorted(p.name for p in SAES_DIR.iterdir() if p.is_dir())
        for name in bundled:
            wanted = name == section.sae_id if section.sae_id else _same_hook(name, hook, model)
            if wanted:
                return SAES_DIR / name
        raise SaeError(f"There is no bundled SAE for {sae_id}; there is one for {', '.join(bundled)}.")
    path = Path(section.release).expanduser()
    if path.is_dir():
        inner = path / section.sae_id if section.sae_id else path
        if not (inner / "cfg.json").exists():
            raise SaeError(f"{inner} holds no cfg.json, so it is no sae-lens directory.")
        return inner
    if section.release.startswith((".", "/", "~")):
        raise SaeError(f"There is no directory {section.release}: give a sae-lens directory, release or 'bundled'.")
    return None


def _same_hook(name: str, hook: HookPoint, model: Model) -> bool:
    try:
        return parse_hook(name, model.n_layers).place == hook.place
    except HookError:
        return False


def _why_not(release: str, sae_id: str, folder: Path | None, error: Exception) -> str:
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if folder is not None:
        return f"Cannot load an SAE from {folder}: {first}"
    if type(error).__name__ in ("LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "ConnectError"):
        return (
            f"SAE {release} / {sae_id} is not in the Hugging Face cache and the Hub cannot be reached: load it once "
            "online, or give a local sae-lens directory."
        )
    return f"Cannot load SAE {release} / {sae_id}: {first}"
