"""The directory: apps and endpoints by every name they have, and only while they have it."""

from __future__ import annotations

from gatepost import ids
from gatepost.model import App, Endpoint
from gatepost.stores.directory import Directory

SHOP = App(1, 101, "Shop", uid="shop")
FIRST = Endpoint(1, 201, 1, "https://a.example/", uid="a")
SECOND = Endpoint(2, 202, 1, "https://b.example/")


def loaded() -> Directory:
    directory = Directory()
    directory.load([SHOP], [FIRST, SECOND])
    return directory


def test_by_id_and_by_uid() -> None:
    directory = loaded()
    assert directory.app("shop") is directory.app(ids.encode("app", 101)) is SHOP
    assert directory.endpoint(1, "a") is directory.endpoint(1, ids.encode("ep", 201)) is FIRST
    assert directory.endpoint(2, "a") is None
    assert directory.endpoints_of(1) == (FIRST, SECOND)
    assert directory.endpoints_of(2) == ()


def test_an_old_uid_is_forgotten() -> None:
    directory = loaded()
    directory.put_app(App(1, 101, "Shop", uid="store"))
    assert directory.app("shop") is None
    assert directory.app("store") is directory.app(ids.encode("app", 101))
    directory.put_endpoint(Endpoint(1, 201, 1, "https://a.example/"))
    assert directory.endpoint(1, "a") is None


def test_a_uid_that_moved_belongs_to_its_new_owner() -> None:
    directory = loaded()
    directory.put_app(App(1, 101, "Shop", uid="old-shop"))
    successor = App(2, 102, "New shop", uid="shop")
    directory.put_app(successor)
    directory.put_app(App(1, 101, "Shop", uid=None))
    directory.drop_app(1)
    assert directory.app("shop") is successor


def test_endpoints_keep_the_order_they_were_made_in() -> None:
    directory = loaded()
    changed = Endpoint(1, 201, 1, "https://moved.example/", uid="a")
    directory.put_endpoint(changed)
    assert directory.endpoints_of(1) == (changed, SECOND)


def test_dropping_an_app_drops_its_endpoints_and_says_so() -> None:
    directory = loaded()
    heard: list[tuple[int, Endpoint | None]] = []
    directory.watch(lambda key, endpoint: heard.append((key, endpoint)))
    directory.drop_app(1)
    directory.drop_app(1)
    assert heard == [(1, None), (2, None)]
    assert directory.apps == directory.endpoints == {}
    assert directory.app("shop") is directory.endpoint(1, "a") is None
    assert directory.endpoints_of(1) == ()
