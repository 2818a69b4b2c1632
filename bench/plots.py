"""Draws what a part has found, where matplotlib is installed."""

from pathlib import Path
from typing import Final

from bench.figures import Plot

_COLOURS: Final = ("#1b6ca8", "#9aa5b1", "#e08e45", "#7a9e7e", "#b0578d")
_WIDTH: Final = 0.8  # of a group, in which its bars stand side by side


def draw(plot: Plot, folder: Path) -> Path | None:
    """Draw it into a file of the folder; return nothing, and draw nothing, without matplotlib."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return None
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": plot.name, "font.family": "sans-serif"}):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        axes = figure.subplots()
        width = _WIDTH / len(plot.bars)
        for number, (name, spreads) in enumerate(plot.bars.items()):
            at = [group - _WIDTH / 2 + width * (number + 0.5) for group in range(len(plot.groups))]
            medians = [spread.median for spread in spreads]
            whiskers = [
                [spread.median - spread.low for spread in spreads],
                [spread.high - spread.median for spread in spreads],
            ]
            colour = _COLOURS[number % len(_COLOURS)]
            axes.bar(at, medians, width * 0.92, yerr=whiskers, label=name, color=colour, ecolor="#444", capsize=2)
        axes.set_xticks(range(len(plot.groups)), plot.groups)
        axes.set_ylabel(plot.unit)
        axes.set_title(plot.title, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        file = folder / f"{plot.name}.svg"
        figure.savefig(file, metadata={"Date": None})
    return file
