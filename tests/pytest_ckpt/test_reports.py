"""The report of a session, as JSON and as a page that a real browser shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from html.parser import HTMLParser

import pytest

from pytest_ckpt import progress, reports
from tests.pytest_ckpt.test_plugin import CPU, QUICK, TESTS

ODD = """
@pytest.mark.parametrize("kind", [nn.GRU], ids=["<b>&'\\""])
def test_odd(ckpt_roundtrip, kind):
    ckpt_roundtrip(lambda: kind(3, 3), inputs=torch.ones(2, 2, 3), devices=["cpu", "cuda"])

def test_none():
    pass
"""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--virtual-time-budget=2000",
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Run a session with two workers once, and give what it wrote and said."""
    folder = tmp_path_factory.mktemp("reports")
    folder.joinpath("test_nets.py").write_text(f"import pytest\n{TESTS}{ODD}", encoding="utf-8")
    folder.joinpath("pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    flags = ["-n2", *QUICK, CPU, "--ckpt-report=new/r.json", "--ckpt-report=r.html"]
    command = [sys.executable, "-m", "pytest", *flags]
    done = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)
    return folder, done.stdout


def by_name(folder):
    data = json.loads((folder / "new" / "r.json").read_text(encoding="utf-8"))
    return {one["test"].rpartition("::")[2]: one for one in data["tests"]}


def test_json_has_every_report_of_every_worker(written):
    folder, output = written
    found = by_name(folder)
    assert set(found) == {"test_sound", "test_faulty", "test_odd[<b>&'\"]"}, output
    assert {name: one["outcome"] for name, one in found.items()} == {
        "test_sound": "passed",
        "test_faulty": "failed",
        "test_odd[<b>&'\"]": "passed",
    }
    (report,) = found["test_faulty"]["reports"]
    assert [(one["category"], one["key"]) for one in report["findings"]] == [
        ("nonpersistent-buffer", "mask"),
        ("unsaved-state", "offset"),
    ]
    assert report["legs"] == [{"leg": "cpu->cpu torch_zip", "status": "real", "reason": ""}]
    assert found["test_faulty"]["seconds"] > 0


def test_json_says_its_format_and_the_versions(written):
    data = json.loads((written[0] / "new" / "r.json").read_text(encoding="utf-8"))
    assert data["format"] == reports.FORMAT
    assert data["versions"].keys() == {"pytest-ckpt", "torch"}


def test_the_terminal_says_where_they_are_and_nothing_else_is_left(written):
    folder, output = written
    assert f"written to {folder / 'r.html'}" in output
    assert f"written to {folder / 'new' / 'r.json'}" in output
    left = {path.name for path in folder.iterdir()} - {"__pycache__"}
    assert left == {"test_nets.py", "pytest.ini", "new", "r.html"}


class Outline(HTMLParser):
    """What a page refers to, and whether its tags are in order."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.ids = [], [], set()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.links += [value for name, value in attrs if name in {"href", "src"}]
        self.ids.add(given.get("id"))
        if tag not in {"meta", "input", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_stands_alone(written):
    outline = Outline()
    outline.feed((written[0] / "r.html").read_text(encoding="utf-8"))
    assert outline.open == []
    assert outline.links
    assert {link.removeprefix("#") for link in outline.links} <= outline.ids
    assert not re.search(r"https?:|@import|url\(", (written[0] / "r.html").read_text(encoding="utf-8"))


def shown(page, folder, script=""):
    """Let the browser run a script in the page, and give the page as it is then."""
    copy = folder / "shown.html"
    copy.write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", copy.as_uri()]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=True, timeout=120).stdout


MEASURE = """
const rows = [...document.querySelectorAll(".matrix tbody tr")];
const visible = () => rows.filter(row => row.offsetParent !== null).map(row => row.querySelector("a").textContent);
const said = [visible()];
const box = document.getElementById("filter"), tick = document.getElementById("found");
box.value = "GRU"; box.dispatchEvent(new Event("input")); said.push(visible());
box.value = "unsaved-state"; box.dispatchEvent(new Event("input")); said.push(visible());
box.value = ""; tick.checked = true; tick.dispatchEvent(new Event("change")); said.push(visible());
const sound = rows.find(row => row.textContent.includes("test_sound"));
sound.querySelector("a").click();
said.push([document.querySelector(sound.querySelector("a").getAttribute("href")).open]);
said.push([...document.querySelectorAll(".matrix thead .check")].slice(0, 2).map(cell => cell.textContent));
const faulty = rows.find(row => row.textContent.includes("test_faulty"));
said.push([...faulty.querySelectorAll("td")].slice(0, 3).map(cell => cell.querySelector("b").textContent));
said.push([document.documentElement.scrollWidth <= window.innerWidth]);
document.title = JSON.stringify(said);
"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")
def test_a_browser_shows_models_by_checks_by_legs(written, tmp_path):
    page = (written[0] / "r.html").read_text(encoding="utf-8")
    title = re.search(r"<title>(.*?)</title>", shown(page, tmp_path, MEASURE))
    assert title is not None
    every, gru, unsaved, found, opened, first, marks, fits = json.loads(title[1])
    assert sorted(every) == ["Faulty", "GRU", "Sound"]
    assert gru == ["GRU"]
    assert unsaved == found == ["Faulty"]
    assert opened == [True]
    assert set(first) == {"nonpersistent-buffer", "unsaved-state"}
    assert marks == ["✕", "✕", "●"]
    assert fits == [True]


def test_a_page_without_reports_says_so(tmp_path):
    reports.write(tmp_path / "r.html", [])
    assert "no test made a report" in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "message"),
    [("r.txt", "*--ckpt-report takes a file that ends with .html or .json, but 'r.txt' was given*"),
     ("r.html", "*--ckpt-report takes a file, but *r.html is a folder*")],
)  # fmt: skip
def test_a_path_that_says_no_format_stops_the_session(pytester, name, message):
    pytester.mkdir("r.html")
    result = pytester.runpytest_inprocess(*QUICK, f"--ckpt-report={name}")
    result.stderr.fnmatch_lines([message])
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_what_cannot_be_written_is_said_and_the_old_file_stays(pytester, monkeypatch):
    pytester.makeini("[pytest]\nckpt_report = r.json")
    pytester.makepyfile("def test_a(): pass")
    (pytester.path / "r.json").write_text("old", encoding="utf-8")
    monkeypatch.setattr(reports, "_umask", full_disk)
    result = pytester.runpytest_inprocess(*QUICK)
    result.stdout.fnmatch_lines(["*r.json could not be written: No space left on device"])
    assert (pytester.path / "r.json").read_text(encoding="utf-8") == "old"
    assert not list(pytester.path.glob(".r.json*"))


def full_disk():
    raise OSError(28, "No space left on device")


# ----------------------------------------------------------------------------------------------------------- progress


def test_a_line_comes_where_it_takes_long(monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    with (tmp_path / "terminal").open("w+", encoding="utf-8") as stream:
        with progress.shown("test_net", stream):
            progress.step("Net: saving")
            deadline = time.monotonic() + 60
            while not (tmp_path / "terminal").stat().st_size and time.monotonic() < deadline:
                time.sleep(0.01)
        assert re.match(r"\ntest_net: Net: saving, \d+ s so far\n", (tmp_path / "terminal").read_text(encoding="utf-8"))


def test_nothing_comes_where_it_does_not(tmp_path):
    with (tmp_path / "terminal").open("w+", encoding="utf-8") as stream, progress.shown("test_net", stream):
        progress.step("Net: saving")
    progress.step("nobody listens")
    assert (tmp_path / "terminal").read_text(encoding="utf-8") == ""


def test_the_line_passes_the_capture_of_pytest(pytester):
    pytester.makeconftest("from pytest_ckpt import progress\nprogress.PATIENCE = 0.2")
    pytester.makepyfile(f"import time\n{TESTS}\ndef test_slow(ckpt_roundtrip):\n"
                        "    ckpt_roundtrip(lambda: time.sleep(0.5) or Sound())\n")  # fmt: skip
    result = pytester.runpytest_subprocess(*QUICK, CPU, "-k", "slow", "-v")
    result.stdout.fnmatch_lines(["*::test_slow: *s so far", "*1 passed*"])


def test_output_that_is_no_terminal_is_not_disturbed(pytester):
    pytester.makeconftest("from pytest_ckpt import progress\nprogress.PATIENCE = 0.2")
    pytester.makepyfile(f"import time\n{TESTS}\ndef test_slow(ckpt_roundtrip):\n"
                        "    ckpt_roundtrip(lambda: time.sleep(0.5) or Sound())\n")  # fmt: skip
    result = pytester.runpytest_subprocess(*QUICK, CPU, "-k", "slow")
    result.stdout.no_fnmatch_line("*so far*")
    result.assert_outcomes(passed=1, deselected=2)
