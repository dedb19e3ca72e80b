"""A run folder as pandas data frames, for notebooks.

Reads the derived tables; a run that was cut off has them made from its events, in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sessions.reader import Run, read_run
from sessions.tables import arrays, base_table, curve_table, row_table, summary_table, token_table


@dataclass(frozen=True, eq=False)
class RunFrames:
    """A run, ready to be looked at."""

    run: Run

    @property
    def curves(self) -> Any:
        """Every value of every curve, one a row."""
        return curve_table(self.run).to_pandas()

    @property
    def summary(self) -> Any:
        """A row per curve."""
        return summary_table(self.run).to_pandas()

    @property
    def bases(self) -> Any:
        """A row per base."""
        return base_table(self.run).to_pandas()

    @property
    def tokens(self) -> Any:
        """Next tokens along each curve; None where the run keeps none."""
        table = token_table(self.run)
        return None if table is None else table.to_pandas()

    @property
    def tables(self) -> dict[str, Any]:
        """What is no ray, by table."""
        return {name: row_table(rows).to_pandas() for name, rows in self.run.tables.items()}

    @property
    def vectors(self) -> dict[str, NDArray[Any]]:
        """`bases` [n_bases, d_hook] and `directions` [n_curves, d_hook], rows as in the frames."""
        return arrays(self.run)

    @property
    def info(self) -> dict[str, Any]:
        """What every number depends on."""
        return self.run.info


def open_run(folder: str | Path) -> RunFrames:
    """Open a run folder.

    Raises:
        RunFolderError: It is not there or damaged.
    """
    return RunFrames(read_run(Path(folder)))
