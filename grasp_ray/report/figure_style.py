"""One look for all figures, and their export as SVG or PNG. No pyplot: figures share no global state."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter

from grasp_ray.evaluation.arm_names import control_of
from grasp_ray.report.tables import arm_name

INK, QUIET, HAIRLINE, PAPER = "#1c2430", "#667085", "#dfe3e8", "#ffffff"
ACCENT, AMBER, GREY, PLUM = "#0f766e", "#b45309", "#8b95a3", "#6d4aa3"
ARM_COLOUR = {"baseline": INK, "influence": ACCENT, "suspects": PLUM, "class_matched": AMBER, "random": GREY}
ARM_MARKER = {"baseline": "D", "influence": "o", "suspects": "P", "class_matched": "s", "random": "^"}
OTHER_COLOURS = (PLUM, "#2563a8", "#a3415f", "#5b7a1f")
_WEB_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, 'DejaVu Sans', sans-serif"

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": HAIRLINE,
    "axes.facecolor": PAPER,
    "axes.grid": True,
    "axes.labelcolor": QUIET,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlepad": 9,
    "axes.axisbelow": True,
    "figure.facecolor": PAPER,
    "grid.color": "#eceff2",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "grasp_ray",
}


@dataclass(frozen=True)
class Picture:
    """A figure with what a reader who cannot see it needs."""

    figure: Figure
    alt_text: str

    def svg(self) -> str:
        """The same figure gives the same text: no date, fixed ids. Fonts are the reader's own."""
        buffer = io.StringIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue().replace("'DejaVu Sans'", _WEB_FONTS)

    def svg_uri(self) -> str:
        """A data: URI to put into an HTML page."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg().encode()).decode()

    def png(self, dots_per_inch: int = 150) -> bytes:
        """The figure as a PNG file."""
        buffer = io.BytesIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(buffer, format="png", dpi=dots_per_inch)
        return buffer.getvalue()


@contextmanager
def new_figure(width_in: float, height_in: float) -> Iterator[Figure]:
    """A figure with this page's look, laid out so that nothing overlaps."""
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05, wspace=0.04)
        figure = Figure(figsize=(width_in, height_in), layout=layout)
        FigureCanvasAgg(figure)
        yield figure


def arm_colour(arm: str) -> str:
    """A colour that stays with an arm through all figures."""
    return ARM_COLOUR.get(control_of(arm) or arm) or OTHER_COLOURS[sum(arm.encode()) % len(OTHER_COLOURS)]


def arm_marker(arm: str) -> str:
    """A marker that stays with an arm, so that colour is never the only sign."""
    return ARM_MARKER.get(control_of(arm) or arm, "v")


def arm_legend_label(arm: str) -> str:
    """Legend text of an arm."""
    return {
        "influence": "influence removal",
        "suspects": "suspect visits removed",
        "class_matched": "class-matched control",
        "random": "random control",
    }.get(control_of(arm) or arm, arm_name(arm))


def legend_on_top(figure: Figure, axes: Axes) -> None:
    """One legend for all panels, above them, without repeated entries."""
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside upper left", ncols=len(unique))


def use_percent(axis: Any) -> None:
    """Show fractions as percent."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
