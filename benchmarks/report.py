"""The rows of cpu.py as a page with tables, one JSON file, and a picture of ratios."""
import collections
import dataclasses
import json
import statistics
from xml.sax.saxutils import escape

SECTIONS = {
    "prefill": ("Reading a text (prefill)", "Ratio: time of the other engine / ours, above 1 where ours is faster."),
    "decode": ("Writing a token (decode)", "One token after a cache of so many. Ratio as above."),
    "bandwidth": ("Decode against the memory",
                  "The other side is an AVX-512 sum with prefetch over one buffer of the bytes of a token (weights read, keys and "
                  "values read and written). Ratio: its time / ours, the part of the read bandwidth that is reached. Rows under "
                  "400 MB fit in the caches of servers and claim nothing about bandwidth."),
    "own": ("Fewer bits against our own f32", "Ratio: time of f32 / time of the row."),
    "threads": ("Two threads against one", "Ratio: time of one thread / time of two. For decode the rows of reading memory say what two threads can gain."),
    "last": ("Prefill with logits of the last token alone", "Both graphs compute no other logits."),
}
NAMES = {"ours": "ffn-mlir", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "torch.compile", "iree": "IREE", "read": "read"}
COLORS = {"onnxruntime": "#4878a8", "openvino": "#d1843f", "torch": "#6ba368", "llama.cpp": "#8a6bb1"}
SMALL = 400_000_000


def name_of(who, with_threads=False):
    said = f"{NAMES.get(who['engine'], who['engine'])} {who['precision']}"
    return said + (f", {who['threads']} threads" if with_threads and who["threads"] > 1 else ", 1 thread" if with_threads else "")


def load(rows, out, results, row_path):
    """What is known of the rows: from their files, else from the report that is there."""
    known = {}
    if (results / "cpu.json").exists():
        known = {entry["id"]: entry for entry in json.loads((results / "cpu.json").read_text())["rows"]}
    found = []
    for row in rows:
        path = row_path(out, row)
        if path.exists():
            found.append(json.loads(path.read_text()))
        elif row.id in known:
            found.append(known[row.id])
        else:
            found.append({"id": row.id, "row": dataclasses.asdict(row), "unavailable": "not run yet"})
    return found


def cell_text(cell):
    text = f"{cell['batch']} x {cell['length']}" if cell["what"] == "prefill" else f"after {cell['length']}"
    return text + (", last" if cell["last"] else "")


def quality_text(side):
    quality = side["quality"]
    if not quality:
        return "-"
    if side["info"]["precision"] == "f32":
        return f"e {quality['error']:.0e}"
    return (f"KL {quality['kl']:.0e}, " if "kl" in quality else "") + f"cos {quality['cosine']:.5f}"


def verdict(found):
    """Whether a goal is met, or why there is nothing to judge."""
    if "void" in found:
        return f"void: {found['void']}"
    if "measured" not in found:
        return f"not measured: {found['unavailable']}"
    notes, measured, goal = [], found["measured"], found["row"]["goal"]
    second = measured["sides"][1]
    if second["info"]["engine"] == "read" and second["info"]["bytes"] < SMALL:
        notes.append("under 400 MB")
        goal = None
    if goal:
        notes.append(f"goal {goal:g} {'met' if measured['ratio'] >= goal else 'missed'}")
    if measured["disturbed"]:
        notes.append(f"others used {measured['foreign_share']:.0%} of the CPUs")
    return "; ".join(notes)


def table(section, rows):
    threads = section == "threads"
    lines = ["| model | call | ours | other | ours, ms (spread) | other, ms (spread) | ratio (quartiles) | quality ours; other | |", "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for found in rows:
        row = found["row"]
        head = [row["model"], cell_text(row["cell"]), name_of(row["first"], threads), name_of(row["second"], threads)]
        if "measured" in found:
            m = found["measured"]
            times = [f"{1e3 * side['median_seconds']:.3g} ({side['spread']:.0%})" for side in m["sides"]]
            low, high = m["ratio_quartiles"]
            line = [*times, f"**{m['ratio']:.2f}** ({low:.2f} to {high:.2f})", "; ".join(quality_text(side) for side in m["sides"])]
        else:
            line = ["", "", "", ""]
        lines.append("| " + " | ".join(head + line + [verdict(found).replace("|", "/")]) + " |")
    return lines


def compile_table(found):
    seen = {}
    for entry in found:
        for who, side in zip(("first", "second"), entry.get("measured", {}).get("sides", [])):
            if side["info"].get("compile") and entry["row"][who]["threads"] == 2 and not entry["row"]["cell"]["last"]:
                seen[entry["row"]["model"], entry["row"][who]["precision"]] = side["info"]["compile"]
    lines = ["| model | precision | wall, s | CPU, s | peak memory, MB | artefact, MB |", "| --- | --- | --- | --- | --- | --- |"]
    for (model, precision), said in seen.items():
        lines.append(f"| {model} | {precision} | {said['seconds']:.1f} | {said['cpu_seconds']:.1f} | {said['peak_bytes'] / 1e6:,.0f} | {said['file_bytes'] / 1e6:,.0f} |")
    return lines


def quality_table(out):
    path = out / "quality.json"
    if not path.exists():
        return ["Not measured: `cpu.py quality` has not run."]
    lines = ["| model | weights | bytes | KL mean (max) | perplexity / that of f32 | same first token | tokens |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for row in json.loads(path.read_text())["rows"]:
        lines.append(f"| {row['model']} | {row['precision']} | {row['weight_bytes'] / row['weight_bytes_f32']:.0%} of f32 | {row['kl_mean']:.1e} ({row['kl_max']:.1e}) | "
                     f"{row['perplexity_ratio']:.4f} | {row['top1']:.1%} | {row['tokens']:,} |")
    return lines


def engines(found):
    seen = {}
    for entry in found:
        for side in entry.get("measured", {}).get("sides", []):
            info = {k: v for k, v in side["info"].items() if k not in ("load_seconds", "affinity", "compile", "weight_bytes", "bytes")}
            seen.setdefault((info.pop("engine"), info.pop("precision"), info.pop("threads")), info)
    lines = []
    for (engine, precision, threads), info in sorted(seen.items()):
        if threads == 2 and engine != "read":
            lines.append(f"- {engine} {precision}: " + ", ".join(f"{k} {' '.join(v) if isinstance(v, list) and all(isinstance(x, str) for x in v) else v}" for k, v in info.items()))
    return lines


def page(found, out):
    measured = [entry for entry in found if "measured" in entry]
    void = sum("void" in entry for entry in found)
    machine = measured[0]["machine"] if measured else {"cpu": "", "cpus": 0, "features": []}
    commits = sorted({entry["machine"]["commit"] for entry in measured})
    lines = [
        "# Dense transformers on a CPU", "",
        "Written by `benchmarks/cpu.py report` from the rows that `benchmarks/cpu.py run`", "measured; [the protocol](../../benchmarks/README.md) says how. "
        "Weights are random,", "the same for all engines, and say nothing about quality; quality is at the end,", "on trained models.", "",
        f"{len(measured)} rows measured, {void} void, {len(found) - len(measured) - void} not measured. {machine['cpu']}, {machine['cpus']} CPUs, "
        f"two threads unless a row says otherwise; {', '.join(machine['features'])}{'' if 'amx_tile' in machine['features'] else '; no AMX'}. Commits: {', '.join(commits)}.", "",
        "The machine is shared with other work, which was stopped while a row was timed. **Only the ratios are claims**, not the times: both sides of a row ran in turns, "
        "and times of two rows do not compare.", ""]
    for section, (title, text) in SECTIONS.items():
        rows = [entry for entry in found if entry["row"]["section"] == section]
        lines += [f"## {title}", "", text, "", *table(section, rows), ""]
    lines += ["## Compiling", "", *compile_table(found), "", "## Quality", "",
              "The compiled model against its own f32, on texts that it was not trained on, rounded to nearest without data, the tied head included.", "",
              *quality_table(out), "", "## Engines and settings", "", *engines(found), ""]
    return "\n".join(lines)


def picture(found):
    """Bars of the ratio in prefill, for each precision the mean over cells, and of decode."""
    groups = collections.OrderedDict()
    for entry in found:
        row = entry["row"]
        if "measured" in entry and row["section"] in ("prefill", "decode") and row["second"]["engine"] in COLORS:
            groups.setdefault((row["section"], row["first"]["precision"]), {}).setdefault((row["second"]["engine"], row["second"]["precision"]), []).append(entry["measured"]["ratio"])
    width, left, bar = 760, 210, 16
    text = lambda x, y, content, size=12, weight="normal": f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" font-weight="{weight}">{escape(content)}</text>'
    parts, y = [text(12, 26, "How many times faster than other engines, two threads", 15, "bold"),
                text(12, 44, "geometric mean over models and sizes of time of the other / time of ffn-mlir; the line is 1, equal", 11)], 60
    means = {key: {who: statistics.geometric_mean(ratios) for who, ratios in peers.items()} for key, peers in groups.items()}
    largest = max((value for peers in means.values() for value in peers.values()), default=1)
    scale = (width - left - 70) / max(largest, 1.2)
    for (section, precision), peers in means.items():
        y += 20
        parts.append(text(12, y, f"{section}, ours in {precision}", 12, "bold"))
        y += 6
        for (engine, theirs), value in peers.items():
            count = len(groups[section, precision][engine, theirs])
            parts.append(text(12, y + 12, f"{NAMES.get(engine, engine)} {theirs} ({count})"))
            parts.append(f'<rect x="{left}" y="{y}" width="{value * scale:.1f}" height="{bar}" fill="{COLORS[engine]}"/>')
            parts.append(text(left + value * scale + 6, y + 12, f"{value:.2f}"))
            y += bar + 4
    line = left + scale
    parts.append(f'<line x1="{line:.1f}" y1="62" x2="{line:.1f}" y2="{y}" stroke="#222" stroke-dasharray="3 3"/>')
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y + 16}" viewBox="0 0 {width} {y + 16}" font-family="sans-serif" fill="#222">',
                      f'<rect width="{width}" height="{y + 16}" fill="#ffffff"/>', *parts, "</svg>"]) + "\n"


def write(rows, out, results, row_path):
    found = load(rows, out, results, row_path)
    results.mkdir(parents=True, exist_ok=True)
    (results / "cpu.md").write_text(page(found, out))
    quality = out / "quality.json"
    lines = ",\n".join(json.dumps(entry) for entry in found)
    costs = json.dumps(json.loads(quality.read_text()) if quality.exists() else None)
    (results / "cpu.json").write_text(f'{{"quality": {costs},\n"rows": [\n{lines}\n]}}\n')
    (results / "cpu.svg").write_text(picture(found))
    return 0
