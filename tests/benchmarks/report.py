"""benchmark.json as one HTML page: a table of all medians and a plot a key."""

import base64
import io
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

NOT_KEYS = {"samples", "checks", "failures", "peak_bytes", "machine", "versions", "seconds"}
_PAGE = """<!doctype html><meta charset="utf-8"><title>M6-Rec benchmark</title>
<style>body{font-family:sans-serif;max-width:60em;margin:2em auto}td,th{padding:.2em .8em;
text-align:left;border-bottom:1px solid #ddd}</style>
<h1>M6-Rec benchmark</h1>
<p>{% for name, value in result.machine.items() %}{{ name }}: {{ value }}; {% endfor %}</p>
{% for key, cases in keys.items() %}<h2>{{ key }}</h2>
<img alt="{{ key }}" src="data:image/png;base64,{{ plots[key] }}">
<table><tr><th>case<th>contender<th>median<th>against m6rec<th>peak, GB</tr>
{% for case, values in cases.items() %}{% for name, value in values.items() %}
<tr><td>{{ case }}<td>{{ name }}<td>{{ "%.4g"|format(value) }}
<td>{% if values.get("m6rec") %}{{ "%.2f"|format(value / values.m6rec) }}{% endif %}
{% set peak = result.peak_bytes.get(key ~ "/" ~ case, {}).get(name) %}
<td>{% if peak %}{{ "%.2f"|format(peak / 1e9) }}{% endif %}</tr>
{% endfor %}{% endfor %}</table>{% endfor %}
<h2>Not measured</h2><ul>{% for key, cases in result.failures.items() %}
{% for case, values in cases.items() %}{% for name, reason in values.items() %}
<li>{{ key }} {{ case }} {{ name }}: {{ reason }}</li>{% endfor %}{% endfor %}{% endfor %}
{% for key, cases in result.checks.items() %}{% for case, values in cases.items() %}
{% for name, facts in values.items() %}{% if "not_measured" in facts %}
<li>{{ key }} {{ case }} {{ name }} is no run, but {{ facts.not_measured }}</li>
{% endif %}{% endfor %}{% endfor %}{% endfor %}</ul>
<h2>Versions</h2><p>{% for name, value in result.versions.items() %}{{ name }} {{ value }}; \
{% endfor %}</p>"""


def write_report(result: dict[str, Any], path: Path) -> None:
    """Write the page."""
    keys = {key: cases for key, cases in result.items() if key not in NOT_KEYS}
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(_PAGE)
    plots = {key: _plot(cases) for key, cases in keys.items()}
    path.write_text(page.render(result=result, keys=keys, plots=plots), encoding="utf-8")


def _plot(cases: dict[str, dict[str, float]]) -> str:
    bars = [
        (f"{case} {name}", value)
        for case, values in cases.items()
        for name, value in values.items()
    ][::-1]
    figure = Figure(figsize=(8, 0.6 + 0.28 * len(bars)), layout="constrained")
    axes = figure.subplots()
    axes.barh([label for label, _ in bars], [value for _, value in bars])
    axes.set_xscale("log")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()
