"""Loading a model: the bundled one, a local Hugging Face directory or a Hub id, into one `Model`.

The network is the Hugging Face one, in an explicit dtype; `engine.crosscheck` boots a transformer-lens bridge over
the same tensors. Knows devices, files and tokenizers. Does not know prompts, recipes beyond their model section,
or what is done with the model.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import cached_file
from transformers.utils.logging import disable_progress_bar

from engine.embedded import MODEL_DIR
from engine.errors import LoadError, PromptError
from engine.hooks import HookPoint
from engine.parts import Parts
from engine.recipe import ModelSection

DTYPES: Final = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
UNSTATED_CONTEXT: Final = 2048
UNEMBED_ROWS: Final = 8192
"""Rows of the unembedding that are float32 at a time."""
Report = Callable[[str], None]
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class Model:
    """A causal language model, ready to run on its device."""

    name: str
    """As the recipe names it."""
    network: PreTrainedModel
    tokenizer: Any
    layers: tuple[nn.Module, ...]
    device: torch.device
    dtype: torch.dtype
    d_model: int
    d_vocab: int
    context: int
    """Longest prompt in tokens."""
    revision: str | None
    """Commit of the Hub repository, None for a directory."""
    weights_sha256: str
    """Of the weight file; of all tensors where there is no single file or the weights are reinitialised."""
    centred: bool
    """Whether the output ignores the mean over d_model, so that vectors are used with that mean removed."""
    returns: tuple[int, ...] = ()
    """Length of the tuple each block returns, 0 for a bare tensor."""
    has_cache: bool = True
    """Whether what it computes of a prefix can be kept and run on from; recurrent architectures cannot."""
    parts: dict[int, Parts] = field(default_factory=dict)
    """Of the blocks that were asked for theirs; filled by `engine.taps`."""

    @property
    def n_layers(self) -> int:
        return len(self.layers)

    @property
    def bos(self) -> int | None:
        """Id of the BOS token, where the tokenizer defines one."""
        return None if self.tokenizer.bos_token_id is None else int(self.tokenizer.bos_token_id)

    @property
    def eos(self) -> int | None:
        """Id of the token that ends a text, where the tokenizer defines one."""
        return None if self.tokenizer.eos_token_id is None else int(self.tokenizer.eos_token_id)

    @cached_property
    def takes(self) -> frozenset[str]:
        """Names of what its forward can be given."""
        return frozenset(inspect.signature(type(self.network).forward).parameters)

    @property
    def identity(self) -> tuple[Any, ...]:
        """What numbers of this model depend on: its weights, their type and the device."""
        return self.weights_sha256, self.dtype, str(self.device)

    @property
    def probe(self) -> Tensor:
        """A few tokens [1, pos] to ask it with what it does."""
        return self.tensor([[i % self.d_vocab for i in range(7, 12)]])

    def tensor(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Token ids [batch, pos] on the model's device."""
        return torch.tensor(rows, dtype=torch.long, device=self.device)

    def is_centred(self, hook: HookPoint) -> bool:
        """Whether vectors at a hook point are used with their mean removed."""
        return self.centred and hook.wide_as_stream

    def to_basis(self, raw: Tensor, hook: HookPoint) -> Tensor:
        """Raw vectors [..., d_hook] in the basis all numbers are given in (TransformerLens' processed basis)."""
        return raw - raw.mean(-1, keepdim=True) if self.is_centred(hook) else raw

    def single_token(self, text: str) -> list[int]:
        """The id of a text that is one token, in a list.

        Raises:
            PromptError: It is none or several.
        """
        ids = [int(i) for i in self.tokenizer.encode(text, add_special_tokens=False)]
        if len(ids) != 1:
            raise PromptError(f"pad = {text!r} is {len(ids)} tokens of '{self.name}': use a text of one, such as ' '.")
        return ids

    def encode(self, text: str, bos: bool | str) -> list[int]:
        """Token ids of a prompt; exactly one BOS in front if asked for, never doubled.

        Raises:
            PromptError: The prompt has no tokens or exceeds the context, or a BOS is asked for and there is none.
        """
        ids = [int(i) for i in self.tokenizer.encode(text, add_special_tokens=False)]
        wanted = self.bos is not None if bos == "auto" else bool(bos)
        if wanted and self.bos is None:
            raise PromptError(f"site.bos is true, but the tokenizer of '{self.name}' defines no BOS: use \"auto\".")
        if not ids:
            raise PromptError("The prompt is empty: type at least one token.")
        if wanted and ids[0] != self.bos:
            ids = [int(self.bos or 0), *ids]
        if len(ids) > self.context:
            raise PromptError(
                f"The prompt has {len(ids)} tokens{' with BOS' if wanted else ''}, but '{self.name}' has a context of "
                f"{self.context}: shorten it."
            )
        return ids

    def strings(self, ids: Sequence[int]) -> list[str]:
        """The text of each token by itself."""
        return [str(self.tokenizer.decode([i])) for i in ids]


def pick_device(name: str) -> torch.device:
    """`auto` is cuda, else mps, else cpu.

    Raises:
        LoadError: The device does not exist here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise LoadError(f"Device '{name}' is not here: torch sees {torch.cuda.device_count()} CUDA devices. Use cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise LoadError("Device 'mps' is not here: it needs an Apple GPU. Use cpu.")
    return device


def load_model(section: ModelSection, seed: int = 0, report: Report = lambda text: None) -> Model:
    """Load the model of a recipe's `[model]` section.

    Args:
        section: name, device, dtype and weights.
        seed: seeds `weights = "reinitialised"`.
        report: called with a line of text at each stage.

    Raises:
        LoadError: The device, the files or the architecture is not there.
    """
    device = pick_device(section.device)
    if device.type == "mps" and section.dtype == "float64":
        raise LoadError("Apple GPUs have no float64: use device = 'cpu' or dtype = 'float32'.")
    location = _location(section.name)
    dtype = DTYPES[section.dtype]
    report(f"loading {section.name}")
    disable_progress_bar()  # it would draw on a terminal that is someone else's
    try:
        config = AutoConfig.from_pretrained(location, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
        if section.weights == "trained":
            network = AutoModelForCausalLM.from_pretrained(
                location, dtype=dtype, attn_implementation="eager", trust_remote_code=False
            )
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                network = AutoModelForCausalLM.from_config(
                    config, dtype=dtype, attn_implementation="eager", trust_remote_code=False
                )
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise LoadError(_why_not(section.name, location, error)) from error
    network = network.eval().requires_grad_(False).to(device)
    if dtype == torch.bfloat16:
        _unembed_in_float32(network)
    report("hashing weights")
    weights_sha256 = _weights_hash(location, network, section.weights == "trained")
    report("finding the model's basis")
    return from_network(section.name, network, tokenizer, _revision(location), weights_sha256)


def from_network(
    name: str, network: PreTrainedModel, tokenizer: Any, revision: str | None = None, weights_sha256: str = ""
) -> Model:
    """A model from a network that is already on its device, asked for its basis and its cache.

    Raises:
        LoadError: The architecture has no list of blocks, or its output is not finite.
    """
    config = network.config
    model = Model(
        name=name,
        network=network,
        tokenizer=tokenizer,
        layers=_blocks(network, name),
        device=network.device,
        dtype=network.dtype,
        d_model=int(config.hidden_size),
        d_vocab=int(config.vocab_size),
        context=_context(config),
        revision=revision,
        weights_sha256=weights_sha256 or tensors_sha256(network.state_dict()),
        centred=False,
    )
    from engine.probing import probed  # it runs the model, by what is built on this module

    return probed(model)


def _context(config: Any) -> int:
    """Longest prompt: ALiBi and recurrent models often state none."""
    stated = (getattr(config, name, None) for name in ("max_position_embeddings", "max_seq_len", "seq_length"))
    return int(next((n for n in stated if isinstance(n, int) and n > 0), UNSTATED_CONTEXT))


def _unembed_in_float32(network: PreTrainedModel) -> None:
    """Give logits in float32 of weights in bfloat16, whose own products would keep 8 bits of them.

    By parts of the vocabulary, so that no float32 copy of the whole matrix is held.
    """
    head = network.get_output_embeddings()

    def forward(hidden: Tensor) -> Tensor:
        x = hidden.float()
        biases = [None] * len(parts) if head.bias is None else [b.float() for b in head.bias.split(UNEMBED_ROWS)]
        return torch.cat([nn.functional.linear(x, w.float(), b) for w, b in zip(parts, biases, strict=True)], dim=-1)

    parts = head.weight.split(UNEMBED_ROWS)
    head.__dict__["forward"] = forward


def _location(name: str) -> str:
    """What `from_pretrained` takes: a directory, or a Hub id."""
    if name == "embedded":
        if not (MODEL_DIR / "config.json").exists():
            raise LoadError(f"The bundled model is missing from {MODEL_DIR}: reinstall dirscope.")
        return str(MODEL_DIR)
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            raise LoadError(f"{path} holds no config.json, so it is no Hugging Face model directory.")
        return str(path)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise LoadError(f"There is no directory {name}: give 'embedded', a model directory or a Hugging Face id.")
    return name


def _why_not(name: str, location: str, error: Exception) -> str:
    if Path(location).is_dir():
        return f"Cannot load a model from {location}: {_first_line(error)}"
    text = str(error)
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    if offline or any(s in text for s in ("connect to", "offline", "Connection", "resolve", "cached files")):
        return (
            f"'{name}' is not in the Hugging Face cache and the Hub cannot be reached: load it once online, or give a "
            "local directory (or 'embedded')."
        )
    return f"Cannot load '{name}' from the Hugging Face Hub: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _blocks(network: PreTrainedModel, name: str) -> tuple[nn.Module, ...]:
    """The transformer blocks: the outermost module list as long as the config says."""
    count = int(network.config.num_hidden_layers)
    for module in network.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return tuple(module)
    raise LoadError(f"'{name}' has no list of {count} blocks that dirscope can find: its architecture is unsupported.")


def _revision(location: str) -> str | None:
    """The commit whose snapshot in the Hub cache was loaded."""
    if Path(location).is_dir():
        return None
    return Path(str(cached_file(location, "config.json", local_files_only=True))).parent.name


def _weights_hash(location: str, network: PreTrainedModel, trained: bool) -> str:
    file = None
    if trained:
        one_file = "model.safetensors"
        file = cached_file(location, one_file, _raise_exceptions_for_missing_entries=False, local_files_only=True)
    if file is None:
        return tensors_sha256(network.state_dict())
    with open(file, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def twin(module: M, made_of: Callable[[Tensor], Tensor] = lambda tensor: tensor) -> M:
    """A copy of a module tree that shares every tensor with it, or has what `made_of` gives in its place."""
    tensors = {id(t): made_of(t) for t in [*module.parameters(), *module.buffers()]}
    return copy.deepcopy(module, tensors)


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
