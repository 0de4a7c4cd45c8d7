"""The language server, asked by a client over standard input and output as an editor asks it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from lsprotocol import types
from pygls.lsp.client import LanguageClient

from lint_rules.regions import split_lines

if TYPE_CHECKING:
    from pathlib import Path

CALL = 'model.load_state_dict("model.pt")'
LOADED = 'model.load_state_dict(torch.load("model.pt", map_location="cpu", weights_only=True))'
FAULTY = f"""\
from torch import nn

model = nn.Linear(1, 1); name = "\N{SLIGHTLY SMILING FACE}"; {CALL}
"""
OLD = f"# -*- coding: latin-1 -*-\n\x0c\nfrom torch import nn\n\n\nmodel = nn.Linear(1, 1); name = 'é'; {CALL}\n"
FIXED = FAULTY.replace(CALL, LOADED).replace("import nn\n", "import nn\nimport torch\n")
PAGE = f"# Load\n\n```python\n{FAULTY}```\n"
COLUMN = FAULTY.splitlines()[2].index(CALL) + 1  # in UTF-16 the smiling face counts twice


class Editor:
    """What an editor does: it opens and changes texts, and hears of what is wrong with them."""

    def __init__(self, client: LanguageClient) -> None:
        self.client = client
        self.heard: asyncio.Queue[types.PublishDiagnosticsParams] = asyncio.Queue()
        self.messages: list[str] = []
        self.asked: asyncio.Queue[types.Registration] = asyncio.Queue()
        client.feature(types.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)(lambda params: self.heard.put_nowait(params))  # noqa: PLW0108 -- a method takes no mark
        client.feature(types.WINDOW_SHOW_MESSAGE)(lambda params: self.messages.append(params.message))
        client.feature(types.CLIENT_REGISTER_CAPABILITY)(lambda params: self.asked.put_nowait(*params.registrations))

    async def open(self, path: Path, text: str, language: str = "python") -> list[types.Diagnostic]:
        item = types.TextDocumentItem(path.as_uri(), language, 1, text)
        self.client.text_document_did_open(types.DidOpenTextDocumentParams(item))
        return await self.told(path.as_uri())

    async def change(self, path: Path, text: str, place: types.Range | None = None) -> list[types.Diagnostic]:
        """Put another text in the place of some, or of all."""
        document = types.VersionedTextDocumentIdentifier(uri=path.as_uri(), version=2)
        part = place and types.TextDocumentContentChangePartial(place, text)
        change = part or types.TextDocumentContentChangeWholeDocument(text)
        self.client.text_document_did_change(types.DidChangeTextDocumentParams(document, [change]))
        return await self.told(path.as_uri())

    async def settle(self, folder: Path, setting: str) -> dict[str, list[Any]]:
        """Change the settings on the disk, say so, and give the codes of what is told of the three open texts."""
        settings = folder / "pyproject.toml"
        settings.write_text(f"[tool.ckpt-lint]\n{setting}\n", encoding="utf-8")
        event = types.FileEvent(settings.as_uri(), types.FileChangeType.Changed)
        self.client.workspace_did_change_watched_files(types.DidChangeWatchedFilesParams([event]))
        told = [await asyncio.wait_for(self.heard.get(), 60) for _ in range(3)]
        return {params.uri.rpartition("/")[2]: [each.code for each in params.diagnostics] for params in told}

    async def told(self, uri: str) -> list[types.Diagnostic]:
        params = await asyncio.wait_for(self.heard.get(), 60)
        assert params.uri == uri
        return list(params.diagnostics)

    async def actions(self, path: Path, place: types.Range, only: list[Any] | None = None) -> list[types.CodeAction]:
        context = types.CodeActionContext(diagnostics=[], only=only)
        document = types.TextDocumentIdentifier(path.as_uri())
        answer = await self.client.text_document_code_action_async(types.CodeActionParams(document, place, context))
        return [each for each in answer or [] if isinstance(each, types.CodeAction)]

    async def hover(self, path: Path, position: types.Position) -> str | None:
        document = types.TextDocumentIdentifier(path.as_uri())
        answer = await self.client.text_document_hover_async(types.HoverParams(document, position))
        return getattr(answer.contents, "value", None) if answer else None


def edited(text: str, action: types.CodeAction) -> str:
    """Make the edits of an action as an editor does, in its units."""
    assert action.edit is not None
    (edits,) = (action.edit.changes or {}).values()
    lines = split_lines(text)
    starts = [sum(map(units, lines[:number])) for number in range(len(lines) + 1)]
    data = text.encode("utf-16-le")
    for edit in sorted(edits, key=lambda each: (each.range.start.line, each.range.start.character), reverse=True):
        start, end = (2 * (starts[one.line] + one.character) for one in (edit.range.start, edit.range.end))
        data = data[:start] + edit.new_text.encode("utf-16-le") + data[end:]
    return data.decode("utf-16-le")


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


@pytest.fixture(scope="module")
def conversation(tmp_path_factory):
    """Have one conversation with one server, and give what was said by the name of the question."""
    folder = tmp_path_factory.mktemp("project")
    return asyncio.run(asyncio.wait_for(talk(folder), 300))


async def talk(folder: Path) -> dict[str, Any]:
    client = LanguageClient("test", "1")
    editor = Editor(client)
    await client.start_io(sys.executable, "-m", "lint_rules.server", "--stdio")
    said: dict[str, Any] = {}
    watched = types.DidChangeWatchedFilesClientCapabilities(dynamic_registration=True)
    workspace = types.WorkspaceClientCapabilities(did_change_watched_files=watched)
    capabilities = types.ClientCapabilities(workspace=workspace)
    parameters = types.InitializeParams(capabilities=capabilities, root_uri=folder.as_uri())
    said["capabilities"] = (await client.initialize_async(parameters)).capabilities
    client.initialized(types.InitializedParams())
    said["watched"] = await asyncio.wait_for(editor.asked.get(), 60)

    script, clean, page = folder / "load.py", folder / "clean.py", folder / "page.md"
    said["faulty"] = await editor.open(script, FAULTY)
    said["hover"] = await editor.hover(script, types.Position(2, 40))
    said["hover elsewhere"] = await editor.hover(script, types.Position(0, 0))
    place = said["faulty"][0].range
    said["actions"] = await editor.actions(script, place)
    said["actions elsewhere"] = await editor.actions(script, types.Range(types.Position(0, 0), types.Position(0, 4)))
    said["fix all"] = await editor.actions(script, place, ["source.fixAll"])
    said["fix all of others"] = await editor.actions(script, place, ["source.fixAll.ruff"])
    said["changed"] = await editor.change(script, FAULTY.replace("load_state_dict", "forward"))
    said["broken"] = await editor.change(script, f"{FAULTY}def (:\n")
    client.text_document_did_close(types.DidCloseTextDocumentParams(types.TextDocumentIdentifier(script.as_uri())))
    said["closed"] = await editor.told(script.as_uri())
    said["clean"] = await editor.open(clean, "x = 1\n")
    old = folder / "old.py"
    said["old"] = await editor.open(old, OLD.replace(CALL, "pass"))
    said["old, changed"] = await editor.change(old, CALL, types.Range(types.Position(5, 37), types.Position(5, 41)))
    said["actions on the old one"] = await editor.actions(old, said["old, changed"][0].range)
    said["fix all of the old one"] = await editor.actions(old, said["old, changed"][0].range, ["source.fixAll"])
    said["page"] = await editor.open(page, PAGE, "markdown")
    said["actions on the page"] = await editor.actions(page, said["page"][0].range)
    said["notebook"] = await notebook(editor, folder / "load.ipynb")
    said["settings"] = [await editor.settle(folder, f'ignore = ["{code}"]') for code in ("CKP501", "CKP101")]
    said["ignored"] = await editor.open(folder / "other.py", FAULTY)
    (folder / "pyproject.toml").write_text("[tool.ckpt-lint]\nignroe = []\n", encoding="utf-8")
    said["wrong settings"] = await editor.change(folder / "other.py", f"{FAULTY}\n")
    said["messages"] = list(editor.messages)

    await client.shutdown_async(None)
    client.exit(None)
    assert client._server is not None
    said["exit"] = await asyncio.wait_for(client._server.wait(), 60)
    await client.stop()
    return said


async def notebook(editor: Editor, path: Path) -> dict[str, list[types.Diagnostic]]:
    """Open a notebook whose prose cell stands between two cells of code; the second cell needs the first."""
    sources = ["from torch import nn\nmodel = nn.Linear(1, 1)\n", "Load it", 'model.load_state_dict("model.pt")\n']
    kinds = [types.NotebookCellKind.Code, types.NotebookCellKind.Markup, types.NotebookCellKind.Code]
    uris = [f"vscode-notebook-cell:{path.as_posix()}#{number}" for number in range(3)]
    cells = [types.NotebookCell(kind, uri) for kind, uri in zip(kinds, uris, strict=True)]
    items = [types.TextDocumentItem(uri, "python", 1, text) for uri, text in zip(uris, sources, strict=True)]
    document = types.NotebookDocument(path.as_uri(), "jupyter-notebook", 1, cells)
    editor.client.notebook_document_did_open(types.DidOpenNotebookDocumentParams(document, items))
    told = {uri[-1]: await editor.told(uri) for uri in (uris[0], uris[2])}

    gone = [types.TextDocumentIdentifier(uris[2])]
    array = types.NotebookCellArrayChange(start=2, delete_count=1, cells=[])
    structure = types.NotebookDocumentCellChangeStructure(array=array, did_close=gone)
    change = types.NotebookDocumentChangeEvent(cells=types.NotebookDocumentCellChanges(structure=structure))
    version = types.VersionedNotebookDocumentIdentifier(version=2, uri=path.as_uri())
    editor.client.notebook_document_did_change(types.DidChangeNotebookDocumentParams(version, change))
    told |= {f"{uri[-1]}, after the third cell is gone": await editor.told(uri) for uri in (uris[0], uris[2])}

    rest = [types.TextDocumentIdentifier(uri) for uri in uris[:2]]
    identifier = types.NotebookDocumentIdentifier(path.as_uri())
    editor.client.notebook_document_did_close(types.DidCloseNotebookDocumentParams(identifier, rest))
    told |= {f"{uri[-1]}, closed": await editor.told(uri) for uri in uris[:2]}
    return told


def codes(diagnostics: list[types.Diagnostic]) -> list[Any]:
    return [each.code for each in diagnostics]


def test_what_is_wrong_is_published_where_the_editor_counts_it(conversation):
    (found,) = conversation["faulty"]
    assert found.code == "CKP101"
    assert found.source == "ckpt-lint"
    assert found.severity == types.DiagnosticSeverity.Warning
    assert "`load_state_dict` takes a state dict" in found.message
    assert found.range == types.Range(types.Position(2, COLUMN), types.Position(2, COLUMN + len(CALL)))
    assert found.code_description.href.endswith("CKP101.html")


def test_fixes_and_silences_are_offered_where_the_finding_is(conversation):
    fix, silence = conversation["actions"]
    assert fix.title == "CKP101: fix load-state-dict-path"
    assert fix.is_preferred
    assert fix.kind == types.CodeActionKind.QuickFix
    assert codes(fix.diagnostics) == ["CKP101"]
    assert edited(FAULTY, fix) == FIXED
    assert silence.title == "CKP101: silence it on this line"
    assert not silence.is_preferred
    assert edited(FAULTY, silence) == FAULTY.rstrip("\n") + "  # noqa: CKP101\n"
    assert conversation["actions elsewhere"] == []


def test_all_safe_fixes_at_once(conversation):
    (action,) = conversation["fix all"]
    assert action.kind == "source.fixAll.ckpt-lint"
    assert edited(FAULTY, action) == FIXED
    assert conversation["fix all of others"] == []


def test_the_page_of_a_rule_is_shown_where_its_finding_is(conversation):
    assert conversation["hover"].startswith("# load-state-dict-path (CKP101)")
    assert conversation["hover elsewhere"] is None


def test_changes_are_followed(conversation):
    assert conversation["changed"] == []
    assert conversation["broken"] == []
    assert conversation["closed"] == []
    assert conversation["clean"] == []


def test_form_feeds_and_declared_encodings_move_nothing(conversation):
    assert conversation["old"] == []
    (found,) = conversation["old, changed"]
    assert found.range == types.Range(types.Position(5, 37), types.Position(5, 37 + len(CALL)))
    fix, _ = conversation["actions on the old one"]
    (whole,) = conversation["fix all of the old one"]
    fixed = OLD.replace(CALL, LOADED).replace("import nn\n", "import nn\nimport torch\n")
    assert edited(OLD, fix) == edited(OLD, whole) == fixed


def test_pages_of_prose_are_linted_and_fixed_and_have_no_comments_to_silence_with(conversation):
    (found,) = conversation["page"]
    assert found.range.start == types.Position(5, COLUMN)
    (fix,) = conversation["actions on the page"]
    assert edited(PAGE, fix) == PAGE.replace(CALL, LOADED)


def test_a_notebook_is_read_as_one_script(conversation):
    told = conversation["notebook"]
    assert (codes(told["0"]), codes(told["2"])) == ([], ["CKP101"])
    assert conversation["notebook"]["2"][0].range.start == types.Position(0, 0)


def test_what_was_said_of_a_cell_is_taken_back_when_it_is_gone(conversation):
    told = conversation["notebook"]
    assert told["2, after the third cell is gone"] == told["0, closed"] == told["1, closed"] == []


def test_settings_are_those_of_the_command(conversation):
    assert conversation["ignored"] == []
    assert conversation["wrong settings"] == []
    (message,) = conversation["messages"]
    assert "ignroe" in message


def test_what_is_open_is_linted_again_when_settings_change(conversation):
    watched = conversation["watched"]
    assert watched.method == types.WORKSPACE_DID_CHANGE_WATCHED_FILES
    patterns = [each["globPattern"] for each in watched.register_options["watchers"]]
    assert patterns == ["**/pyproject.toml", "**/requirements*.txt"]
    assert conversation["settings"] == [
        {"clean.py": [], "old.py": ["CKP101"], "page.md": ["CKP101"]},
        {"clean.py": [], "old.py": [], "page.md": []},
    ]


def test_it_says_what_it_can_and_stops_when_it_is_told(conversation):
    offered = conversation["capabilities"]
    assert offered.hover_provider
    assert list(offered.code_action_provider.code_action_kinds) == ["quickfix", "source.fixAll.ckpt-lint"]
    assert conversation["exit"] == 0


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        ("import sys; sys.modules['pygls'] = None", [], 'pip install "pytest-ckpt[lsp]"'),
        ("", ["--port=1"], "takes no argument but --stdio, which it does anyway; got '--port=1'"),
    ],
)
def test_what_is_missing_or_unknown_is_said(code, arguments, message):
    script = f"{code}\nimport runpy; runpy.run_module('lint_rules.server', run_name='__main__', alter_sys=False)"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, encoding="utf-8", check=False, timeout=120
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
