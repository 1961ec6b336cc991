"""How long what was sent and answered is kept."""

from __future__ import annotations

from gatepost.config.values import Name, Seconds, Strict

DAYS_90 = 7_776_000.0


class RetentionOverride(Strict, frozen=True):
    """For an app, some event types, or some of an app. The first that fits counts; what it leaves out is as for all."""

    app: Name | None = None  # its uid; none: every app
    event_types: tuple[str, ...] = ()  # names, or prefixes as `order.*`; none: every type
    payloads: Seconds | None = None
    responses: Seconds | None = None

    def __post_init__(self) -> None:
        if self.app is None and not self.event_types:
            raise ValueError(
                "an override needs an `app` or `event_types`: for everything there are the settings above it"
            )
        if self.payloads is None and self.responses is None:
            raise ValueError("an override needs `payloads` or `responses`")
        for name in self.event_types:
            if not name.removesuffix(".*") or "*" in name.removesuffix(".*"):
                raise ValueError("`event_types` are names or prefixes as `order.*`")


class Retention(Strict, frozen=True):
    """After that the bodies go; that a message, a delivery or an attempt was, stays."""

    payloads: Seconds = DAYS_90  # of messages, unless the message says `payloadRetentionPeriod`
    responses: Seconds = DAYS_90  # bodies of responses, kept with attempts
    audit: Seconds = 31_536_000.0  # records of changes by the API
    overrides: tuple[RetentionOverride, ...] = ()
