"""Line charts as SVG, without a library: what the result pages show."""
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 380, 60, 200, 46, 44


def _text(x, y, content, size=12, anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(content)}</text>')


def _ticks(low, high, count=6):
    """Round numbers between the two."""
    span = max(high - low, 1e-12)
    step = 10.0 ** len(str(int(span / count))) / 10 if span >= count else 1.0
    while span / step > count:
        step *= 2
    while span / step < count / 2:
        step /= 2
    first = int(low / step + (0 if low <= 0 else 0.999999))
    return [i * step for i in range(first, int(high / step + 1e-9) + 1)]


def draw(title, x_label, y_label, lines, band=None, cap=None):
    """An SVG text.

    `lines`: (name, color, [(x, y)]) each; `band`: (name, color, [(x, low, high)]).
    Values beyond `cap` are drawn at the upper edge.
    """
    points = [p for _, _, line in lines for p in line]
    rows = band[2] if band else []
    xs = [x for x, _ in points] + [row[0] for row in rows]
    ys = [y for _, y in points] + [y for row in rows for y in row[1:]]
    low, high = min(ys), max(ys) if cap is None else min(max(ys), cap)
    left, right = min(xs), max(xs)
    at_x = lambda x: LEFT + (WIDTH - LEFT - RIGHT) * (x - left) / max(right - left, 1e-12)
    at_y = lambda y: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (min(y, high) - low) / max(high - low, 1e-12)
    parts = [_text(12, 24, title, 15, weight="bold")]
    for y in _ticks(low, high):
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at_y(y):.1f}" y2="{at_y(y):.1f}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, at_y(y) + 4, f"{y:g}", 11, "end"))
    for x in sorted(set(xs)):
        parts.append(_text(at_x(x), HEIGHT - BOTTOM + 16, f"{x:g}", 11, "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label, 12, "middle"))
    parts.append(_text(LEFT - 48, TOP - 8, y_label, 12))
    entries = []
    if band:
        name, color, rows = band
        outline = [(x, upper) for x, _, upper in rows] + [(x, lower) for x, lower, _ in reversed(rows)]
        parts.append(f'<polygon points="{" ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in outline)}" '
                     f'fill="{color}" fill-opacity="0.18"/>')
        entries.append((name, color, 8))
    for name, color, line in lines:
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="2.5" fill="{color}"/>' for x, y in line]
        entries.append((name, color, 2))
    for i, (name, color, width) in enumerate(entries):
        y = TOP + 12 + 20 * i
        opacity = ' stroke-opacity="0.3"' if width > 2 else ""
        parts.append(f'<line x1="{WIDTH - RIGHT + 14}" x2="{WIDTH - RIGHT + 38}" y1="{y}" y2="{y}" '
                     f'stroke="{color}" stroke-width="{width}"{opacity}/>')
        parts.append(_text(WIDTH - RIGHT + 44, y + 4, name, 11))
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *parts,
        "</svg>",
    ]) + "\n"
