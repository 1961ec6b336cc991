"""`gatepost certificates`: what the listeners would show, and until when."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from gatepost.config.loading import load

DAY: Final = 86_400.0


def certificates(
    file: Annotated[Path, typer.Argument(help="The configuration file.")] = Path("gatepost.yaml"),
    days: Annotated[
        int | None, typer.Option(min=0, help="Exit code 1 if one of them ends within so many days.")
    ] = None,
) -> None:
    """List the certificates of the listeners: names, the day they end, their file. The default of a listener first."""
    from gatepost.net.certificates import Certificates

    listen = load(file).config.listen
    soonest = float("inf")
    for listener in (*listen.traffic, listen.control):
        if listener.tls is None:
            continue
        print(listener.address)
        for each in Certificates(listener.tls).certificates:
            left = (each.until - time.time()) / DAY
            soonest = min(soonest, left)
            ends = datetime.fromtimestamp(each.until, UTC).strftime("%Y-%m-%d")
            state = f"in {int(left)} days" if left > 0 else "expired"
            print(f"  {ends}  {state:<14}  {' '.join(each.names) or '(no name)'}  {each.file}")
    if days is not None and soonest <= days:
        raise typer.Exit(1)
