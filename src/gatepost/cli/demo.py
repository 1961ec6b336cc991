"""`gatepost demo`: the shop of `examples/shop`, told as a timeline."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from gatepost.errors import GatepostError

SHOP = Path(__file__).resolve().parents[3] / "examples" / "shop" / "demo.py"


def demo(
    once: Annotated[bool, typer.Option("--once", help="Run the scenario once, check each step, exit 0 or 1.")] = False,
) -> None:
    """Run the shop: an order passes the gateway, becomes an event, reaches a partner and a customer's page."""
    if not SHOP.exists():
        raise GatepostError("the demo runs from a clone of the repository: it uses examples/shop")
    arguments = ["--once"] if once else []
    try:
        sys.exit(subprocess.call([sys.executable, str(SHOP), *arguments]))  # noqa: S603  # our own file
    except KeyboardInterrupt:
        sys.exit(130)
