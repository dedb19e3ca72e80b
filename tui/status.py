"""Lines of text around the plot: what runs where, what is known of the base, what the cursor reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from engine.recipe import Recipe
from tui.axes import axis_of, coordinates
from tui.charts import LABELS, View
from tui.picture import METRICS, Picture

if TYPE_CHECKING:
    from tui.screens.probe import ProbeScreen


def status_text(screen: ProbeScreen, width: int) -> Text:
    """Model, device, hooks on the left; speed and whether it is saved on the right."""
    picture, recipe = screen.picture, screen.recipe
    info = picture.info or screen.drawn.info
    model = info.get("model", {})
    name = recipe.model.name.rstrip("/").rsplit("/", 1)[-1]
    left = Text(" dirscope ", style="bold reverse", no_wrap=True)
    if model:
        null = " reinitialised" if model["weights"] != "trained" else ""
        left.append(f" {name} {model['n_layers']}L d{model['d_model']}{null} · {info['device']} {info['dtype']}")
        reads = ", ".join(_short(r) for r in info["site"]["read"])
        # A site that was refused has no record: what was asked for stands in the recipe.
        write = recipe.site.write if picture.status == "failed" else info["site"]["write"]
        left.append(f" · {_short(write)} → logits, {reads}")
    else:
        left.append(f" {name} · {recipe.model.device} {recipe.model.dtype}")
    rate = f"{picture.rate / 1000:.1f}k steps/s" if picture.rate else ""
    right = Text(f"{rate}  {_state(screen)} ", no_wrap=True)
    left.truncate(max(10, width - right.cell_len - 1), overflow="ellipsis")
    left.append(" " * max(1, width - left.cell_len - right.cell_len))
    left.append_text(right)
    return left


def plot_title(mode: str, picture: Picture, view: View, width: int, beside: str = "") -> str:
    """What is plotted, the metrics to choose from, the axis and the kinds of path, the current ones underlined.

    Where it is narrow the end is cut off, so that what cannot be seen elsewhere comes first.
    """
    # The text is markup, and a pinned run is named by its token.
    beside = beside.replace("[", "\\[")
    axis = f"over {axis_of(picture, view.axis).title}" if view.axis else ""
    tabs = " ".join(f"[b u]{m}[/]" if m == view.metric else m for m in METRICS)
    paths = " ".join(f"[b u]{m}[/]" if m == mode else m for m in ("straight", "sphere"))
    label = LABELS[view.metric] if width >= 110 and not beside else ""
    return " ── ".join(part for part in (axis, label, tabs, beside, paths) if part)


def readout(picture: Picture, view: View) -> str:
    """The value at the cursor."""
    if not 0 <= view.curve < len(picture.curves):
        return ""
    curve = picture.curves[view.curve]
    step = min(view.step, len(curve.coordinate) - 1)
    value = float(picture.series(curve, view.metric)[step])
    return f"{curve.summary.label}: {place(picture, view)}, {view.metric} {value:.4g}"


def place(picture: Picture, view: View) -> str:
    """Where the cursor is, on the axis that is shown and, where that is another, in the path's own unit."""
    curve = picture.curves[min(view.curve, len(picture.curves) - 1)]
    step = min(view.step, len(curve.coordinate) - 1)
    shown = []
    for name in dict.fromkeys((view.axis, "")):
        x, axis = coordinates(picture, curve, name), axis_of(picture, name)
        if x is not None:
            shown.append(f"{x[step]:.3g}{axis.sign}")
    return f"{shown[0]} ({shown[1]})" if len(shown) > 1 else shown[0]


def token_title(picture: Picture, view: View) -> str:
    """Where along which curve the next tokens are shown."""
    curve = picture.curves[min(view.curve, len(picture.curves) - 1)]
    step = min(view.step, len(curve.coordinate) - 1)
    return f"next token at {place(picture, view)}, KL {curve.kl[step]:.3g}"


def _state(screen: ProbeScreen) -> str:
    picture = screen.picture
    if screen.player is not None:
        return screen.player.caption + ("" if screen is screen.app.screen_stack[1] else "  esc back")
    if not picture.ended:
        return f"○ {picture.done}/{picture.total}" if picture.total else f"○ {picture.status}"
    if picture.status == "failed":
        return "! failed"
    if screen.folder is None:
        return f"○ {picture.status}"
    if picture.done < picture.total:
        return f"◐ stopped {screen.folder.name}, {picture.done}/{picture.total}"
    return f"● saved {screen.folder.name}"


def _short(hook: str) -> str:
    return hook.replace("blocks.", "").replace("hook_", "")


def recipe_line(recipe: Recipe) -> str:
    """What else defines the picture: steps, how far, the level and the seed."""
    stop = "" if recipe.path.stop == "auto" else f" to {recipe.path.stop}"
    return f"{recipe.path.steps} steps{stop} seed {recipe.seed}"


def site_text(picture: Picture, recipe: Recipe, width: int) -> Text:
    """Position, norm and distance of the base, and what real activations are."""
    site = picture.site
    warnings = [*([picture.note] if picture.note else []), *picture.info.get("warnings", [])]
    text = Text(no_wrap=True, overflow="ellipsis")
    sort = f" ({site['token_class']})" if "token_class" in site else ""
    text.append(
        f"position {site['position']}{sort} · norm {site['norm']:.3g} ({site['norm_percentile']:.0f}th pct) · "
        f"{site['distance_from_mean']:.3g} from the mean · typical distance {picture.typical_distance:.3g}"
    )
    if width >= 110:
        texts = recipe.population
        text.append(f" in {texts.n} of {texts.prompts.rsplit('/', 1)[-1]}, level {recipe.metrics.level:g} nats")
    if picture.noise_floor is not None:
        text.append(f" · noise floor {picture.noise_floor:.2g} nats")
    if warnings:
        text.append(f" · ! {warnings[0]}", style="bold yellow")
    return text
