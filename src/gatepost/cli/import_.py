"""`gatepost import`: a gatepost.yaml from what another gateway, or a description, says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gatepost.errors import GatepostError

if TYPE_CHECKING:
    from gatepost.imports.result import Imported

app = typer.Typer(no_args_is_help=True)

_Output = Annotated[Path | None, typer.Option("-o", "--output", help="Where to write; standard output otherwise.")]
_Report = Annotated[
    Literal["table", "json"], typer.Option("--report", help="How the list of what is left looks, on standard error.")
]


@app.callback()
def _group() -> None:
    """Make a gatepost.yaml of other files, and list what could not be carried over."""


@app.command()
def tyk(
    files: Annotated[list[Path], typer.Argument(help="API definitions (classic or OpenAPI) and policies, in JSON.")],
    output: _Output = None,
    report: _Report = "table",
) -> None:
    """Read Tyk's API definitions and policies."""
    from gatepost.imports.result import NotImportable
    from gatepost.imports.tyk import import_tyk

    try:
        imported = import_tyk([(file.name, file.read_text()) for file in files])
    except (NotImportable, UnicodeDecodeError) as error:
        raise GatepostError(str(error)) from None
    _give(imported, output, report)


@app.command()
def openapi(
    file: Annotated[Path, typer.Argument(help="An OpenAPI 3.0 or 3.1 description, in YAML or JSON.")],
    output: _Output = None,
    report: _Report = "table",
) -> None:
    """Read an OpenAPI description."""
    from gatepost.imports.openapi import import_openapi
    from gatepost.imports.result import NotImportable

    try:
        imported = import_openapi(str(file))
    except NotImportable as error:
        raise GatepostError(str(error)) from None
    _give(imported, output, report)


def _give(imported: Imported, output: Path | None, report: str) -> None:
    if output is None:
        sys.stdout.write(imported.text)
    else:
        output.write_text(imported.text)
        print(f"wrote {output}; `gatepost check {output}` says whether it is complete")
    if report == "json":
        import msgspec

        whole = {"left": msgspec.to_builtins(imported.left), "environment": imported.environment}
        print(json.dumps(whole, indent=2), file=sys.stderr)
        return
    _tell(imported)


def _tell(imported: Imported) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Nobody folds what goes to a file.
    console = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 200)
    if imported.environment:
        console.print("These must be set before the file loads; no secret was written into it:")
        for name, what in imported.environment.items():
            console.print(Text(f"  {name}  {what}"))
    if not imported.left:
        console.print("Everything was carried over.")
        return
    table = Table(title=f"Not carried over, or not quite: {len(imported.left)}", title_justify="left", box=None)
    for heading in ("where", "setting", "why", "nearest here"):
        table.add_column(heading, overflow="fold")
    for left in imported.left:
        # Names come from a file: they are no markup of ours.
        table.add_row(Text(left.where), Text(left.setting), Text(left.why), Text(left.nearest))
    console.print(table)
