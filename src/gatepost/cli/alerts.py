"""`gatepost alerts`: tell people what happens to the gateway, where they already look."""

from __future__ import annotations

import http.client
import json
import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast
from urllib.parse import urlsplit

import msgspec
import typer

from gatepost.errors import GatepostError

app = typer.Typer(no_args_is_help=True)

TIMEOUT: Final = 10.0  # seconds
TOKEN: Final = "GATEPOST_ADMIN_TOKEN"  # noqa: S105


@app.callback()
def _group() -> None:
    """Tell people what happens to the gateway."""


@app.command()
def add(
    kind: Annotated[Literal["slack", "teams", "discord", "email"], typer.Argument(help="Where to.")],
    target: Annotated[str, typer.Argument(help="The webhook's URL that Slack, Teams or Discord gave; an address.")],
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only these event types, or prefixes like message.attempt.*.")
    ] = None,
    destination: Annotated[str, typer.Option(help="What sends the e-mail: an smtp destination of the file.")] = "mail",
    control: Annotated[str, typer.Option(help="The node's control listener.")] = "http://127.0.0.1:8081",
    token_file: Annotated[Path, typer.Option(help=f"The administrator's token; ${TOKEN} goes before.")] = Path(
        "admin.token"
    ),
) -> None:
    """Make an endpoint of the app `gatepost` that gets the gateway's own events, ready for people to read."""
    from gatepost.destinations.alerts import settings_of

    mail = kind == "email"
    settings = settings_of(kind, destination=destination if mail else "webhook", to=target if mail else "")
    wanted: dict[str, Any] = {
        # The API wants a URL of every endpoint. `.invalid` never leads anywhere (RFC 2606).
        "url": f"https://{destination}.invalid/" if mail else target,
        "description": f"alerts by {kind}",
        "settings": msgspec.to_builtins(settings),
    }
    if types:
        wanted["filterTypes"] = types
    made = _post(control, "/api/v1/app/gatepost/endpoint", wanted, _token(token_file))
    print(f"{made['id']}  alerts by {kind}")


def _token(file: Path) -> str:
    given = os.environ.get(TOKEN)
    return given if given else file.read_text().strip()


def _post(control: str, path: str, document: dict[str, Any], token: str) -> dict[str, Any]:
    """Raises GatepostError with what the node says."""
    there = urlsplit(control)
    if there.scheme not in ("http", "https") or not there.hostname:
        raise GatepostError(f"--control {control} is no http:// or https:// URL")
    make = http.client.HTTPSConnection if there.scheme == "https" else http.client.HTTPConnection
    connection = make(there.hostname, there.port, timeout=TIMEOUT)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(document), headers)
        response = connection.getresponse()
        status, body = response.status, response.read()
    except (OSError, http.client.HTTPException) as error:
        raise GatepostError(f"{control} cannot be asked: {error}; name the node's control listener") from None
    finally:
        connection.close()
    if status != 201:
        raise GatepostError(f"the node answered {status}: {_reason(body)}")
    return cast("dict[str, Any]", json.loads(body))


def _reason(body: bytes) -> str:
    try:
        detail = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")
    if isinstance(detail, list):
        return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in detail)
    return str(detail)
