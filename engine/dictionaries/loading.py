"""Finding and loading an SAE: a sae-lens release, a local directory, or a bundled one; or one that is in memory.

Refuses what cannot belong to the model and hook by its width, its hook, its tensors or its kind; whether it rebuilds
this model's activations is for `gate` to find out. Never unpickles a local file.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from engine.dictionaries.evidence import EvidenceFile, read_evidence
from engine.dictionaries.sae import Declared, Sae
from engine.embedded import SAES_DIR
from engine.errors import HookError, SaeError
from engine.hooks import HookPoint, parse_hook
from engine.models import Model, Report, tensors_sha256, twin
from engine.recipe import SaeSection
from engine.taps import width

CONFIG_FILE: Final = "cfg.json"
WEIGHTS_FILE: Final = "sae_weights.safetensors"
CARD_FILE: Final = "card.json"
PICKLES: Final = (".pt", ".pth", ".bin", ".pkl", ".ckpt")
TRANSCODERS: Final = "transcoder"
CONTEXTUAL: Final = "temporal"


def load_sae(section: SaeSection, model: Model, hook: HookPoint, report: Report) -> Sae:
    """Load the SAE of a recipe's `[sae]` section and check that it can belong to this model's hook.

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
    listed = _listed(section.release, sae_id) if folder is None else Declared()
    return wrap_sae(module, model, hook, section.release, sae_id, folder, listed)


def wrap_sae(
    module: Any,
    model: Model,
    hook: HookPoint,
    release: str,
    sae_id: str,
    folder: Path | None = None,
    listed: Declared = Declared(),  # noqa: B008  (frozen)
) -> Sae:
    """An SAE that is in memory, as one of ours; what it was made from is not changed.

    Args:
        module: of sae-lens.
        model: the model it must fit.
        hook: the write hook.
        release: its name for people and records.
        sae_id: likewise.
        folder: where a card and evidence may lie beside it.
        listed: what a list of releases says of it.

    Raises:
        SaeError: It is no SAE of sae-lens, has another width or hook, weights that are not finite, or is no autoencoder
            of one place.
    """
    name = f"SAE {release} / {sae_id}"
    if not (isinstance(module, nn.Module) and hasattr(module, "encode") and hasattr(module, "cfg")):
        raise SaeError(f"{type(module).__name__} is no SAE: give one of sae-lens, or RELEASE:SAE_ID.")
    # In float32 in the machine's memory, to do with as we like; tensors are shared where they fit.
    try:
        module = twin(module, _like).eval()
    except RecursionError:  # whatever its configuration holds is copied too
        raise SaeError(f"The configuration of {name} is nested too deep to be one.") from None
    architecture = str(module.cfg.architecture())
    if TRANSCODERS in architecture:
        raise SaeError(
            f"{name} is a {architecture}, which reads at one place and writes at another: choose an autoencoder."
        )
    if architecture == CONTEXTUAL:
        raise SaeError(f"{name} is temporal: what it gives depends on earlier tokens. Choose one of single tokens.")
    if int(module.cfg.d_in) != width(model, hook):
        raise SaeError(
            f"{name} has width {module.cfg.d_in}, but {model.name} has d_hook {width(model, hook)} at {hook.name}: "
            "choose an SAE of this model and hook."
        )
    for tensor, values in module.state_dict().items():
        if not values.isfinite().all():
            raise SaeError(f"{name} holds NaN or infinity in {tensor}: its file is damaged, get it again.")
    metadata = module.cfg.metadata
    trained_at = metadata.hook_name
    if trained_at is not None and not _same_hook(str(trained_at), hook, model):
        raise SaeError(
            f"{name} was trained on {trained_at}, but the write hook is {hook.name}: set site.write to {trained_at} "
            "or choose another SAE."
        )
    # Ours come with heads joined to one vector already; sae-lens would join the batch too.
    module.turn_off_forward_pass_hook_z_reshaping()
    # sae-lens loads its models without processing unless this says otherwise.
    given = metadata.model_from_pretrained_kwargs
    kwargs = given if isinstance(given, dict) else {}
    sha256 = tensors_sha256(module.state_dict())
    return Sae(
        release=release,
        sae_id=sae_id,
        sha256=sha256,
        module=module,
        centre=model.is_centred(hook),
        uncentred=model.is_centred(hook) and not kwargs.get("center_writing_weights", False),
        evidence=_evidence(folder, model, sha256),
        declared=_declared(module, folder, listed),
        neuronpedia=metadata.neuronpedia_id,
    )


def _like(tensor: torch.Tensor) -> torch.Tensor:
    plain = tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype)
    return nn.Parameter(plain, requires_grad=False) if isinstance(tensor, nn.Parameter) else plain


def _listed(release: str, sae_id: str) -> Declared:
    """What sae-lens' list of releases says."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    entry = get_pretrained_saes_directory().get(release)
    if entry is None:
        return Declared()
    # An explained variance of 1 and an L0 of 0 are what the list holds where nothing is known.
    return Declared(_number(1 - entry.expected_var_explained.get(sae_id, 1.0)), _number(entry.expected_l0.get(sae_id)))


def _declared(module: Any, folder: Path | None, listed: Declared) -> Declared:
    """What its makers say: the k of a TopK SAE or its metadata, a card beside it, a list of releases."""
    metadata, card = module.cfg.metadata, {}
    if folder is not None and (folder / CARD_FILE).is_file():
        # A card that cannot be read says nothing.
        with contextlib.suppress(OSError, ValueError, RecursionError):
            card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    card = card if isinstance(card, dict) else {}
    return Declared(
        unexplained=_number(card.get("unexplained_variance")) or listed.unexplained,
        l0=_number(getattr(module.cfg, "k", None) or metadata.l0 or card.get("l0")) or listed.l0,
        trained_as=metadata.training_architecture,
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and value > 0 else None


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
        _whole(inner)
        return inner
    if section.release.startswith((".", "/", "~")):
        raise SaeError(f"There is no directory {section.release}: give a sae-lens directory, release or 'bundled'.")
    return None


def _whole(folder: Path) -> None:
    if not (folder / CONFIG_FILE).exists():
        raise SaeError(f"{folder} holds no {CONFIG_FILE}, so it is no sae-lens directory.")
    if not (folder / WEIGHTS_FILE).exists():
        pickles = sorted(f.name for f in folder.iterdir() if f.suffix in PICKLES)
        if pickles:
            raise SaeError(
                f"{folder} holds {pickles[0]}, a pickle, which could run anything and is never opened: save the SAE "
                f"with sae-lens as {WEIGHTS_FILE}."
            )
        raise SaeError(f"{folder} holds no {WEIGHTS_FILE}, so it is no sae-lens directory.")


def _same_hook(name: str, hook: HookPoint, model: Model) -> bool:
    try:
        return parse_hook(name, model.n_layers).place == hook.place
    except HookError:
        return False


def _why_not(release: str, sae_id: str, folder: Path | None, error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    # torch names the tensors that do not fit on the lines below its first.
    first = " ".join(lines[:2]) if "state_dict" in lines[0] else lines[0]
    if folder is not None:
        return f"Cannot load an SAE from {folder}: {first}"
    if type(error).__name__ in ("LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "ConnectError"):
        return (
            f"SAE {release} / {sae_id} is not in the Hugging Face cache and the Hub cannot be reached: load it once "
            "online, or give a local sae-lens directory."
        )
    return f"Cannot load SAE {release} / {sae_id}: {first}"
