"""`request_id`: under which name an exchange is known, in the record, in problem documents, at the service and to the
client.

The gateway has an id for each exchange and says it in `X-Request-Id` without this policy. Here another field may say it
too, and may be believed: an id that is accepted takes the place of the gateway's own everywhere. Two ids, a long one or
one with characters that a log line could stumble over are nobody's.
"""

from __future__ import annotations

import secrets
from typing import Final

from gatepost.config.policies.request_id import RequestIdPolicy
from gatepost.exchange import Exchange, Phase, Policy
from gatepost.http1.framing import SPECIAL
from gatepost.http1.messages import FieldList
from gatepost.policies.base import PolicyContext, SettingFault

LONGEST: Final = 128  # characters


def build(use: RequestIdPolicy, context: PolicyContext) -> RequestId:
    return RequestId(use)


class RequestId(Policy):
    name = "request_id"
    phase = Phase.CLIENT

    def __init__(self, config: RequestIdPolicy) -> None:
        header = config.header.lower().encode()
        self._own = header == _USUAL  # the server writes that one itself
        if header in SPECIAL and not self._own:
            raise SettingFault("header", f"{config.header} has a meaning of its own in HTTP and cannot carry an id")
        self._header = header
        self._accept = config.accept

    def on_request(self, x: Exchange) -> None:
        head = x.head
        header = self._header
        accept = self._accept
        if accept == "always" or (accept == "trusted" and x.trusted):
            given = head.all(header)
            if len(given) == 1 and 0 < len(given[0]) <= LONGEST and not given[0].translate(None, _CHARACTERS):
                x.id = given[0]
        elif accept == "never" and x.trusted:
            x.id = secrets.token_hex(16).encode()  # the server took the proxy's
        if not self._own:
            head.take(header)
            head.block = head.block.plus([(header, x.id)], b"%b: %b\r\n" % (header, x.id))

    def on_response(self, x: Exchange) -> None:
        if self._own:
            return
        header = self._header
        fields = x.response_fields
        kept = [field for field in fields if field[0] != header]
        if len(kept) == len(fields) and type(fields) is FieldList:
            x.response_fields = fields.plus([(header, x.id)], b"%b: %b\r\n" % (header, x.id))
        else:
            x.response_fields = [*kept, (header, x.id)]


_USUAL: Final = b"x-request-id"
_CHARACTERS: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:+/="
