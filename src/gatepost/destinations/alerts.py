"""Ready-made settings of endpoints that tell people: `gatepost alerts add slack URL` makes one of app `gatepost`.

Each is a transform over the gateway's own events (`events/notices.py`), and works on any other message: what a payload
does not have is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gatepost.model import EndpointSettings

_SUBJECT: Final = "(has(payload.subject) ? ': ' + string(payload.subject) : '')"
_COUNT: Final = "(has(payload.count) && payload.count > 1 ? ' (' + string(payload.count) + ' times)' : '')"
_REASON: Final = (
    "(has(payload.facts) && has(payload.facts.reason) ? ' - ' + string(payload.facts.reason) : '')"
    " + (has(payload.node) ? ' [' + string(payload.node) + ']' : '')"
)
_TEXT: Final = f"event_type + {_SUBJECT} + {_COUNT} + {_REASON}"

# https://docs.slack.dev/messaging/formatting-message-text: three characters are Slack's own.
_SLACK: Final = f"({_TEXT}).replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')"

TRANSFORMS: Final[Mapping[str, str]] = {
    "slack": f"{{'text': {_SLACK}}}",
    # 2,000 characters are the most; and nobody is called by what a subject happens to say.
    "discord": f"{{'content': ({_TEXT}), 'allowed_mentions': {{'parse': []}}}}",
    "teams": (
        "{'type': 'message', 'attachments': [{'contentType': 'application/vnd.microsoft.card.adaptive', 'content': "
        "{'$schema': 'http://adaptivecards.io/schemas/adaptive-card.json', 'type': 'AdaptiveCard', 'version': '1.4', "
        f"'body': [{{'type': 'TextBlock', 'wrap': true, 'text': {_TEXT}}}]}}}}]}}"
    ),
    "email": f"{{'subject': 'Gatepost: ' + event_type + {_SUBJECT}, 'text': {_TEXT}}}",
}


def settings_of(kind: str, *, destination: str = "webhook", to: str = "") -> EndpointSettings:
    """For an alert of this kind; `destination` names what sends mail, and `to` says to whom. Raises KeyError."""
    return EndpointSettings(transform=TRANSFORMS[kind], destination=destination, options={"to": to} if to else {})
