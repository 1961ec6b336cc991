"""What is secret in an exchange, and texts without it. Pure.

Names decide: a header, a parameter or a key of JSON whose name looks like a credential's loses its value.
Beside that, values that give themselves away (`Bearer …`, a JSON Web Token, a private key) are taken out of any text.
This is a net, not a proof: what is secret without looking so must be named (`redact`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeAlias
from urllib.parse import unquote_plus

import msgspec

HIDDEN: Final = "[redacted]"
Pairs: TypeAlias = list[tuple[str, str]]

# Names are compared without case and punctuation: `X-Api-Key`, `api_key` and `apiKey` are `apikey`.
_PARTS: Final = (
    "password", "passwd", "passphrase", "pwd", "secret", "token", "apikey", "accesskey", "privatekey", "signingkey",
    "authorization", "authentication", "credential", "session", "cookie", "cardnumber", "creditcard", "securitycode",
    "signature", "assertion", "otpcode", "onetime", "mnemonic",
)  # fmt: skip
_WHOLE: Final = frozenset(
    {
        "card", "pan", "cvc", "cvv", "cvv2", "pin", "otp", "totp", "ssn", "iban", "auth", "jwt", "sig", "sid", "csrf",
        "xsrf", "key", "pass",
    }
)  # fmt: skip
_PARAMETERS: Final = frozenset({"code", "state", "nonce"})  # of OAuth's redirects (RFC 6749 §4.1.2)
_PUNCTUATION: Final = re.compile(r"[^a-z0-9]+")

_VALUES: Final = re.compile(
    r"(?P<scheme>\b(?:bearer|basic|digest|negotiate)\s+)[A-Za-z0-9._~+/=-]{8,}"
    r"|\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"
    r"|\b(?:whsec|sk|pk|rk|gp|ghp|xox[abp])_[A-Za-z0-9_+/=-]{8,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_IN_URL: Final = re.compile(r"""([?&;#]([^=&;?#\s"'<>]{1,200})=)([^&;#\s"'<>]*)""")
_IN_TEXT: Final = re.compile(r"""(?<![\w-])(([A-Za-z][\w.-]{0,60})["']?\s{0,3}[:=]\s{0,3}["']?)([^\s"',;&<>]+)""")
_ELEMENT: Final = re.compile(r"<((?:[\w.-]{1,60}:)?([\w.-]{1,60}))([^<>]{0,500})>([^<]*)")
# One member of an object as it is written, for JSON that was cut and can no longer be read.
_MEMBER: Final = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:\s*)("(?:[^"\\]|\\.)*"?|[\[{]|[^\s,\]}"]*)', re.DOTALL)


class Redaction:
    """Made once for a route: which names are secret beside those that look so."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = _WHOLE | {plain(name) for name in names}
        self._known: dict[str, bool] = {}

    def secret(self, name: str) -> bool:
        found = self._known.get(name)
        if found is None:
            short = plain(name)
            found = short in self._names or any(part in short for part in _PARTS)
            if len(self._known) < 1_000:  # names are the clients' to choose
                self._known[name] = found
        return found

    def fields(self, fields: Iterable[tuple[bytes, bytes]]) -> Pairs:
        out: Pairs = []
        for raw, value in fields:
            name = raw.decode("latin-1")
            out.append((name, HIDDEN if self.secret(name) else self.text(value.decode("latin-1"))))
        return out

    def query(self, query: str) -> str:
        """As it stands in a URL, or in a form."""
        return "&".join(self._parameter(part) for part in query.split("&"))

    def json(self, body: bytes) -> str | None:
        """None where it is not JSON."""
        try:
            value = msgspec.json.decode(body)
            return msgspec.json.encode(self._value(value)).decode()
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None

    def cut_json(self, text: str) -> str:
        """Of JSON that cannot be read whole. A secret that is an object or a list ends the text."""
        out: list[str] = []
        at = 0
        for member in _MEMBER.finditer(text):
            name, _, value = member.groups()
            if not self.secret(_unescaped(name)):
                if value[:1] == '"':
                    out += (text[at : member.start(3)], self.text(value))
                    at = member.end()
                continue
            out += (text[at : member.start(3)], f'"{HIDDEN}"')
            at = member.end()
            if value in ("[", "{"):
                return "".join(out)
        return _VALUES.sub(_hidden_value, "".join([*out, text[at:]]))

    def text(self, text: str) -> str:
        """Of any other kind: URLs, logs, XML."""
        if "=" in text:
            text = _IN_URL.sub(self._url_parameter, text)
        text = _VALUES.sub(_hidden_value, text)
        if "<" in text:
            text = _ELEMENT.sub(self._element, text)
        return _IN_TEXT.sub(self._pair, text) if ":" in text or "=" in text else text

    def _value(self, value: object) -> object:
        if isinstance(value, dict):
            return {key: HIDDEN if self.secret(key) else self._value(of) for key, of in value.items()}
        if isinstance(value, list):
            return [self._value(each) for each in value]
        return self.text(value) if isinstance(value, str) else value

    def _parameter(self, part: str) -> str:
        name, equals, value = part.partition("=")
        if not equals:
            return self.text(part)
        decoded = unquote_plus(name)
        if plain(decoded) in _PARAMETERS or self.secret(decoded):
            return f"{name}={HIDDEN}"
        shown = self.text(unquote_plus(value))
        return part if HIDDEN not in shown else f"{name}={HIDDEN}"

    def _url_parameter(self, match: re.Match[str]) -> str:
        name = unquote_plus(match[2])
        return match[1] + HIDDEN if plain(name) in _PARAMETERS or self.secret(name) else match[0]

    def _pair(self, match: re.Match[str]) -> str:
        return match[1] + HIDDEN if self.secret(match[2]) and match[3] != HIDDEN else match[0]

    def _element(self, match: re.Match[str]) -> str:
        return f"<{match[1]}{match[3]}>{HIDDEN}" if self.secret(match[2]) and match[4].strip() else match[0]


def plain(name: str) -> str:
    return _PUNCTUATION.sub("", name.lower())


def _hidden_value(match: re.Match[str]) -> str:
    return (match["scheme"] or "") + HIDDEN


def _unescaped(name: str) -> str:
    try:
        return str(msgspec.json.decode(f'"{name}"'))
    except msgspec.DecodeError:
        return name
