"""The tables of `benchmarks.audit`."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

Rows = list[dict[str, Any]]

FIRST_HALF = frozenset({"minilm", "magika", "nudenet", "ppocr-rec"})
CAUGHT = frozenset({"fail", "dispute"})
BARS = {"noise 1e-5": 0.99}
CHEATS = (
    "int8",
    "8-bit weights",
    "fp16 weights",
    "bf16 weights",
    "pruned 1 %",
    "skipped residual",
    "older release",
    "last tensor 1e-3",
    "noise 1e-4",
    "noise 1e-5",
    "truncated input",
    "copied output",
    "random output",
    "edited output",
    "honest trace, altered output",
)
BINS = (0.0, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, np.inf)


def table(found: Mapping[str, Rows]) -> str:
    """Markdown: honest nodes by model and half, their distribution, and cheats by model."""
    halves = [
        ("first", [n for n in found if n in FIRST_HALF]),
        ("second", [n for n in found if n not in FIRST_HALF]),
    ]
    honest = {name: [row for row in rows if row["kind"] == "honest"] for name, rows in found.items()}
    lines = [
        *_honest(honest, halves),
        "",
        *_histogram(honest, halves),
        "",
        *_cheats(found),
        "",
        *_weights(found),
    ]
    return "\n".join(lines)


def _honest(honest: Mapping[str, Rows], halves: list[tuple[str, list[str]]]) -> Iterator[str]:
    yield "| honest | audits | pass | inconclusive | accused | median | 90 % | 99 % | 99.9 % | largest |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for half, names in halves:
        for name in names:
            yield _line(name, honest[name])
        yield _line(f"**{half} half**", [row for name in names for row in honest[name]])
    yield _line("**all**", [row for rows in honest.values() for row in rows])


def _line(name: str, rows: Rows) -> str:
    if not rows:
        return f"| {name} | 0 | | | | | | | | |"
    rulings = [row["ruling"] for row in rows]
    counts = rulings.count("pass"), rulings.count("inconclusive"), sum(r in CAUGHT for r in rulings)
    ratios = [row["ratio"] for row in rows]
    parts = [*np.quantile(ratios, (0.5, 0.9, 0.99, 0.999)), max(ratios)]
    return f"| {name} | {len(rows)} | " + " | ".join([*map(str, counts), *(f"{p:.2f}" for p in parts)]) + " |"


def _histogram(honest: Mapping[str, Rows], halves: list[tuple[str, list[str]]]) -> Iterator[str]:
    """How many honest audits had their largest ratio above one bound and up to the next."""
    heads = ["equal", *(f"to {bound:g}" for bound in BINS[1:-1]), f"over {BINS[-2]:g}"]
    yield "| largest ratio of an audit | " + " | ".join(heads) + " |"
    yield "|---|" + "---|" * len(heads)
    for half, names in halves:
        ratios = [row["ratio"] for name in names for row in honest[name]]
        places = np.searchsorted(BINS, ratios, side="left")
        yield f"| {half} half | " + " | ".join(str(int((places == k).sum())) for k in range(len(BINS))) + " |"


def _cheats(found: Mapping[str, Rows]) -> Iterator[str]:
    yield "| cheat | " + " | ".join(found) + " | caught | bar |"
    yield "|---|" + "---|" * (len(found) + 2)
    for cheat in CHEATS:
        cells, caught, tried = [], 0, 0
        for rows in found.values():
            trials = [row for row in rows if row.get("cheat") == cheat and not row["same"]]
            seen = sum(row["ruling"] in CAUGHT for row in trials)
            least = min((row["ratio"] for row in trials), default=0.0)
            cells.append(f"{seen}/{len(trials)}, {_short(least)}" if trials else "-")
            caught, tried = caught + seen, tried + len(trials)
        share = caught / tried if tried else 0.0
        bar = BARS.get(cheat, 1.0)
        verdict = ("met" if share >= bar else "missed") if tried else "-"
        yield f"| {cheat} | " + " | ".join(cells) + f" | {100 * share:.1f} % of {tried} | {verdict} |"


def _weights(found: Mapping[str, Rows]) -> Iterator[str]:
    """One weight tensor alone with noise of 1e-3."""
    yield "| one weight 1e-3 | " + " | ".join(found) + " |"
    yield "|---|" + "---|" * len(found)
    cells = []
    for rows in found.values():
        tried = [row for row in rows if row["kind"] == "weight" and not row["same"]]
        seen = sum(row["ruling"] in CAUGHT for row in tried)
        least = min((row["ratio"] for row in tried), default=0.0)
        cells.append(f"{seen}/{len(tried)}, {_short(least)}" if tried else "-")
    yield "| caught, least ratio | " + " | ".join(cells) + " |"


def _short(ratio: float) -> str:
    return f"{ratio:.3g}" if ratio < 1e4 else f"{ratio:.0e}".replace("e+0", "e")
