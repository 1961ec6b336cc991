"""`policy`: a policy of the user's own, a Python class."""

from __future__ import annotations

from typing import ClassVar

from gatepost.config.values import Document, ObjectName, Strict


class PythonPolicy(Strict, frozen=True):
    """A plain text `mypackage.module:Class` means this without settings."""

    short: ClassVar[str] = "use"

    use: ObjectName  # package.module:Class
    settings: dict[str, Document] = {}
