"""`gatepost demo`: the shop of `examples/shop`, told as a timeline."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gatepost.errors import GatepostError

SHOP = Path(__file__).resolve().parents[3] / "examples" / "shop" / "demo.py"


def demo(
    once: Annotated[bool, typer.Option("--once", help="Run the scenario once, check each step, exit 0 or 1.")] = False,
    express: Annotated[
        bool, typer.Option("--express", help="The partner in Node and Express instead of Python.")
    ] = False,
) -> None:
    """Run the shop: an order passes the gateway, becomes an event, reaches a partner and a customer's page."""
    if not SHOP.exists():
        raise GatepostError("the demo runs from a clone of the repository: it uses examples/shop")
    flags = [name for name, given in (("--once", once), ("--express", express)) if given]
    # In place of this process: signals and the exit code need nobody in between.
    os.execv(sys.executable, [sys.executable, str(SHOP), *flags])  # noqa: S606  # our own file
