"""The command line: what a person types. One file a command; an error is one line that says what to do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gatepost import __version__
from gatepost.cli import check, demo, explain, key, serve
from gatepost.errors import GatepostError

app = typer.Typer(
    name="gatepost",
    help="An event gateway: it fronts your APIs, turns what happens there into durable events, and delivers them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.command("check")(check.check)
app.command("explain")(explain.explain)
app.command("demo")(demo.demo)
app.add_typer(key.app, name="key", help="Keys of consumers.")


@app.command()
def version(short: Annotated[bool, typer.Option("--short", help="The number alone.")] = False) -> None:
    """Say which version this is."""
    print(__version__ if short else f"gatepost {__version__} on Python {sys.version.split()[0]}")


def main() -> None:
    """Run the command line. Every error of ours is one line (or one a fault) on standard error, exit code 1."""
    try:
        app()
    except GatepostError as error:
        print(f"gatepost: {error}" if "\n" not in str(error) else str(error), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
