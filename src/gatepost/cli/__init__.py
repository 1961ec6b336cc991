"""The command line: what a person types. One file a command; an error is one line that says what to do."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, Final

import typer

from gatepost import __version__
from gatepost.cli import alerts, certificates, check, demo, explain, import_, key, serve, store
from gatepost.errors import GatepostError

_CalledWrongly: Final[type[Exception]] = typer.BadParameter.__mro__[2]  # click's base of them; typer names it nowhere

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
app.command("certificates")(certificates.certificates)
app.command("explain")(explain.explain)
app.command("demo")(demo.demo)
app.add_typer(alerts.app, name="alerts", help="Tell people what happens to the gateway.")
app.add_typer(import_.app, name="import", help="Make a gatepost.yaml of other files.")
app.add_typer(key.app, name="key", help="Keys of consumers.")
app.add_typer(store.app, name="store", help="Migrate, check and copy the store, and change its key.")


@app.callback(invoke_without_command=True)
def _top(number: Annotated[bool, typer.Option("--version", help="Say which version this is.")] = False) -> None:
    if number:
        version()
        raise typer.Exit


@app.command()
def version(short: Annotated[bool, typer.Option("--short", help="The number alone.")] = False) -> None:
    """Say which version this is."""
    print(__version__ if short else f"gatepost {__version__} on Python {sys.version.split()[0]}")


def main() -> None:
    """Run the command line. Every error is one line (a configuration's: one a fault) on standard error.

    Exit codes: 0 well, 1 it failed, 2 it was called wrongly, 130 Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names may hold what the terminal's encoding has not
    try:
        code = app(prog_name="gatepost", standalone_mode=False)
        sys.stdout.flush()
    except _CalledWrongly as error:
        sys.exit(_called_wrongly(error))
    except GatepostError as error:
        print(f"gatepost: {error}" if "\n" not in str(error) else str(error), file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        _give_up_stdout()
        sys.exit(1)  # who read us has left: nobody is there to be told
    except OSError as error:
        _give_up_stdout()
        where = f"{error.filename}: " if error.filename else ""
        print(f"gatepost: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    sys.exit(code)


def _called_wrongly(error: Exception) -> int:
    says: str = error.format_message()  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    if says:  # without arguments there is nothing to say: the help was shown
        command = context.command_path if context else "gatepost"
        says = says[:1].lower() + says[1:].rstrip(".")
        print(f"gatepost: {says}; `{command} --help` says how it is called", file=sys.stderr)
    return 2


def _give_up_stdout() -> None:
    """Otherwise the interpreter tries once more to write what could not be written, and says so at length."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
