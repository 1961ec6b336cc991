"""Python objects by name, `package.module:attribute`: the user's own policies and ASGI applications."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def make_importable(folder: Path) -> None:
    """Let modules be found in `folder`: that of the configuration file. It comes last, so that a file there never
    stands in for an installed module."""
    place = str(folder)
    if place not in sys.path:
        sys.path.append(place)


def preload(names: Iterable[str]) -> None:
    """Import what will be loaded later, where that holds nobody up. What is wrong is said then."""
    for name in names:
        try:
            load_object(name)
        except ValueError:
            pass


def load_object(name: str) -> Any:
    """Import what `name` says. Raises ValueError with a sentence for the operator, whatever the module does."""
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
            raise ValueError(
                f"there is no module {error.name}: modules are looked for among those installed"
                " and in the configuration file's folder"
            ) from None
        raise ValueError(f"importing {module} failed: {error}") from None
    except (Exception, SystemExit) as error:  # a module is a program: it may raise anything
        raise ValueError(f"importing {module} failed: {type(error).__name__}: {error}") from None
    for step in attribute.split("."):
        if not hasattr(found, step):
            raise ValueError(f"{module} has no {attribute}")
        found = getattr(found, step)
    return found
