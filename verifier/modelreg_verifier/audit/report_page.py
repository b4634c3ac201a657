"""The report of an audit as a page: one HTML file that loads nothing. Follows docs/spec/audit.md, section 7.

Names of tensors come from whoever made the graph, details from openings: all text is escaped in `_text`.
"""

import math
from collections.abc import Iterator
from html import escape
from itertools import chain

from modelreg_verifier.audit.judge_segments import DISPUTE_ABOVE, PASS_UP_TO
from modelreg_verifier.audit.report import Judged, Report
from modelreg_verifier.audit.verdict import Ruling, SegmentResult, Verdict

__all__ = ["page"]

_MEANS = {
    Ruling.PASS: "what the node showed is what this model makes of the input",
    Ruling.FAIL: "the node signed for what no honest machine makes",
    Ruling.INCONCLUSIVE: "too far apart for a pass; another auditor on another runtime has to decide",
    Ruling.UNDECIDABLE: "nothing can be told; the node is not accused",
    Ruling.WITHHELD: "the node delivered no opening of this receipt",
    Ruling.DISPUTE: "too far apart for any honest machine that was measured; a referee has to settle it",
}
_COLOURS = {
    Ruling.PASS: "#1a7f4b",
    Ruling.FAIL: "#b3261e",
    Ruling.DISPUTE: "#b3261e",
    Ruling.WITHHELD: "#b3261e",
    Ruling.INCONCLUSIVE: "#9a6700",
    Ruling.UNDECIDABLE: "#5f6368",
}
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1f1f1f}
table{border-collapse:collapse;width:100%}td,th{padding:.3rem .6rem;border-bottom:1px solid #ddd;
text-align:left;vertical-align:top;overflow-wrap:anywhere}code{font-size:.85em;overflow-wrap:anywhere}
.n{text-align:right;white-space:nowrap}svg{width:100%;height:auto}
"""
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 760, 300, 60, 260, 20
_LEAST, _MOST = -2, 6
_POINTS_MAX = 20_000
_ROWS_MAX = 2_000


def page(report: Report) -> str:
    """The page, to be written as UTF-8. Receipts that did not pass come first; of many it lists some."""
    rows = sorted(report.judged, key=lambda row: (row.verdict.ruling is Ruling.PASS, row.seq))
    parts = chain(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Audit</title>',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; ',
            "style-src 'unsafe-inline'\">",
            f"<style>{_STYLE}</style></head><body><h1>Audit of a batch</h1>",
        ),
        _summary(report),
        _plot(report),
        _receipts(rows[:_ROWS_MAX], len(rows)),
        ("</body></html>\n",),
    )
    return "".join(parts)


def _text(value: object) -> str:
    """Escaped; what is no character of its own, or turns the direction of text, is written out."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))
    return escape(shown)


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3g}"


def _summary(report: Report) -> Iterator[str]:
    batch, runtime = report.batch, report.runtime
    last, population = batch.first + batch.count - 1, report.population
    rows = [
        ("Node", f"0x{batch.node.hex()}"),
        ("Receipts", f"epoch {batch.epoch}, seq {batch.first} to {last}"),
        ("Root", f"0x{batch.root.hex()}"),
        ("Seed of the sample", f"0x{report.seed.hex()}"),
        (
            "Sample",
            f"{report.draws} of {population} drawn, {len(report.judged) - report.draws} to cover",
        ),
        (
            "Finds a cheat",
            f"with probability {report.probability:.4f} if {report.false} of the {population} are false "
            f"and {float(report.rate):.4g} of the false ones are recognised",
        ),
        (
            "Auditor's runtime",
            f"{runtime.runtime} {runtime.version}, {runtime.optimization}, {runtime.device}",
        ),
    ]
    yield "<h2>Outcomes</h2><table>"
    for ruling, count in report.outcomes.items():
        yield f'<tr><td class="n">{count}</td><td>{_ruling(ruling)}</td><td>{_MEANS[ruling]}</td></tr>'
    yield "</table><h2>What was audited</h2><table>"
    for name, value in rows:
        yield f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>"
    yield "</table>"


def _ruling(ruling: Ruling) -> str:
    return f'<b style="color:{_COLOURS[ruling]}">{ruling.value}</b>'


def _plot(report: Report) -> Iterator[str]:
    points = [
        (row, result)
        for row in report.judged
        for result in row.verdict.segments
        if result.ratio is not None and math.isfinite(result.ratio)
    ]
    if not points:
        return
    # Of many points the farthest say most.
    points = sorted(points, key=lambda point: -(point[1].ratio or 0.0))[:_POINTS_MAX]
    count = 1 + max(result.segment for _, result in points)
    yield "<h2>Distance by segment</h2><p>Each point is a segment of a receipt: how far the node's result "
    yield "lies from the replayed one, over what honest machines lie apart.</p>"
    yield f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="ratios by segment" font-size="12">'
    yield from _axes(count)
    yield from (_point(row, result, count) for row, result in points)
    yield "</svg>"


def _across(segment: int, count: int) -> float:
    return _LEFT + (segment + 0.5) * (_WIDTH - _LEFT) / count


def _up(ratio: float) -> float:
    """Logarithmic, with everything beyond the ends at the ends."""
    power = min(max(math.log10(ratio), _LEAST), _MOST) if ratio > 0 else _LEAST
    return _BOTTOM - (power - _LEAST) * (_BOTTOM - _TOP) / (_MOST - _LEAST)


def _axes(count: int) -> Iterator[str]:
    for power in range(_LEAST, _MOST + 1, 2):
        y = _up(10.0**power)
        label = f"≤{10.0**power:g}" if power == _LEAST else f"{10.0**power:g}"
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
        yield f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
    for ratio, colour in ((PASS_UP_TO, "#9a6700"), (DISPUTE_ABOVE, "#b3261e")):
        y = _up(ratio)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" '
        yield f'stroke-dasharray="4 3"><title>{ratio:g}</title></line>'
    step = max(1, count // 16)
    for segment in range(0, count, step):
        x = _across(segment, count)
        yield f'<text x="{x:.1f}" y="{_BOTTOM + 20}" text-anchor="middle">{segment}</text>'
    yield f'<text x="{_LEFT}" y="{_HEIGHT - 4}">segment</text>'


def _point(row: Judged, result: SegmentResult, count: int) -> str:
    ratio = result.ratio or 0.0
    colour = _COLOURS[row.verdict.ruling]
    title = f"seq {row.seq}, segment {result.segment}: {_number(ratio)}"
    return (
        f'<circle cx="{_across(result.segment, count):.1f}" cy="{_up(ratio):.1f}" r="4" fill="{colour}" '
        f'fill-opacity="0.5"><title>{_text(title)}</title></circle>'
    )


def _receipts(rows: list[Judged], total: int) -> Iterator[str]:
    yield "<h2>Receipts</h2>"
    if total > len(rows):
        yield f"<p>{len(rows)} of {total}; the document has all.</p>"
    yield "<table><tr><th>seq</th><th>outcome</th><th>why</th><th>segment</th><th>ratio</th></tr>"
    for row in rows:
        verdict = row.verdict
        worst = _decisive(verdict)
        why = _text(verdict.reason.value)
        yield f'<tr><td class="n">{row.seq}</td><td>{_ruling(verdict.ruling)}: {why}</td>'
        yield f"<td>{_text(verdict.detail)}<br><code>0x{row.receipt.hex()}</code></td>"
        yield f'<td class="n">{"-" if worst is None else worst.segment}</td>'
        yield f'<td class="n">{_number(worst.ratio if worst else None)}</td></tr>'
    yield "</table>"


def _decisive(verdict: Verdict) -> SegmentResult | None:
    """The segment that decided, or else the farthest."""
    for result in verdict.segments:
        if result.segment == verdict.segment:
            return result
    return max(verdict.segments, key=lambda result: result.ratio or 0.0, default=None)
