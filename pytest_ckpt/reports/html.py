"""The report of a session as one self-contained page: models by checks by legs, and every finding with its hint."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pytest_ckpt.reports import Tested

_MARKS = {"finding": "✕", "real": "●", "simulated": "○", "skipped": "-"}
_MEANING = {
    "finding": "something was found",
    "real": "nothing was found",
    "simulated": "nothing was found, the device is simulated",
    "skipped": "the leg was skipped",
}


def render(tests: Sequence[Tested], versions: Mapping[str, str]) -> str:
    """Give the text of the page; it needs no other file, and works without scripts but for its filter."""
    each = [(one, report) for one in tests for report in one.reports]
    found = sum(bool(report["findings"]) for _, report in each)
    title = f"{_count(len(each), 'report')}, {found} with findings" if each else "no test made a report"
    body = "\n".join([*_header(title, versions), *_legs(each), *_matrix(each), *_details(each)])
    return _PAGE.replace("{title}", escape(title)).replace("{body}", body)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _header(title: str, versions: Mapping[str, str]) -> Iterator[str]:
    yield f"<header><h1>Checkpoints: {escape(title)}</h1>"
    yield f"<p>{escape(', '.join(f'{name} {version}' for name, version in versions.items()))}</p></header>"


def _legs(each: Sequence[tuple[Tested, dict[str, Any]]]) -> Iterator[str]:
    """Count what became of each leg, with the reasons."""
    counts = Counter((leg["leg"], leg["status"], leg["reason"]) for _, report in each for leg in report["legs"])
    if not counts:
        return
    yield '<section><h2>Legs</h2><table class="legs"><thead>'
    yield "<tr><th>leg</th><th>status</th><th>times</th><th>reason</th></tr></thead><tbody>"
    for (leg, status, reason), count in sorted(counts.items()):
        yield f'<tr><td>{escape(leg)}</td><td class="{status}">{status}</td><td>{count}</td>'
        yield f"<td>{escape(reason)}</td></tr>"
    yield "</tbody></table></section>"


# ----------------------------------------------------------------------------------------------------------- the matrix


def _matrix(each: Sequence[tuple[Tested, dict[str, Any]]]) -> Iterator[str]:
    """Show each model in a row and each check in a column; a cell has one mark for each leg."""
    hits = {one["category"] for _, report in each for one in report["findings"]}
    ran = dict.fromkeys(check for _, report in each for check in report["checks"])
    checks = sorted(ran, key=lambda check: check not in hits)  # what was found stands where the eye is
    if not checks:
        return
    yield "<section><h2>Models and checks</h2>"
    yield "<p>" + " &nbsp; ".join(f'<b class="{name}">{_MARKS[name]}</b> {text}' for name, text in _MEANING.items())
    yield "</p><p>A cell has one mark for each leg; point at it for the leg's name.</p>"
    yield '<p><label>Show <input id="filter" type="search" placeholder="model, test or check"></label>'
    yield '<label><input id="found" type="checkbox"> only those with findings</label></p>'
    yield '<div class="scroll"><table class="matrix"><thead><tr><th>model</th>'
    yield from (f'<th class="check"><span>{escape(check)}</span></th>' for check in checks)
    yield "</tr></thead><tbody>"
    for index, (test, report) in enumerate(each):
        yield "".join(_row(index, test, report, checks))
    yield "</tbody></table></div></section>"


def _row(index: int, test: Tested, report: dict[str, Any], checks: Iterable[str]) -> Iterator[str]:
    words = " ".join([report["subject"], test.nodeid, *(one["category"] for one in report["findings"])])
    state = "finding" if report["findings"] else "clean"
    yield f'<tr class="{state}" data-words="{escape(words.lower())}">'
    yield f'<th><a href="#r{index}">{escape(report["subject"])}</a>'
    yield f"<small>{escape(test.nodeid)}</small></th>"
    for check in checks:
        marks = _cell(report, check) if check in report["checks"] else []
        yield "<td>" + "".join(
            f'<b class="{kind}" title="{escape(f"{check}, {leg}: {_MEANING[kind]}")}">{_MARKS[kind]}</b>'
            for leg, kind in marks
        )
        yield "</td>"
    yield "</tr>"


def _cell(report: dict[str, Any], check: str) -> list[tuple[str, str]]:
    """Say for each leg what the check came to."""
    hit = {leg for one in report["findings"] if one["category"] == check for leg in one["leg"].split(", ")}
    return [(leg["leg"], "finding" if leg["leg"] in hit else leg["status"]) for leg in report["legs"]]


# -------------------------------------------------------------------------------------------------------- every finding


def _details(each: Sequence[tuple[Tested, dict[str, Any]]]) -> Iterator[str]:
    yield "<section><h2>Reports</h2>"
    for index, (test, report) in enumerate(each):
        findings = report["findings"]
        yield f'<details id="r{index}"{" open" if findings else ""}><summary><b>{escape(report["subject"])}</b> '
        yield f'<span class="{"finding" if findings else "real"}">{_count(len(findings), "finding")}</span>, '
        yield f"{report['entries']} in the state_dict "
        yield f"<small>{escape(test.nodeid)}, {test.seconds:.2f} s</small></summary>"
        yield from map(_finding, findings)
        yield "<ul>"
        for leg in report["legs"]:
            reason = f" ({leg['reason']})" if leg["reason"] else ""
            yield f'<li><span class="{leg["status"]}">{escape(leg["leg"])}: {leg["status"]}</span>{escape(reason)}</li>'
        yield from (f"<li>{escape(note)}</li>" for note in report["notes"])
        yield "</ul></details>"
    yield "</section>"


def _finding(one: dict[str, Any]) -> str:
    lines = [f'<dl><dt><b class="finding">{escape(one["category"])}</b> <code>{escape(one["key"])}</code></dt>']
    if one["expected"] or one["actual"]:
        lines.append(f"<dd><code>{escape(one['expected'])}</code> → <code>{escape(one['actual'])}</code></dd>")
    lines.append(f"<dd>{escape(one['message'])} <small>{escape(one['leg'])}</small></dd>")
    if one["hint"]:
        lines.append(f'<dd class="hint">hint: <code>{escape(one["hint"])}</code></dd>')
    return "".join([*lines, "</dl>"])


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Checkpoints: {title}</title>
<style>
:root { color-scheme: light dark; --bad: #c62828; --good: #2e7d32; --dim: #757575; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem } small { color: var(--dim) }
code { font-size: .92em; white-space: pre-wrap; overflow-wrap: anywhere }
table { border-collapse: collapse }
td, th { border-bottom: 1px solid var(--line); padding: .2rem .6rem; text-align: left }
.scroll { overflow-x: auto }
.matrix td { text-align: center; white-space: nowrap; padding: .2rem .3rem }
.matrix tbody th { font-weight: 600; position: sticky; left: 0; background: Canvas; min-width: 14rem }
.matrix th small { display: block; font-weight: 400; overflow-wrap: anywhere }
.check { vertical-align: bottom; padding: .2rem } .check span { writing-mode: vertical-rl; transform: rotate(180deg) }
.finding { color: var(--bad) } .real, .simulated { color: var(--good) } .skipped { color: var(--dim); font-weight: 400 }
label { margin-right: 1.5rem } input[type=search] { font: inherit; width: 18rem }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .6rem 0; padding: .5rem .9rem }
summary { cursor: pointer } summary small { float: right } dl { margin: .8rem 0 } dd { margin: .1rem 0 .1rem 1.5rem }
.hint code { color: inherit }
</style>
</head>
<body>
{body}
<script>
const words = document.getElementById("filter"), found = document.getElementById("found");
function sift() {
  const text = words.value.toLowerCase();
  for (const row of document.querySelectorAll(".matrix tbody tr"))
    row.hidden = !row.dataset.words.includes(text) || (found.checked && row.className === "clean");
}
if (words) { words.addEventListener("input", sift); found.addEventListener("change", sift); }
for (const link of document.querySelectorAll(".matrix a"))
  link.addEventListener("click", () => { document.querySelector(link.getAttribute("href")).open = true; });
</script>
</body>
</html>
"""
