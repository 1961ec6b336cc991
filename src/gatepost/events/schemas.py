"""Messages are held to their event type's JSON Schema: the one of its last version. Nothing that fails is let through.

A schema is compiled when its first message comes, and again when the event type changes.
"""

from __future__ import annotations

import json
from typing import Final

from gatepost import log
from gatepost.events.rules import Fault, InvalidMessage
from gatepost.model import EventType
from gatepost.policies.json_schema import Schema, Violation
from gatepost.policies.json_value import NotJson, json_value
from gatepost.stores.control import EventTypes

MOST: Final = 100  # violations told


class Schemas:
    """The compiled schemas of a store's event types."""

    __slots__ = ("_compiled", "_event_types")

    def __init__(self, event_types: EventTypes) -> None:
        self._event_types = event_types
        self._compiled: dict[str, tuple[EventType, Schema]] = {}

    def check(self, event_type: str, payload: bytes) -> None:
        """Raises InvalidMessage with every violation. Costs a look-up where there is no schema."""
        known = self._event_types.get(event_type)
        if known is None or not known.schemas or known.archived:
            return
        violations = self._violations(known, payload)
        if violations:
            raise InvalidMessage(
                [Fault(("body", "payload", *_steps(each.pointer)), each.detail) for each in violations]
            )

    def _violations(self, known: EventType, payload: bytes) -> list[Violation]:
        try:
            return self._schema(known).violations(json_value(payload), MOST)
        except NotJson as error:
            return [Violation("", str(error))]
        except Exception as error:
            return [_failed(known.name, error)]
        except BaseException as error:
            # A panic of the validator is no Exception; Ctrl-C and the end of a task are not ours to stop.
            if type(error).__name__ != "PanicException":
                raise
            return [_failed(known.name, error)]

    def _schema(self, known: EventType) -> Schema:
        kept = self._compiled.get(known.name)
        if kept is not None and kept[0] is known:
            return kept[1]
        assert known.schemas
        schema = compiled(known.schemas[last_version(known.schemas)])
        self._compiled[known.name] = (known, schema)
        return schema


def compiled(schema: object) -> Schema:
    """Raises ValueError, with its reason, for what is no schema."""
    return Schema(json.dumps(schema), formats=True)


def last_version(schemas: dict[str, dict[str, object]]) -> str:
    """Versions are whole numbers as texts."""
    return max(schemas, key=int)


def _failed(event_type: str, error: BaseException) -> Violation:
    reason = f"{type(error).__name__}: {str(error)[:200]}"
    log.event("schema_failed", level="error", event_type=event_type, reason=reason)
    return Violation("", "the payload could not be held to its event type's schema; Gatepost's log says why")


def _steps(pointer: str) -> list[str]:
    """RFC 6901's steps."""
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
