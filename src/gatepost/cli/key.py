"""`gatepost key`: keys of consumers."""

from __future__ import annotations

import sys

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keys of consumers."""


@app.command()
def new() -> None:
    """Make an API key: the key for the consumer, its SHA-256 for the file. The key is shown this once."""
    from gatepost.policies.api_key import new_key

    key, digest = new_key()
    print(f"key     {key}")
    print(f"sha256  {digest}")


@app.command("hash-password")
def hash_password_() -> None:
    """Hash a password for a consumer's `basic` login. It is asked for, or read as one line from standard input."""
    from gatepost.policies.logins import hash_password

    if sys.stdin.isatty():
        password = typer.prompt("password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    try:
        print(f"argon2  {hash_password(password)}")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
