"""`policy`: a class of the user's own, loaded by its name. docs/extending.md tells how one is written.

    class Greeting(Policy):
        name = "greeting"
        phase = Phase.TRANSFORM

        class Config(msgspec.Struct):
            word: str = "hello"

        def __init__(self, config: Config, context: PolicyContext) -> None: ...

`Config` types what stands under `settings`; a wrong value, and one that `Config` does not name, is a fault of the
configuration with its line. The class is imported where the configuration is compiled, once: a process that only reads
the file never runs it.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from gatepost.config.policies.python import PythonPolicy
from gatepost.exchange import Phase, Policy
from gatepost.named import load_object
from gatepost.policies.base import PolicyContext, SettingFault


def build(use: PythonPolicy, context: PolicyContext) -> Policy:
    cls = _class(use.use)
    config = _config(cls, use)
    if cls.__init__ is object.__init__:
        return cls()
    try:
        return cls(config, context)  # type: ignore[call-arg]
    except ValueError as error:
        raise SettingFault("settings", str(error)) from None
    except Exception as error:  # somebody's code: it may raise anything, and the file is not usable with it
        raise SettingFault("", f"{use.use} cannot be made: {type(error).__name__}: {error}") from None


def _class(name: str) -> type[Policy]:
    try:
        cls = load_object(name)
    except ValueError as error:
        raise SettingFault("", str(error)) from None
    if not (isinstance(cls, type) and issubclass(cls, Policy)):
        raise SettingFault("", f"{name} is not a subclass of gatepost.exchange.Policy")
    if not isinstance(getattr(cls, "phase", None), Phase) or not isinstance(getattr(cls, "name", None), str):
        raise SettingFault("", f"{name} needs a `name`, a text, and a `phase`, one of gatepost.exchange.Phase")
    return cls


def _config(cls: type[Policy], use: PythonPolicy) -> Any:
    kind = getattr(cls, "Config", None)
    if kind is None:
        if use.settings:
            raise SettingFault("settings", f"{use.use} takes no settings: it has no `Config`")
        return None
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        raise SettingFault("", f"the `Config` of {use.use} must be a msgspec.Struct")
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    for name in use.settings:
        if name not in known:  # msgspec would pass over it
            names = ", ".join(known) or "none"
            raise SettingFault(f"settings.{name}", f"unknown setting of {use.use}; it knows {names}")
    try:
        return msgspec.convert(use.settings, kind)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$")
        steps = "" if "[...]" in where else where.rstrip("`")
        raise SettingFault("settings" + steps, _HELD.sub("", reason)) from None


_HELD: Final = re.compile(r"^Object contains ")
