"""`gatepost serve`: run a node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import uvloop

from gatepost import log
from gatepost.config.loading import load

DEFAULT_FILE = "gatepost.yaml"


def serve(
    config: Annotated[Path, typer.Option("-c", "--config", help="The configuration file.")] = Path(DEFAULT_FILE),
) -> None:
    """Run a node until SIGTERM or Ctrl-C. SIGHUP, or a change of the file, reloads the configuration."""
    from gatepost.app import serve as run  # late: --help need not wait for it

    loaded = load(config)
    try:
        uvloop.run(run(str(config), loaded))
    finally:
        log.flush()
