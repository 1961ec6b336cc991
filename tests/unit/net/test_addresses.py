import pytest

from gatepost.net import addresses
from gatepost.net.addresses import Networks, parse_network, plain


def test_a_set_of_networks_contains_their_addresses() -> None:
    networks = Networks(["10.0.0.0/8", "192.0.2.7", "fd00::/8"])
    for inside in ("10.0.0.0", "10.255.255.255", "192.0.2.7", "fd00::1", "FD00:0::1", "fd00::1%eth0"):
        assert networks.contains(inside)
        assert networks.contains(inside)  # the kept answer is the same
    for outside in ("11.0.0.0", "192.0.2.8", "fe80::1", "::a00:1", "::1"):
        assert not networks.contains(outside)
        assert not networks.contains(outside)


def test_an_ipv4_peer_of_a_dual_stack_socket_is_an_ipv4_address() -> None:
    assert Networks(["10.0.0.0/8"]).contains("::ffff:10.1.2.3")
    assert plain("::FFFF:10.1.2.3") == "10.1.2.3"
    assert plain("2001:DB8:0::1%eth0") == "2001:db8::1"


def test_what_is_no_address_is_in_no_network() -> None:
    everything = Networks(["0.0.0.0/0", "::/0"])
    for text in ("", "unix", "10.0.0", "010.0.0.1", "10.0.0.1:80"):
        assert not everything.contains(text)


def test_nobody_is_in_the_empty_set() -> None:
    assert not Networks([]).contains("127.0.0.1")


def test_the_kept_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_KEPT", 3)
    networks = Networks(["10.0.0.0/8"])
    for last in range(10):
        assert networks.contains(f"10.0.0.{last}")
    assert len(networks._answers) <= 3
    networks.contains("x" * 65_536)
    assert max(map(len, networks._answers)) <= 64


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10.0.0.1/8", r"write 10\.0\.0\.0/8"),
        ("10.0.0.0/33", "is not a network"),
        ("10.0.0", "is not a network"),
        ("", "is not a network"),
        ("localhost", "is not a network"),
    ],
)
def test_a_wrong_network_is_refused_with_advice(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_network(text)
    with pytest.raises(ValueError, match=reason):
        Networks([text])
