from __future__ import annotations

import pytest
from tests.support.exchanges import make_exchange
from tests.support.identity import at_once, context, slug

from gatepost.config.policies.ip import IpPolicy
from gatepost.exchange import Phase
from gatepost.policies.ip import Ip, build


def answer(client: str, allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> str:
    x, _ = make_exchange(client=client, fields=[(b"x-real-ip", b"10.0.0.1")])
    return slug(at_once(build(IpPolicy(allow=allow, deny=deny), context()), x))


@pytest.mark.parametrize(
    ("client", "allow", "deny", "passes"),
    [
        ("10.0.0.1", ("10.0.0.0/8",), (), True),
        ("::ffff:10.0.0.1", ("10.0.0.0/8",), (), True),
        ("11.0.0.1", ("10.0.0.0/8", "2001:db8::/32"), (), False),
        ("2001:db8::1", ("10.0.0.0/8", "2001:db8::/32"), (), True),
        ("10.0.0.1", (), ("10.0.0.1/32",), False),
        ("10.0.0.2", (), ("10.0.0.1/32",), True),
        ("10.0.0.1", ("10.0.0.0/8",), ("10.0.0.1/32",), False),  # what is denied is denied
        ("", ("0.0.0.0/0",), (), False),  # a unix socket has no address
        ("", (), ("0.0.0.0/0",), True),
    ],
)
def test_addresses(client: str, allow: tuple[str, ...], deny: tuple[str, ...], passes: bool) -> None:
    assert answer(client, allow, deny) == ("" if passes else "address-not-allowed")


def test_it_is_asked_first_and_must_say_something() -> None:
    assert Ip.phase is Phase.CLIENT
    with pytest.raises(ValueError, match="allow"):
        IpPolicy()
