"""The command `ckpt-lint`.

Exit code 0 for no findings, 1 for findings, 2 for whatever the user has to act on: a file that cannot be read, a
setting that cannot be used. Findings go to standard output, everything else to standard error.
"""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lint_rules import files, output, registry
from lint_rules.config import ConfigError, Overrides, Resolver, describe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from lint_rules.runner import Result, Runner

_STDIN = "-"
_CLEAN, _FOUND, _ERROR = 0, 1, 2


class _UnusableError(click.ClickException):
    """Something that the user has to change before anything can be linted."""

    exit_code = _ERROR


def _selectors(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...] | None:
    """Read rule codes, beginnings of codes, or names, separated by commas; None if the option is not given."""
    selectors = tuple(part.strip() for value in values for part in value.split(",") if part.strip())
    try:
        for selector in selectors:
            registry.expand(selector)
    except registry.UnknownRuleError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    if values and not selectors and param.name == "select":
        raise click.BadParameter("no rule is named; leave it out for the rules of the settings", ctx, param)
    return selectors if values else None


def _explain(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value is None or ctx.resilient_parsing:
        return
    from lint_rules.pages import page

    try:
        click.echo(page(registry.find(value)), nl=False)
    except registry.UnknownRuleError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    ctx.exit()


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("paths", nargs=-1, type=click.Path(readable=False))
@click.option(
    "--select", metavar="RULES", callback=_selectors, multiple=True, help="Rules to use instead of the settings' own."
)
@click.option("--ignore", metavar="RULES", callback=_selectors, multiple=True, help="Rules not to use.")
@click.option("--fix", is_flag=True, help="Apply safe fixes.")
@click.option("--unsafe-fixes", is_flag=True, help="With --fix or --diff: apply the fixes that may change meaning too.")
@click.option("--diff", is_flag=True, help="Show what --fix would change, and write nothing.")
@click.option("--add-noqa", is_flag=True, help="Silence every finding by a comment where it stands.")
@click.option(
    "--baseline",
    metavar="FILE",
    type=click.Path(readable=False, path_type=Path),
    help="Report what is new since FILE was written.",
)
@click.option("--update-baseline", is_flag=True, help="With --baseline: write FILE, and report nothing.")
@click.option("--output-format", type=click.Choice(output.formats()), default="full", show_default=True)
@click.option("--statistics", is_flag=True, help="Count the findings of each rule instead of listing them.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes to use; by default as many as pay.")
@click.option("--no-cache", is_flag=True, help="Neither use nor write .ckpt_lint_cache.")
@click.option("--force-exclude", is_flag=True, help="Leave out excluded files even where they are named.")
@click.option("--stdin-filename", metavar="NAME", help="The name of what comes through standard input.")
@click.option("--show-settings", is_flag=True, help="Show the settings that apply to PATHS, and exit.")
@click.option(
    "--explain", metavar="CODE|NAME", expose_value=False, callback=_explain, help="Show a rule's page, and exit."
)
@click.version_option(package_name="pytest-ckpt", prog_name="ckpt-lint")
def main(  # noqa: PLR0913 -- a command has as many parameters as it has options
    *,
    paths: tuple[str, ...],
    select: tuple[str, ...] | None,
    ignore: tuple[str, ...] | None,
    fix: bool,
    unsafe_fixes: bool,
    diff: bool,
    add_noqa: bool,
    baseline: Path | None,
    update_baseline: bool,
    output_format: str,
    statistics: bool,
    jobs: int | None,
    no_cache: bool,
    force_exclude: bool,
    stdin_filename: str | None,
    show_settings: bool,
) -> None:
    """Find faults in code that saves and loads PyTorch checkpoints.

    PATHS are files and folders: Python, notebooks, and the code in Markdown and reStructuredText. The default is the
    working directory; - is standard input. Settings come from [tool.ckpt-lint] in pyproject.toml.

    Exit code: 0 without findings, 1 with findings, 2 if something could not be linted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    _refuse_together(
        ("--add-noqa", add_noqa, "--fix", fix),
        ("--add-noqa", add_noqa, "--baseline", baseline is not None),
        ("--update-baseline", update_baseline, "--diff", diff),
        ("--statistics", statistics, "--output-format sarif", output_format == "sarif"),
    )
    if update_baseline and not baseline:
        raise click.UsageError("--update-baseline needs --baseline FILE, which says where the baseline is kept")
    if unsafe_fixes and not (fix or diff):
        click.echo("warning: --unsafe-fixes does nothing without --fix or --diff", err=True)
    resolver = Resolver(Overrides(select=select, ignore=ignore or (), force_exclude=force_exclude))
    from_stdin = stdin_filename is not None or _STDIN in paths
    edits = fix or add_noqa
    try:
        if show_settings:
            _show_settings(resolver, paths)
            return
        from lint_rules import baseline as baselines
        from lint_rules.cache import Cache
        from lint_rules.progress import Progress
        from lint_rules.runner import Runner

        accepted = baselines.read(baseline, must_exist=not update_baseline) if baseline else None
        here = Path.cwd()
        with closing(Progress(sys.stderr)) as progress:
            runner = Runner(
                resolver,
                fix=(fix or diff) and not add_noqa,
                unsafe=unsafe_fixes,
                silence=add_noqa,
                write=edits and not diff,
                jobs=jobs,
                cache=Cache(None if no_cache or from_stdin else resolver.settings(here).root or here),
                watch=progress,
            )
            if from_stdin:
                result, passed_on = _lint_stdin(runner, paths, stdin_filename)
            else:
                result = runner.run(paths or (".",))
        if accepted:
            result, told = baselines.apply(accepted, result, update=update_baseline)
            click.echo(told, err=True, nl=bool(told))
    except ConfigError as error:
        raise _UnusableError(str(error)) from None

    with _telling_what_cannot_be_written():
        for problem in result.problems:
            click.echo(f"error: {problem}", err=True)
        if diff:
            sys.exit(_show_diff(result))
        if from_stdin and edits:
            sys.stdout.buffer.write(passed_on)
        _show(result, output_format, statistics=statistics, err=from_stdin and edits)
    sys.exit(_exit_code(result, output_format))


@contextmanager
def _telling_what_cannot_be_written() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads has read enough, and click knows what to do
    except OSError as error:
        raise _UnusableError(f"the output cannot be written ({error.strerror})") from None


def _refuse_together(*pairs: tuple[str, bool, str, bool]) -> None:
    for one, one_given, other, other_given in pairs:
        if one_given and other_given:
            raise click.UsageError(f"{one} and {other} cannot be given together; run the command twice")


def _lint_stdin(runner: Runner, paths: Sequence[str], name: str | None) -> tuple[Result, bytes]:
    """Lint standard input; give the result, and the text as it is after fixing."""
    if set(paths) - {_STDIN}:
        raise click.UsageError("standard input cannot be linted together with files; run the command twice")
    data = sys.stdin.buffer.read()
    result = runner.run_text(name or _STDIN, data)
    changed = [report.data for report in result.reports if report.data is not None]
    return result, changed[0] if changed else data


def _show_settings(resolver: Resolver, paths: Iterable[str]) -> None:
    paths = list(paths) or ["."]
    absolute = (Path(os.path.normpath(Path(path).absolute())) for path in paths)
    folders = dict.fromkeys(path if files.is_folder(path) else path.parent for path in absolute)
    click.echo("\n\n".join(dict.fromkeys(describe(resolver.complete(folder)) for folder in folders)))


def _show(result: Result, output_format: str, *, statistics: bool, err: bool) -> None:
    """Write the findings down."""
    if not result.files and not result.problems:
        click.echo("warning: there are no files to lint below the given paths", err=True)
    stream = sys.stderr if err else sys.stdout
    color = _shows_color(stream.isatty())
    if statistics:
        lines = _statistics(result, as_json=output_format == "json")
    else:
        lines = output.renderer(output_format)(result, color=color)
    for line in lines:
        click.echo(line, err=err, color=color)


def _show_diff(result: Result) -> int:
    """Show what fixing would change; give the exit code."""
    from lint_rules.diff import diff

    for report in result.reports:
        for line in diff(report):
            click.echo(line, nl=False)
    if result.fixed:
        verb = "silence" if result.verb == "Silenced" else "fix"
        click.echo(f"Would {verb} {len(result.fixed)} finding{'' if len(result.fixed) == 1 else 's'}.", err=True)
    elif unsafe := sum(1 for finding in result.findings if finding.fix and not finding.fix.safe):
        click.echo(f"No safe fixes; --unsafe-fixes shows {unsafe} that may change meaning.", err=True)
    return _ERROR if result.problems else _FOUND if result.fixed else _CLEAN


def _statistics(result: Result, *, as_json: bool) -> Iterable[str]:
    if as_json:
        rows = [dict(zip(("code", "name", "count", "fixable"), row, strict=True)) for row in result.counts]
        return [json.dumps(rows, indent=2)]
    width = len(str(max((count for _, _, count, _ in result.counts), default=0)))
    return [
        f"{count:>{width}}  {code}  {'[*]' if safe else '[ ]'}  {name}" for code, name, count, safe in result.counts
    ]


def _exit_code(result: Result, output_format: str) -> int:
    """SARIF is a report for others to judge: findings in it are no failure."""
    if result.problems:
        return _ERROR
    return _FOUND if result.findings and output_format != "sarif" else _CLEAN


def _shows_color(is_terminal: bool) -> bool:  # noqa: FBT001 -- the only argument, and the function's name says what it is
    """Follow the conventions of no-color.org and force-color.org."""
    if os.environ.get("NO_COLOR"):
        return False
    return is_terminal or bool(os.environ.get("FORCE_COLOR"))
