"""`gatepost key`: keys of consumers."""

from __future__ import annotations

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
