"""`smtp`: an e-mail a message. A body `{"subject": …, "text": …}`, as a transform makes it, is the mail; any other is
its text as it stands.

`Message-ID` is made of the message's id, so that a repeated mail can be known by it.
"""

from __future__ import annotations

import asyncio
import smtplib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from email.utils import formatdate
from typing import Final

import msgspec

from gatepost.config.destinations import Smtp
from gatepost.destinations.base import Context, Done, Sender, Sending
from gatepost.destinations.tries import NotTaken, Tries, Unsendable
from gatepost.model import Endpoint
from gatepost.net.tls import client_context

THREADS: Final = 4  # mails under way
SUBJECT: Final = "Gatepost"  # where the body has none
_LONGEST: Final = 200  # characters of a subject


class _Mail(msgspec.Struct, forbid_unknown_fields=True):
    subject: str
    text: str


class SmtpDestination:
    """A connection a mail: alerts are rare. The standard library's client blocks, so it has threads of its own."""

    def __init__(self, settings: Smtp, context: Context) -> None:
        self._settings = settings
        self._loop = context.loop
        self._tries = Tries(context.clock, context.loop, settings.timeout)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="gatepost-smtp")
        self._tls: ssl.SSLContext | None = context.tls

    def sender(self, endpoint: Endpoint) -> Sender:
        given = endpoint.settings.options.get("to", "")
        to = self._settings.to or tuple(address.strip() for address in given.split(",") if address.strip())
        if not to or any("\n" in address or "\r" in address or "@" not in address for address in to):
            return Unsendable(self._tries, "the endpoint's option `to` is missing, or holds what is no address")
        return _Recipients(self, to)

    async def stop(self) -> None:
        await self._tries.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def send(self, to: tuple[str, ...], id: bytes, body: bytes, done: Done) -> Sending:
        return self._tries.start(self._mail(to, id, body), done)

    async def _mail(self, to: tuple[str, ...], id: bytes, body: bytes) -> bytes:
        mail = _message(self._settings.sender, to, id.decode(), body)
        return await asyncio.wrap_future(self._threads.submit(self._deliver, mail), loop=self._loop)

    def _deliver(self, mail: EmailMessage) -> bytes:
        settings = self._settings
        try:
            with self._open() as client:
                if settings.security == "starttls":
                    client.starttls(context=self._context())
                if settings.username is not None and settings.password is not None:
                    client.login(settings.username, str(settings.password))
                refused = client.send_message(mail)
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error if isinstance(error.smtp_error, bytes) else error.smtp_error.encode()
            raise NotTaken(f"the mail server answered {error.smtp_code}", said) from None
        except smtplib.SMTPRecipientsRefused as error:
            raise NotTaken(f"the mail server refused {', '.join(error.recipients)}") from None
        except smtplib.SMTPException as error:
            raise NotTaken(f"the mail server: {error}"[:200]) from None
        if refused:
            raise NotTaken(f"the mail server refused {', '.join(refused)}")
        return b""

    def _open(self) -> smtplib.SMTP:
        settings = self._settings
        name = socket.gethostname()
        if settings.security == "tls":
            return smtplib.SMTP_SSL(
                settings.host, settings.port, name, timeout=settings.timeout, context=self._context()
            )
        return smtplib.SMTP(settings.host, settings.port, name, timeout=settings.timeout)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            # Not the one of webhooks: its ALPN says HTTP.
            self._tls = client_context()
            self._tls.set_alpn_protocols([])
        return self._tls


class _Recipients:
    __slots__ = ("_destination", "_to")

    def __init__(self, destination: SmtpDestination, to: tuple[str, ...]) -> None:
        self._destination = destination
        self._to = to

    def send(self, id: bytes, body: bytes, done: Done) -> Sending:
        return self._destination.send(self._to, id, body, done)


def _message(sender: str, to: tuple[str, ...], id: str, body: bytes) -> EmailMessage:
    subject, text = SUBJECT, body.decode("utf-8", "replace")
    try:
        mail = msgspec.json.decode(body, type=_Mail)
        subject, text = mail.subject, mail.text
    except msgspec.DecodeError:
        pass
    message = EmailMessage()
    message["From"] = sender
    message["To"] = ", ".join(to)
    message["Subject"] = " ".join(subject.split())[:_LONGEST]  # a line end would be another field
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{id}@{sender.rpartition('@')[2].rstrip('>')}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody answers by machine
    message.set_content(text)
    return message
