"""`basic`: the caller shows a user name and a password. The logins stand under `consumers`."""

from __future__ import annotations

from gatepost.config.values import Seconds, Strict


class BasicPolicy(Strict, frozen=True):
    forward: bool = False  # the service gets the login too
    remember: Seconds = 300.0  # that a verified login costs no second look at its password
