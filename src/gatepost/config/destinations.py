"""Settings of `destinations`: what deliveries can go to beside webhooks. The behaviour stands in
`gatepost/destinations/`, one file a kind; an endpoint names one by `destination`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gatepost.config.values import Count, Seconds, Secret, Strict

Text = Annotated[str, msgspec.Meta(min_length=1)]


class Command(Strict, frozen=True):
    """A program of this machine, with the body on its standard input."""

    run: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]  # the program's path and its arguments; no shell
    timeout: Seconds = 10.0
    environment: dict[str, str] = {}  # beside PATH and GATEPOST_MESSAGE_ID: nothing of the node's own

    def __post_init__(self) -> None:
        if not self.run[0].startswith("/"):
            raise ValueError("`run` begins with the program's whole path, like /usr/local/bin/audit")
        if self.timeout == 0:
            raise ValueError("`timeout` must be longer than 0")


class Nats(Strict, frozen=True):
    """A JetStream subject."""

    servers: Annotated[tuple[Secret, ...], msgspec.Meta(min_length=1)]  # nats:// or tls://, may hold a password
    subject: Text | None = None  # none: each endpoint's option `subject`
    stream: Text | None = None  # refuse to publish where another stream has the subject
    timeout: Seconds = 5.0


class Valkey(Strict, frozen=True):
    """A stream of Valkey or Redis."""

    url: Secret  # redis://, rediss://, unix://
    stream: Text | None = None  # none: each endpoint's option `stream`
    length: Count | None = None  # about as many entries are kept; none: all
    timeout: Seconds = 5.0


class Smtp(Strict, frozen=True):
    """E-mail."""

    host: Text
    port: Count = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: Secret | None = None
    sender: Text = "gatepost@localhost"
    to: tuple[Text, ...] = ()  # none: each endpoint's option `to`
    timeout: Seconds = 15.0

    def __post_init__(self) -> None:
        if (self.username is None) != (self.password is None):
            raise ValueError("`username` and `password` go together")
        if self.password is not None and self.security == "none":
            raise ValueError("a `password` is not sent without TLS: set `security`")


class DestinationDecl(Strict, frozen=True):
    """One of them."""

    command: Command | None = None
    nats: Nats | None = None
    valkey: Valkey | None = None
    smtp: Smtp | None = None
    api: bool = False  # endpoints that are made through the API may name it too

    def __post_init__(self) -> None:
        if len([kind for kind in (self.command, self.nats, self.valkey, self.smtp) if kind is not None]) != 1:
            raise ValueError("name one of `command`, `nats`, `valkey` and `smtp`")
        if self.command is not None and self.api:
            raise ValueError("`api` cannot open a `command`: programs are for endpoints that the file declares")
