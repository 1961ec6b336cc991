"""`basic`: the caller shows a user name and a password (RFC 7617)."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from gatepost.config.policies.basic import BasicPolicy
from gatepost.errors import Problem
from gatepost.exchange import Answer, Exchange, Phase, Policy, Response
from gatepost.policies.base import PolicyContext
from gatepost.policies.credentials import Credentials, authorization, base64, take_field, unavailable
from gatepost.policies.logins import LONGEST_PASSWORD, Login, Passwords, hash_password

_MISSING: Final = Problem(401, "login-missing", "A user name and a password are needed")
_WRONG: Final = Problem(401, "login-wrong", "The user name or the password is wrong")
_DOUBLED: Final = Problem(401, "login-doubled", "More than one login was sent", "Send one.")
_BUSY: Final = Problem(503, "logins-busy", "Too many logins are being checked", "Try again later.")
_CHARSET: Final = 'charset="UTF-8"'  # RFC 7617 §2.1


def build(use: BasicPolicy, context: PolicyContext) -> Basic:
    return Basic(use, context)


class Basic(Policy):
    """Sets `x.consumer`; 401 without a login that is right, 403 where its consumer may not use the route."""

    name = "basic"
    phase = Phase.IDENTIFY

    def __init__(self, config: BasicPolicy, context: PolicyContext) -> None:
        self._config = config
        self._logins = context.logins
        self._now = context.clock.now
        self._credentials = Credentials(context, self.name, "Basic")
        self._passwords = context.states.get("basic", Passwords)
        # An unknown name is checked against this one, so that time does not tell who has an account.
        self._nobody = next((login.hash for login in self._logins.values()), "") or hash_password("nobody")

    def on_request(self, x: Exchange) -> Answer:
        shown = authorization(x.head, b"basic")
        if not shown:
            return self._credentials.missing(x, _MISSING, _CHARSET)
        if len(shown) > 1:
            return self._credentials.wrong(x, _DOUBLED, _CHARSET)
        try:
            credential = base64(shown[0])
            name, colon, password = credential.partition(b":")
            login = self._logins.get(name.decode())
        except ValueError:
            return self._credentials.wrong(x, _WRONG, _CHARSET)
        if not colon or len(password) > LONGEST_PASSWORD:
            return self._credentials.wrong(x, _WRONG, _CHARSET)
        passwords = self._passwords
        if login is None:
            return unavailable(x, _BUSY) if passwords.busy else self._check(x, None, password, b"")
        digest = passwords.digest(credential, login.hash)
        if passwords.known.get(digest, self._now()):
            return self._admit(x, login)
        return unavailable(x, _BUSY) if passwords.busy else self._check(x, login, password, digest)

    def _check(self, x: Exchange, login: Login | None, password: bytes, digest: bytes) -> Awaitable[Response | None]:
        async def decide() -> Response | None:
            right = await self._passwords.match(password, self._nobody if login is None else login.hash)
            if login is None or not right:
                return self._credentials.wrong(x, _WRONG, _CHARSET)
            self._passwords.known.put(digest, True, self._now() + self._config.remember)
            return self._admit(x, login)

        return decide()

    def _admit(self, x: Exchange, login: Login) -> Response | None:
        refusal = self._credentials.admit_named(x, login.consumer)
        if refusal is None and not self._config.forward:
            take_field(x, b"authorization", keep=lambda value: value[:6].lower() != b"basic ")
        return refusal
