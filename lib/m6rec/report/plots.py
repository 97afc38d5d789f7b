"""The report's plots, by Matplotlib without a display."""

import functools
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from m6rec import columns as c
from m6rec.report.fonts import OWN_FONT, fonts_for
from m6rec.report.wording import METRIC_NAMES, duration_text, model_name

_Arguments = ParamSpec("_Arguments")

INK = "#1f2937"
MUTED = "#6b7280"
GRID = "#e5e7eb"
ACCENT = "#2563eb"
PLAIN = "#64748b"
PALE = "#cbd5e1"
# Places of a name around its point, in points, in order of preference.
_LABEL_OFFSETS = tuple(
    (sign_x * across, sign_y * up)
    for across, up in ((8, 0), (8, 10), (0, 13), (16, 18), (24, 28), (32, 40), (40, 54))
    for sign_x in (1, -1)
    for sign_y in (1, -1)
)
_ALIGNMENTS: dict[int, Literal["left", "center", "right"]] = {1: "left", 0: "center", -1: "right"}
_LONGEST_LABEL = 48
# Of each figure, in inches.
_WIDTH = 9.5
# Of the font at its size of 9 points, on average.
_CHARACTER_WIDTH = 5.5
SERIES = (ACCENT, "#d97706", "#059669", "#9333ea", "#dc2626", PLAIN)

_STYLE: dict[Any, Any] = {
    "font.family": OWN_FONT,
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": INK,
    # Titles and ids may have dollars, between which Matplotlib would read formulas.
    "text.parse_math": False,
    # Same input, same file: identifiers within an SVG come from this salt.
    "svg.hashsalt": "m6rec",
}


@contextmanager
def _style() -> Iterator[None]:
    """The report's style; of signs that no font has, `fonts_for` warns, and Matplotlib does not."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        yield


def _styled(draw: Callable[_Arguments, Figure]) -> Callable[_Arguments, Figure]:
    """Draw in the report's style and leave Matplotlib's settings as they are."""

    @functools.wraps(draw)
    def drawn(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Figure:
        with _style():
            return draw(*args, **kwargs)

    return drawn


@_styled
def quality(metrics: Sequence[Mapping[str, Any]], metric: str, k: int, highlighted: str) -> Figure:
    """Bars of a metric with confidence intervals for every ranker; validation beside test."""
    rows = [row for row in metrics if _is(row, metric, k)]
    folds = [fold for fold in (c.VALIDATION, c.TEST) if any(row[c.FOLD] == fold for row in rows)]
    value = {(row[c.FOLD], row[c.MODEL]): row for row in rows}
    models = sorted(
        {str(row[c.MODEL]) for row in rows},
        key=lambda model: (_value(value.get((folds[-1], model))), model),
    )
    figure = _figure(1.1 + 0.38 * len(models))
    panels = figure.subplots(1, len(folds), sharey=True, squeeze=False)[0]
    for panel, fold in zip(panels, folds, strict=True):
        _quality_bars(panel, models, [value.get((fold, model)) for model in models], highlighted)
        panel.set_title(f"{METRIC_NAMES.get(metric, metric)}@{k}, {fold}", fontsize=11, loc="left")
    return figure


def _quality_bars(
    panel: Axes,
    models: Sequence[str],
    rows: Sequence[Mapping[str, Any] | None],
    highlighted: str,
) -> None:
    values = np.array([_value(row) for row in rows])
    places = np.arange(len(models))
    colours = [ACCENT if model == highlighted else PALE for model in models]
    panel.barh(places, values, color=colours, height=0.66)
    panel.errorbar(
        values,
        places,
        xerr=_errors(rows, values),
        fmt="none",
        ecolor=INK,
        elinewidth=1.2,
        capsize=2.5,
    )
    for place, row in zip(places, rows, strict=True):
        if row is not None:
            end = max(_value(row), row[c.CI_HIGH] or 0.0)
            colour = INK if row[c.MODEL] == highlighted else MUTED
            _annotate_bar(panel, f"{row[c.VALUE]:.4f}", end, place, colour)
    panel.set_yticks(places, [model_name(model) for model in models])
    panel.margins(x=0.18)
    panel.set_xlim(left=0)
    panel.locator_params(axis="x", nbins=5)
    _clean(panel, "x")


def _annotate_bar(panel: Axes, text: str, end: float, place: int, colour: str) -> None:
    panel.annotate(
        text,
        (end, place),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        color=colour,
    )


@_styled
def novelty_against_coverage(
    metrics: Sequence[Mapping[str, Any]], fold: str, k: int, highlighted: str
) -> Figure:
    """How popular a ranker's items are (mean surprise in bits) against its catalogue coverage."""
    coverage = _by_model(metrics, fold, "coverage", k)
    novelty = _by_model(metrics, fold, "novelty", k)
    models = sorted(coverage.keys() & novelty.keys())
    figure = _figure(4.2)
    panel = figure.subplots()
    for model in models:
        colour = ACCENT if model == highlighted else PLAIN
        panel.scatter(coverage[model], novelty[model], s=60, color=colour, zorder=3)
    panel.set_xlabel(f"Coverage@{k}: share of the catalogue recommended to anyone")
    panel.set_ylabel(f"Novelty@{k} in bits (low: popular items)")
    panel.margins(0.12, 0.15)
    _clean(panel, "both")
    _label_points(figure, panel, [(coverage[name], novelty[name], name) for name in models])
    return figure


@_styled
def training(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Loss and validation NDCG of each training by epoch; the best epoch is marked."""
    figure = _figure(3.4)
    loss, ndcg = figure.subplots(1, 2)
    for place, (name, history) in enumerate(histories.items()):
        colour = SERIES[place % len(SERIES)]
        for panel, key in ((loss, "loss"), (ndcg, "validation_ndcg")):
            points = [
                (entry["epoch"], entry[key]) for entry in history if entry.get(key) is not None
            ]
            if points:
                epochs, values = zip(*points, strict=True)
                panel.plot(epochs, values, "o-", color=colour, label=name, ms=3.5, lw=1.8)
                if panel is ndcg:
                    best = int(np.argmax(values))
                    panel.plot(epochs[best], values[best], "o", ms=9, mfc="none", mec=colour)
    for panel, title in ((loss, "Training loss"), (ndcg, "Validation NDCG (ring: best epoch)")):
        panel.set_title(title, fontsize=11, loc="left")
        panel.set_xlabel("epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
        _clean(panel, "y")
    if len(histories) > 1 and loss.get_legend_handles_labels()[0]:
        loss.legend(frameon=False, fontsize=9)
    return figure


@_styled
def hybrid_weights(weights: Mapping[str, float]) -> Figure:
    """Bars of the members' weights."""
    ordered = sorted(weights.items(), key=lambda item: (item[1], item[0]))
    return _bars(
        [(model_name(name), value, f"{value:.3g}") for name, value in ordered], ACCENT, "weight"
    )


@_styled
def step_times(seconds: Mapping[str, float]) -> Figure:
    """Bars of wall time, first step on top."""
    steps = list(seconds.items())[::-1]
    return _bars(
        [(name.replace("_", " "), value, duration_text(value)) for name, value in steps],
        PLAIN,
        "seconds",
    )


@_styled
def explanation(title: str, panels: Mapping[str, Sequence[tuple[str, float]]]) -> Figure:
    """Bars of what adds to a score and, in grey to the left, of what speaks against it.

    Args:
        title: of the figure.
        panels: the names and values of each panel, in order, by its title.
    """
    rows = [max(len(panel), 1) for panel in panels.values()]
    figure = _figure(0.6 + sum(0.8 + 0.34 * count for count in rows))
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    drawn = figure.subplots(len(panels), 1, squeeze=False, height_ratios=rows)[:, 0]
    for panel, (name, values) in zip(drawn, panels.items(), strict=True):
        places = np.arange(len(values))[::-1]
        colours = [ACCENT if value > 0 else PALE for _, value in values]
        panel.barh(places, [value for _, value in values], color=colours, height=0.62)
        for place, (_, value) in zip(places, values, strict=True):
            _annotate_bar(panel, f"{value:+.3f}", max(value, 0.0), int(place), MUTED)
        panel.set_yticks(places, [shortened(label) for label, _ in values])
        panel.margins(x=0.12)
        panel.set_title(name, fontsize=11, loc="left")
        _clean(panel, "x")
    return figure


def shortened(label: str) -> str:
    """A label that leaves room for the bars."""
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}\u2026"


def svg(figure: Figure) -> bytes:
    """The figure as SVG, the same bytes for the same figure."""
    return _saved(figure, "svg", metadata={"Date": None})


def png(figure: Figure) -> bytes:
    """The figure as PNG."""
    return _saved(figure, "png", dpi=110)


def _saved(figure: Figure, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    _choose_fonts(figure)
    with _style():
        figure.savefig(file, format=kind, facecolor="white", **options)
    return file.getvalue()


def _choose_fonts(figure: Figure) -> None:
    texts = [one for one in figure.findobj(Text) if isinstance(one, Text)]
    fonts = fonts_for(text.get_text() for text in texts)
    for text in texts:
        text.set_fontfamily(fonts)


def _figure(height: float) -> Figure:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _bars(bars: Sequence[tuple[str, float, str]], colour: str, unit: str) -> Figure:
    figure = _figure(0.95 + 0.34 * len(bars))
    panel = figure.subplots()
    places = np.arange(len(bars))
    panel.barh(places, [value for _, value, _ in bars], color=colour, height=0.62)
    for place, (_, value, text) in zip(places, bars, strict=True):
        _annotate_bar(panel, text, max(value, 0.0), place, MUTED)
    panel.set_yticks(places, [name for name, _, _ in bars])
    panel.margins(x=0.12)
    panel.set_xlabel(unit)
    _clean(panel, "x")
    return figure


def _label_points(figure: Figure, panel: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """A name beside each point, where it covers neither a point nor another name."""
    figure.draw_without_rendering()
    to_points = 72 / figure.dpi
    dots = [np.asarray(panel.transData.transform(point[:2])) * to_points for point in points]
    taken = [_Box(x - 5, y - 5, x + 5, y + 5) for x, y in dots]
    order = sorted(range(len(points)), key=lambda place: (-dots[place][0], points[place][2]))
    for place in order:
        name = model_name(points[place][2])
        width = len(name) * _CHARACTER_WIDTH
        boxes = [_label_box(dots[place], width, offset) for offset in _LABEL_OFFSETS]
        overlaps = [sum(box.overlaps(other) for other in taken) for box in boxes]
        chosen = int(np.argmin(overlaps))
        taken.append(boxes[chosen])
        across, up = _LABEL_OFFSETS[chosen]
        far = max(abs(across), abs(up)) > 12
        panel.annotate(
            name,
            points[place][:2],
            xytext=(across, up),
            textcoords="offset points",
            ha=_ALIGNMENTS[int(np.sign(across))],
            va="center",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": PLAIN, "lw": 0.7} if far else None,
        )


@dataclass(frozen=True)
class _Box:
    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: "_Box") -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )


def _label_box(dot: Any, width: float, offset: tuple[float, float]) -> _Box:
    across, up = offset
    left = dot[0] + across - width * (0.5 - 0.5 * np.sign(across))
    return _Box(left, dot[1] + up - 6, left + width, dot[1] + up + 6)


def _clean(panel: Axes, grid: Any) -> None:
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.spines["bottom"].set_color(GRID)
    panel.grid(axis=grid, color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.tick_params(length=0)


def _is(row: Mapping[str, Any], metric: str, k: int) -> bool:
    return (row[c.SEGMENT], row[c.METRIC], row[c.K]) == ("all", metric, k)


def _by_model(
    metrics: Sequence[Mapping[str, Any]], fold: str, metric: str, k: int
) -> dict[str, float]:
    return {
        str(row[c.MODEL]): float(row[c.VALUE])
        for row in metrics
        if _is(row, metric, k) and row[c.FOLD] == fold
    }


def _value(row: Mapping[str, Any] | None) -> float:
    return 0.0 if row is None else float(row[c.VALUE])


def _errors(rows: Sequence[Mapping[str, Any] | None], values: Any) -> Any:
    """Distances to the ends of the intervals, [2, models]; 0 where there is none."""
    ends = np.array(
        [
            [_value(row) if row is None or row[end] is None else row[end] for row in rows]
            for end in (c.CI_LOW, c.CI_HIGH)
        ]
    )
    return np.maximum(np.abs(ends - values), 0.0)
