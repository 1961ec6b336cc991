"""`gatepost check`: every fault of a configuration file at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatepost.config.loading import load


def check(file: Annotated[Path, typer.Argument(help="The configuration file.")]) -> None:
    """Check a configuration file: every fault at once, with its path and line. Exit code 1 if there is one."""
    from gatepost.compile import check as compile_and_check

    loaded = load(file)
    compile_and_check(str(file), loaded)
    config = loaded.config
    print(
        f"{file}: good: {len(config.routes)} routes, {len(config.services)} services, {len(config.consumers)} consumers"
    )
