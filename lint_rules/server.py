"""The language server: findings, fixes and rule pages in any editor that speaks the protocol.

`ckpt-lint-server` talks over standard input and output. Settings are those of the command, found from the file that is
open. Notebooks are linted whole where the editor sends them as notebooks.
"""

from __future__ import annotations

import io
import json
import sys
import tokenize
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from lsprotocol import types
    from pygls.lsp.server import LanguageServer
    from pygls.uris import to_fs_path
    from pygls.workspace import TextDocument
except ModuleNotFoundError as error:
    raise SystemExit(f'ckpt-lint-server needs pygls ({error}): pip install "pytest-ckpt[lsp]"') from None

from lint_rules import fixes, registry, suppress
from lint_rules.config import PYPROJECT, ConfigError, Resolver
from lint_rules.pages import page
from lint_rules.regions import split_lines
from lint_rules.runner import Runner
from lint_rules.sources import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lint_rules.rule import Edit, Finding

_NAME = "ckpt-lint"
_ENDINGS = {"markdown": ".md", "restructuredtext": ".rst"}
_CELLS = types.NotebookDocumentFilterWithNotebook(
    notebook="jupyter-notebook", cells=[types.NotebookCellLanguage(language="python")]
)
_FIX_ALL = f"{types.CodeActionKind.SourceFixAll.value}.{_NAME}"

# pygls splits at form feeds and Unicode separators too, where no editor does, and would misplace all that follows one.
TextDocument.lines = property(lambda self: tuple(split_lines(self.source)))  # type: ignore[assignment]

server = LanguageServer(
    _NAME,
    version("pytest-ckpt"),
    notebook_document_sync=types.NotebookDocumentSyncOptions(notebook_selector=[_CELLS]),
)


# ------------------------------------------------------------------------------------------------------------- linting


def _path(document: TextDocument) -> str:
    """Give the path that says where settings are found and what kind of source it is; a new file has none yet."""
    path = to_fs_path(document.uri) if document.uri.startswith("file:") else None
    return path or str(Path.cwd() / f"untitled{_ENDINGS.get(document.language_id or '', '.py')}")


def _encoding(document: TextDocument) -> str:
    """Give the encoding that a document declares, for the linter obeys it; UTF-8 where it cannot hold the document."""
    if not _is_plain(document):
        return "utf-8"
    try:
        data = io.BytesIO(document.source.encode(errors="replace"))
        encoding = tokenize.detect_encoding(data.readline)[0].removesuffix("-sig")
        document.source.encode(encoding)
    except (SyntaxError, UnicodeError, LookupError):
        return "utf-8"
    return encoding


def _encoded(document: TextDocument) -> bytes:
    return document.source.encode(_encoding(document), "replace")


@lru_cache(maxsize=32)
def _found(path: str, data: bytes) -> tuple[Finding, ...]:
    """Lint a text; settings that cannot be used are said in the editor.

    What is known is kept for the questions that follow, and forgotten when a text is opened, changed or saved: the
    settings may be others by then.
    """
    try:
        return Runner(Resolver()).run_text(path, data).findings
    except ConfigError as error:
        message = types.ShowMessageParams(types.MessageType.Error, f"{_NAME}: {error}")
        server.window_show_message(message)
        return ()


def _findings(document: TextDocument) -> list[Finding]:
    """Give what is wrong in a document that is open: a file, or a cell of a notebook."""
    notebook = server.workspace.get_notebook_document(cell_uri=document.uri)
    if notebook is None:
        return [each for each in _found(_path(document), _encoded(document)) if each.cell is None]
    number = [cell.document for cell in notebook.cells].index(document.uri)
    return [each for each in _notebook_findings(notebook) if each.cell == number]


def _notebook_findings(notebook: types.NotebookDocument) -> tuple[Finding, ...]:
    cells: list[dict[str, Any]] = [
        {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": _source(cell)}
        if cell.kind == types.NotebookCellKind.Code
        else {"cell_type": "markdown", "metadata": {}, "source": ""}
        for cell in notebook.cells
    ]
    data = json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 4}).encode()
    return _found(to_fs_path(notebook.uri) or str(Path.cwd() / "untitled.ipynb"), data)


def _source(cell: types.NotebookCell) -> str:
    return server.workspace.get_text_document(cell.document).source


def _range(document: TextDocument, place: Finding | Edit) -> types.Range:
    """Give a place in the units that the editor counts in."""
    start = types.Position(place.line - 1, place.column - 1)
    end = types.Position(place.end_line - 1, place.end_column - 1)
    return document.position_codec.range_to_client_units(document.lines, types.Range(start, end))


def _diagnostic(document: TextDocument, finding: Finding) -> types.Diagnostic:
    return types.Diagnostic(
        range=_range(document, finding),
        message=finding.message,
        severity=types.DiagnosticSeverity.Warning,
        code=finding.code,
        code_description=types.CodeDescription(href=finding.url),
        source=_NAME,
    )


def _publish(uri: str, findings: Iterable[Finding]) -> None:
    document = server.workspace.get_text_document(uri)
    diagnostics = [_diagnostic(document, finding) for finding in findings]
    server.text_document_publish_diagnostics(
        types.PublishDiagnosticsParams(uri=uri, version=document.version, diagnostics=diagnostics)
    )


@server.feature(types.TEXT_DOCUMENT_DID_OPEN)
@server.feature(types.TEXT_DOCUMENT_DID_CHANGE)
@server.feature(types.TEXT_DOCUMENT_DID_SAVE)
def _lint(params: Any) -> None:
    _found.cache_clear()
    uri = params.text_document.uri
    _publish(uri, _findings(server.workspace.get_text_document(uri)))


@server.feature(types.INITIALIZED)
async def _watch_settings(_params: types.InitializedParams) -> None:
    """Ask the editor to say when settings change on the disk, if it offers to."""
    workspace = server.client_capabilities.workspace
    if workspace and workspace.did_change_watched_files and workspace.did_change_watched_files.dynamic_registration:
        watchers = [types.FileSystemWatcher(f"**/{pattern}") for pattern in (PYPROJECT, "requirements*.txt")]
        options = types.DidChangeWatchedFilesRegistrationOptions(watchers)
        registration = types.Registration("settings", types.WORKSPACE_DID_CHANGE_WATCHED_FILES, options)
        await server.client_register_capability_async(types.RegistrationParams([registration]))


@server.feature(types.WORKSPACE_DID_CHANGE_WATCHED_FILES)
def _lint_again(_params: types.DidChangeWatchedFilesParams) -> None:
    """Lint all that is open: the settings are others now."""
    _found.cache_clear()
    for uri, document in server.workspace.text_documents.items():
        _publish(uri, _findings(document))


@server.feature(types.TEXT_DOCUMENT_DID_CLOSE)
def _forget(params: types.DidCloseTextDocumentParams) -> None:
    _clear([params.text_document])


def _clear(documents: Iterable[types.TextDocumentIdentifier]) -> None:
    """Take back what was said of documents that are gone."""
    for document in documents:
        server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(document.uri, []))


@server.feature(types.NOTEBOOK_DOCUMENT_DID_OPEN)
@server.feature(types.NOTEBOOK_DOCUMENT_DID_CHANGE)
@server.feature(types.NOTEBOOK_DOCUMENT_DID_SAVE)
def _lint_notebook(params: Any) -> None:
    notebook = server.workspace.get_notebook_document(notebook_uri=params.notebook_document.uri)
    if notebook is None:
        return
    _found.cache_clear()
    found = _notebook_findings(notebook)
    for number, cell in enumerate(notebook.cells):
        if cell.kind == types.NotebookCellKind.Code:
            _publish(cell.document, (finding for finding in found if finding.cell == number))
    cells = params.change.cells if isinstance(params, types.DidChangeNotebookDocumentParams) else None
    _clear((cells and cells.structure and cells.structure.did_close) or ())


@server.feature(types.NOTEBOOK_DOCUMENT_DID_CLOSE)
def _forget_notebook(params: types.DidCloseNotebookDocumentParams) -> None:
    _clear(params.cell_text_documents)


# --------------------------------------------------------------------------------------------------------------- fixing


@server.feature(
    types.TEXT_DOCUMENT_CODE_ACTION,
    types.CodeActionOptions(code_action_kinds=[types.CodeActionKind.QuickFix, _FIX_ALL]),
)
def _actions(params: types.CodeActionParams) -> list[types.CodeAction]:
    document = server.workspace.get_text_document(params.text_document.uri)
    wanted = params.context.only or [types.CodeActionKind.QuickFix]
    actions: list[types.CodeAction] = []
    if any(types.CodeActionKind.QuickFix.value.startswith(kind) for kind in wanted):
        asked = [each for each in _findings(document) if _overlap(_range(document, each), params.range)]
        for finding in asked:
            actions += _quick_fixes(document, finding)
    if any(f"{_FIX_ALL}.".startswith(f"{kind}.") for kind in wanted):
        actions += _fix_all(document)
    return actions


def _overlap(one: types.Range, other: types.Range) -> bool:
    return one.start <= other.end and other.start <= one.end


def _quick_fixes(document: TextDocument, finding: Finding) -> Iterator[types.CodeAction]:
    """Offer the fix, and the comment that silences the finding; the fix is preferred where it is safe."""
    is_plain = _is_plain(document)
    fix = finding.fix
    if fix is not None and (is_plain or not fix.imports):
        edits = fixes.plan(document.source, [finding], unsafe=True).edits if is_plain else fix.edits
        title = f"{finding.code}: fix {finding.name}" + ("" if fix.safe else " (may change what the code does)")
        yield _action(document, title, edits, finding, preferred=fix.safe)
    if is_plain:
        title = f"{finding.code}: silence it on this line"
        comment = suppress.add(document.source, [finding]).edits
        yield _action(document, title, comment, finding)


def _is_plain(document: TextDocument) -> bool:
    """Whether all of the document is Python, as it is in a file and in a cell, and not in a page of prose."""
    is_cell = server.workspace.get_notebook_document(cell_uri=document.uri) is not None
    return is_cell or kind_of(_path(document)).is_plain


def _fix_all(document: TextDocument) -> Iterator[types.CodeAction]:
    """Offer all safe fixes of a file at once, in as many rounds as they take."""
    if server.workspace.get_notebook_document(cell_uri=document.uri) is not None:
        return
    try:
        result = Runner(Resolver(), fix=True).run_text(_path(document), _encoded(document))
    except ConfigError:
        return
    for report in result.reports:
        if report.data is not None:
            whole = types.Range(types.Position(0, 0), types.Position(len(document.lines), 0))
            edit = types.TextEdit(whole, report.data.decode(_encoding(document)))
            yield types.CodeAction(
                f"{_NAME}: fix all that is safe", kind=_FIX_ALL, edit=types.WorkspaceEdit({document.uri: [edit]})
            )


def _action(
    document: TextDocument, title: str, edits: Sequence[Edit], finding: Finding, *, preferred: bool = False
) -> types.CodeAction:
    changes = [types.TextEdit(_range(document, edit), edit.text) for edit in edits]
    return types.CodeAction(
        title,
        kind=types.CodeActionKind.QuickFix,
        diagnostics=[_diagnostic(document, finding)],
        is_preferred=preferred,
        edit=types.WorkspaceEdit({document.uri: changes}),
    )


# ---------------------------------------------------------------------------------------------------------------- hover


@server.feature(types.TEXT_DOCUMENT_HOVER)
def _hover(params: types.HoverParams) -> types.Hover | None:
    """Show the page of the rule whose finding is pointed at."""
    document = server.workspace.get_text_document(params.text_document.uri)
    here = types.Range(params.position, params.position)
    for finding in _findings(document):
        place = _range(document, finding)
        if _overlap(place, here):
            text = page(registry.rule(finding.code))
            return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, text), place)
    return None


def main() -> None:
    """Serve over standard input and output until the editor says that it is enough."""
    unknown = [argument for argument in sys.argv[1:] if argument != "--stdio"]
    if unknown:
        raise SystemExit(f"ckpt-lint-server takes no argument but --stdio, which it does anyway; got {unknown[0]!r}")
    server.start_io()


if __name__ == "__main__":
    main()
