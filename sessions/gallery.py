"""Every picture that a run has, by name: views of its curves, and the charts of its tables.

Knows views and pictures; draws nothing.
"""

from __future__ import annotations

from dataclasses import replace

from sessions.chart import Chart, Drawable
from sessions.crowd import BY_COLUMN, Crowd
from sessions.pictures import picture_of
from sessions.reader import Run
from sessions.views import Choice, views


def charts(run: Run, crowd: Crowd) -> dict[str, tuple[str, Drawable]]:
    """Every picture that a run has: its name, its title, what is drawn."""
    found: dict[str, tuple[str, Drawable]] = {}
    if run.curves:
        last = crowd.reads[-1] if crowd.reads else "logits"
        for view in views():
            choices = {"": Choice()}
            if "metric" in view.depends and view.name != "layers":
                choices["-l2"] = Choice(read=last, metric="l2")
            if view.name == "bands":
                measured = crowd.metrics()
                more = {"-margin": ("logits", "margin"), "-norm": (last, "norm")}
                choices |= {name: Choice(read=r, metric=m) for name, (r, m) in more.items() if (r, m) in measured}
            if "group" in view.depends:
                choices = {f"-{i}" if i else "": Choice(group=i) for i in range(len(crowd.groups))}
                if any(metric == "flips" for _, metric in crowd.metrics()):
                    choices |= {f"-flips{n}": replace(c, metric="flips") for n, c in choices.items()}
            if "scalar" in view.depends:
                choices["-max-slope"] = Choice(scalar=BY_COLUMN["max_slope_step"])
            for suffix, choice in choices.items():
                chart = view.make(crowd, choice)
                if chart is not None:
                    found[f"{view.name}{suffix}"] = (view.title(crowd, choice), chart)
    for name in sorted(run.tables, key=lambda name: name != "cloud"):  # which has the plateau in it
        chart = picture_of(name, run.tables)
        if chart is not None and not (name == "plateau" and "cloud" in found):
            found[name] = (f"{name}: {_axes(chart)}", chart)
    return found


def _axes(chart: Drawable) -> str:
    return chart.y_label or chart.x_label if isinstance(chart, Chart) else chart.title
