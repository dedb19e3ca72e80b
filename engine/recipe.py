"""The recipe: one frozen value that says what to compute. The app, batch and replay all speak it.

Knows TOML, defaults and what is valid on its face; what only a model can tell (layers, tokens, widths) is checked
where the model is. No torch.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import tomli_w
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    Strict,
    ValidationError,
    field_validator,
    model_validator,
)

from engine.bases import BASES, BaseSpec
from engine.directions import DIRECTIONS, DirectionSpec, needs_sae
from engine.errors import RecipeError, did_you_mean
from engine.expect import parse_check
from engine.experiments import EXPERIMENTS

T = TypeVar("T", bound=BaseModel)
Names = Annotated[tuple[str, ...], Strict(False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelSection(_Section):
    """Which model, where, and with which weights."""

    name: str = Field("embedded", min_length=1, description="'embedded', a local directory or a Hugging Face id")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N (a number) or mps"
    )
    dtype: Literal["float32", "float64", "bfloat16"] = Field(
        "float32", description="'float32', 'float64' or 'bfloat16' (weights only; logits are float32)"
    )
    weights: Literal["trained", "reinitialised"] = Field("trained", description="'trained' or 'reinitialised'")


class SiteSection(_Section):
    """Where the model is perturbed and where it is read."""

    prompt: str = Field(min_length=1, description="a text that is not empty")
    bos: Literal["auto"] | bool = Field("auto", description="'auto', true or false")
    position: int = Field(-1, description="a whole number: a token index, negative from the end")
    write: str = Field("blocks.1.hook_resid_pre", min_length=1, description="the name of a hook point")
    read: Names | None = Field(None, min_length=1, description="a list of hook point names")
    read_position: int | None = Field(None, description="a whole number: a token index, negative from the end")


class PopulationSection(_Section):
    """What "real activations" are."""

    prompts: str = Field(
        "bundled", min_length=1, description="'bundled', 'bundled-evaluation', 'samples', a text file or a dataset id"
    )
    n: int = Field(1000, ge=3, description="a whole number of at least 3")
    seed: int = Field(0, ge=0, description="a whole number of at least 0")


class SaeSection(_Section):
    """Which SAE `sae-feature` directions come from; loaded only when one is asked for."""

    release: str = Field("bundled", min_length=1, description="'bundled', a sae-lens release or a local directory")
    sae_id: str | None = Field(None, min_length=1, description="the id of an SAE within the release")
    check: Literal["refuse", "warn"] = Field(
        "refuse", description="'refuse' or 'warn': what to do with an SAE that does not rebuild the activations"
    )


class PathSection(_Section):
    """How a vector travels along a direction."""

    mode: Literal["straight", "sphere"] = Field("straight", description="'straight' or 'sphere'")
    steps: int = Field(100, ge=1, le=100_000, description="a whole number from 1 to 100000")
    stop: Literal["auto", "native", "typical"] | Annotated[float, Field(gt=0)] = Field(
        "auto", description="'auto', 'native', 'typical' or a finite number above 0"
    )

    @model_validator(mode="after")
    def _angle_in_range(self) -> PathSection:
        if self.mode == "sphere" and isinstance(self.stop, float) and self.stop > 180:
            raise ValueError(f"a sphere path ends at 180 degrees at most; got stop = {self.stop:g}")
        if self.mode == "sphere" and self.stop == "typical":
            raise ValueError("'typical' is a distance, where a sphere path ends at an angle: use 'auto' or degrees")
        return self


class MetricsSection(_Section):
    """What is measured beyond KL, L2 and cosine, and the level that defines the threshold."""

    level: float = Field(0.5, gt=0, description="a finite number of nats above 0")
    extra: Annotated[tuple[Literal["js", "top1_flip", "margin", "norm", "flips"], ...], Strict(False)] = Field(
        (), description="a list out of 'js', 'top1_flip', 'margin', 'norm' and 'flips'"
    )


class ClusterSection(_Section):
    """What each actor gets where a run is shared out over a cluster; changes no number but through `cpus`."""

    gpus: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="a number of at least 0: GPUs of an actor; fractions share one"
    )
    cpus: float = Field(1.0, gt=0, le=1024, description="a number above 0: CPUs of an actor, and threads, rounded down")
    actors: int | None = Field(None, ge=1, description="a whole number of at least 1: the most there may be")

    @field_validator("gpus", "cpus")
    @classmethod
    def _whole_above_one(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and value != int(value):
            raise ValueError(f"above 1 only whole numbers can be had; got {value:g}")
        return value

    @property
    def threads(self) -> int:
        """Of one actor."""
        return max(1, int(self.cpus))


class Expectation(_Section):
    """A condition on the summary that turns a batch run into a check."""

    check: str = Field(min_length=1, description="an expression such as \"median(threshold, 'random') < 9\"")


class Recipe(_Section):
    """What to compute. Build one with `parse_recipe` or `read_recipe`, which report errors as sentences."""

    experiment: str = Field("probe", description="the name of an experiment")
    seed: int = Field(0, ge=0, description="a whole number of at least 0")
    model: ModelSection = ModelSection()
    site: SiteSection
    population: PopulationSection = PopulationSection()
    sae: SaeSection = SaeSection()
    bases: tuple[SerializeAsAny[BaseSpec], ...]
    directions: tuple[SerializeAsAny[DirectionSpec], ...]
    path: PathSection = PathSection()
    metrics: MetricsSection = MetricsSection()
    options: SerializeAsAny[BaseModel]
    cluster: ClusterSection | None = Field(None, description="a table of gpus, cpus and actors")
    expect: tuple[Expectation, ...] = Field((), description="a list of tables, each with a check")

    @property
    def n_bases(self) -> int:
        """How many bases it asks for."""
        return sum(spec.count for spec in self.bases)

    @property
    def needs_sae(self) -> bool:
        """Whether anything in it asks for the write hook's SAE."""
        return (
            EXPERIMENTS[self.experiment].needs_sae(self.options)
            or any(BASES[spec.kind].needs_sae for spec in self.bases)
            or any(needs_sae(spec) for spec in self.directions)
        )

    @property
    def computed(self) -> Recipe:
        """The same without where it is computed."""
        return self.model_copy(update={"cluster": None})

    def data(self) -> dict[str, Any]:
        """Plain tables with every default written out; `auto` stays where the user left it."""
        data: dict[str, Any] = _without_none(self.model_dump(mode="json"))
        return data

    def toml(self) -> str:
        """The recipe as TOML text, which `parse_toml` and `parse_recipe` read back as an equal recipe."""
        data = self.data()
        lists = {k: v for k, v in data.items() if isinstance(v, list)}
        text = tomli_w.dumps({k: v for k, v in data.items() if k not in lists})
        return "\n".join([text, *(table for key, items in lists.items() for table in tables_toml(key, items))])


def tables_toml(key: str, items: Sequence[Mapping[str, Any]]) -> list[str]:
    """A list of tables as TOML, each as a [[table]], the form people edit; the library would inline short ones."""
    # Tables within are the item's: a header is the only line that begins with a bracket.
    texts = (re.sub(r"^(\[+)", rf"\1{key}.", tomli_w.dumps(item), flags=re.MULTILINE) for item in items)
    return [f"[[{key}]]\n{text}" for text in texts]


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_none(v) for v in value]
    return value


def parse_recipe(data: Mapping[str, Any]) -> Recipe:
    """Check plain tables and fill in the defaults.

    Raises:
        RecipeError: An unknown key, a missing prompt, a wrong type or a value out of range, by name.
    """
    if not isinstance(data, Mapping):  # what a file holds may be anything
        raise RecipeError(f"A recipe must be a table; got {str(data)[:40]!r}.")
    tables = dict(data)
    name = tables.get("experiment", "probe")
    if not isinstance(name, str):
        raise RecipeError(f"experiment must be the name of an experiment; got {name!r}.")
    experiment = EXPERIMENTS[name]
    if "base" in tables:
        if "bases" in tables:
            raise RecipeError("A recipe has either [base] or [[bases]], not both: [base] is shorthand for one.")
        tables["bases"] = [tables.pop("base")]
    given_options = tables.get("options", {})
    if "directions" not in tables and isinstance(given_options, Mapping):
        tables["options"] = {**experiment.default_options, **given_options}
    tables["bases"] = _kinds("bases", tables.get("bases"), experiment.default_bases, lambda k: BASES[k].spec)
    tables["directions"] = _kinds(
        "directions", tables.get("directions"), experiment.default_directions, lambda k: DIRECTIONS[k].spec
    )
    for section, values in experiment.sections.items():
        given = tables.get(section, {})
        if isinstance(given, Mapping):
            tables[section] = {**values, **given}
    tables["options"] = _validate(experiment.options, tables.get("options", {}), "options")
    if isinstance(tables.get("expect"), list):
        tables["expect"] = tuple(
            _validate(Expectation, entry, f"expect.{i}") for i, entry in enumerate(tables["expect"])
        )
    recipe = _validate(Recipe, tables, "")
    for expectation in recipe.expect:
        parse_check(expectation.check, experiment.tables)
    return recipe


def _kinds(section: str, given: Any, default: Sequence[Mapping[str, Any]], spec_of: Any) -> tuple[Any, ...]:
    entries = list(default) if given is None else given
    if not isinstance(entries, list) or not entries:
        raise RecipeError(f"[[{section}]] must be a list of at least one table; got {given!r}.")
    specs = []
    for i, entry in enumerate(entries):
        if not isinstance(entry, Mapping) or not isinstance(entry.get("kind"), str):
            raise RecipeError(f'{section}.{i} needs a kind, such as kind = "{next(iter(default))["kind"]}".')
        specs.append(_validate(spec_of(entry["kind"]), dict(entry), f"{section}.{i}"))
    return tuple(specs)


def _validate(model: type[T], data: Any, path: str) -> T:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise RecipeError(_sentence(model, error, path)) from None


def _sentence(model: type[BaseModel], error: ValidationError, path: str) -> str:
    """The first fault of a validation error as a sentence that names the key, what it got and what it takes."""
    faults = error.errors()
    # A misspelt key explains the one that then is missing.
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    owner: type[BaseModel] = model
    description, names = "", [path] if path else []
    for part in fault["loc"]:
        if isinstance(part, str) and part in owner.model_fields:
            field = owner.model_fields[part]
            description = field.description or description
            names.append(part)
            inner = (field.annotation, *get_args(field.annotation))  # of a section that may be missing too
            owner = next((t for t in inner if isinstance(t, type) and issubclass(t, BaseModel)), owner)
        elif fault["type"] == "extra_forbidden" or isinstance(part, int):
            names.append(str(part))
    where = ".".join(names) or "the recipe"
    got = fault.get("input")
    match fault["type"]:
        case "extra_forbidden":
            key = str(fault["loc"][-1])
            return f"Unknown key '{where}'{did_you_mean(key, owner.model_fields)}"
        case "missing":
            if fault["loc"] == ("site",):
                where, description = "site.prompt", SiteSection.model_fields["prompt"].description or ""
            return f"The recipe lacks {where}: it must be {description}."
        case "value_error":
            return f"In {where}: {fault['msg'].removeprefix('Value error, ')}."
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"{where} must be a table; got {got!r}."
    return f"{where} must be {description or fault['msg']}; got {got!r}."


def parse_toml(text: str, source: str, example: str = '[site] prompt = "..."') -> dict[str, Any]:
    """TOML text as plain tables.

    Raises:
        RecipeError: The text is not TOML; `source` names it.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of too many digits and nesting without end among them
        raise RecipeError(f"{source} is not TOML: {error}. It starts like: {example}") from None


def read_recipe(
    path: Path,
    overrides: Sequence[str] = (),
    prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda data: data,
) -> Recipe:
    """Read a recipe file and apply `section.key=value` overrides.

    Args:
        prepare: what becomes of its tables before they are checked.

    Raises:
        RecipeError: The file cannot be read, is not TOML, or is not a valid recipe.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"Cannot read the recipe {path}: {error}.") from None
    return parse_recipe(prepare(with_overrides(parse_toml(text, str(path)), overrides)))


def with_overrides(data: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Plain tables with each `section.key=value` put in place; list items go by number (`directions.0.count=4`).

    The value is read as a TOML value, else taken as a string.

    Raises:
        RecipeError: An override has no `=`, or walks into something that is not there.
    """
    result: dict[str, Any] = tomllib.loads(tomli_w.dumps(dict(data)))
    for override in overrides:
        key, equals, raw = override.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set takes section.key=value; got '{override}'.")
        try:
            value = tomllib.loads(f"value = {raw}")["value"]
        except (ValueError, KeyError, RecursionError):
            value = raw
        parts = key.strip().split(".")
        target: Any = result
        for depth, part in enumerate(parts):
            last = depth == len(parts) - 1
            if isinstance(target, list):
                if not part.isdecimal() or len(part) > 9 or int(part) >= len(target):
                    raise RecipeError(f"--set {override}: {'.'.join(parts[:depth])} has items 0 to {len(target) - 1}.")
                if last:
                    target[int(part)] = value
                else:
                    target = target[int(part)]
            elif isinstance(target, dict):
                if last:
                    target[part] = value
                elif part not in target and parts[depth + 1].isdigit():
                    raise RecipeError(
                        f"--set {override}: this recipe lists no {part}, so there is none to change by number."
                    )
                else:
                    target = target.setdefault(part, {})
            else:
                raise RecipeError(f"--set {override}: {'.'.join(parts[:depth])} is not a table.")
    return result
