"""The curves of a run as a picture for a paper or a chat: svg or png, by the file's suffix.

Needs matplotlib, which is an extra. Knows runs; computes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from engine.errors import UsageError
from sessions.digest import digest, number
from sessions.reader import Run

COLOURS: Final = ("#0072b2", "#d55e00", "#7f7f7f", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe & Ito's, which colour-blind readers can tell apart."""


def draw_figure(run: Run, file: Path) -> None:
    """Draw KL and the last read's L2 against the path's coordinate, one thin line per curve, one colour per kind.

    Raises:
        UsageError: matplotlib is not installed, or the file's suffix is neither svg nor png.
    """
    if file.suffix.lower() not in (".svg", ".png"):
        raise UsageError(f"A picture is written as .svg or .png; got {file.name}.")
    try:
        import matplotlib

        matplotlib.use("agg")
        import matplotlib.pyplot as plt
    except ImportError:
        raise UsageError("svg and png need matplotlib: pip install 'dirscope[figures]'.") from None
    last = run.info["site"]["read"][-1]
    unit = run.info["path"]["unit"]
    groups = digest(run.summaries)
    several = len({d.base_kind for d in groups}) > 1
    labels = {
        (d.base_kind, d.kind): f"{d.kind}{f'@{d.base_kind}' if several else ''}, n = {d.n}, "
        f"threshold {number(d.threshold, 3)}"
        for d in groups
    }
    colours = {group: COLOURS[i % len(COLOURS)] for i, group in enumerate(labels)}
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for curve in run.curves:
        group = (curve.summary.base_kind, curve.summary.kind)
        style = {"color": colours[group], "linewidth": 0.8, "alpha": 0.8}
        axes[0].plot(curve.coordinate, curve.kl, label=labels.pop(group, None), **style)
        axes[1].plot(curve.coordinate, curve.values[last]["l2"], **style)
    axes[0].axhline(run.info["level"], color="black", linewidth=0.6, linestyle=":")
    if unit == "L2":
        for axis in axes:
            axis.axvline(run.info["typical_distance"], color="black", linewidth=0.6, linestyle="--")
    for axis, title in zip(axes, ("KL(base || perturbed), nats", f"L2 at {last}"), strict=True):
        axis.set_xlabel("L2 distance" if unit == "L2" else "angle, degrees")
        axis.set_ylabel(title)
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
    axes[0].legend(fontsize="small", frameon=False)
    site = run.info["site"]
    figure.suptitle(
        f"{run.recipe.model.name}, {site['write']}, token {site['tokens'][site['position']]!r} of "
        f"{run.recipe.site.prompt!r}",
        fontsize="small",
    )
    figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix.lower() == ".svg" else None)
    plt.close(figure)
