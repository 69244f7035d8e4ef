#!/usr/bin/env python3
"""Draws docs/assets/demo.svg from docs/assets/demo.json; --check compares instead.

The figures are those of one run: scripts/demo.sh --json docs/assets/demo.json
"""
import argparse
import json
import pathlib
import sys
from xml.sax.saxutils import escape

ASSETS = pathlib.Path(__file__).resolve().parent.parent / "docs" / "assets"
COLORS = ("#4878a8", "#6ba368", "#d1843f")
WIDTH, LEFT, BAR, GAP = 760, 180, 22, 8
PANELS = (
    ("file_bytes", "file size, MB (smaller is better)", lambda value: value / 1e6, "{:.1f}"),
    ("tokens_per_second", "tokens/s with KV cache, one thread (larger is better)", float, "{:,.0f}"),
    ("bits_per_byte", "bits per byte on held-out text (smaller is better)", float, "{:.3f}"),
)


def text(x, y, content, size=12, weight="normal"):
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" font-weight="{weight}">{escape(content)}</text>'


def draw(found):
    machine, rows = found["machine"], found["rows"]
    parts, y = [], 28
    parts.append(text(12, y, "pycode-lm, compiled: the original, exact rewrites, two sublayers removed", 15, "bold"))
    y += 18
    parts.append(text(12, y, f"{machine['cpu']}, Python {machine['python']}; removed: {', '.join(found['removed'])}", 11))
    for key, title, scale, form in PANELS:
        y += 30
        parts.append(text(12, y, title, 12, "bold"))
        y += 8
        largest = max(scale(row[key]) for row in rows)
        for row, color in zip(rows, COLORS):
            value = scale(row[key])
            length = (WIDTH - LEFT - 80) * value / largest
            parts.append(text(12, y + 15, row["name"]))
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{color}"/>')
            parts.append(text(LEFT + length + 6, y + 15, form.format(value)))
            y += BAR + GAP
    height = y + 12
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" fill="#222">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *parts,
        "</svg>",
    ]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with what is checked in")
    arguments = parser.parse_args()
    drawn = draw(json.loads((ASSETS / "demo.json").read_text()))
    if not arguments.check:
        (ASSETS / "demo.svg").write_text(drawn)
        return 0
    if (ASSETS / "demo.svg").read_text() != drawn:
        print("stale docs/assets/demo.svg; run scripts/demo_chart.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
