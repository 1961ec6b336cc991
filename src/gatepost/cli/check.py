"""`gatepost check`: every fault of a configuration file at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatepost.config.loading import Loaded, load, load_sound
from gatepost.errors import ConfigError, ConfigIssue


def check(file: Annotated[Path, typer.Argument(help="The configuration file.")] = Path("gatepost.yaml")) -> None:
    """Check a configuration file: every fault at once, with its path and line. Exit code 1 if there is one."""
    from gatepost.compile import check as compile_and_check

    faults: list[ConfigIssue] = []
    sound: Loaded | None
    try:
        sound = load(file)
    except ConfigError as error:
        faults = error.issues
        sound = load_sound(file, faults)
    if sound is not None:
        try:
            compile_and_check(str(file), sound)
        except ConfigError as error:
            faults = sorted([*faults, *error.issues], key=lambda issue: issue.line)
    if faults or sound is None:
        raise ConfigError(str(file), faults)
    config = sound.config
    counts = (_count(len(config.routes), "route"), _count(len(config.services), "service"))
    print(f"{file}: good: {', '.join(counts)}, {_count(len(config.consumers), 'consumer')}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
