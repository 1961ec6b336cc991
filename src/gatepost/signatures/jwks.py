"""JSON Web Key Sets (RFC 7517): which keys may verify a token of an algorithm and a `kid`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gatepost.errors import SignatureError
from gatepost.signatures.algorithms import PublicKey, Verifier, verifier
from gatepost.signatures.jwt import decode_part, json_object

MAX_KEYS: Final = 100  # of one set
_TRIED: Final = 8  # keys that a token without `kid` is tried with


class Key(NamedTuple):
    """`verifiers` by the algorithm's name: those that the key fits, of those that are allowed."""

    id: str | None
    verifiers: Mapping[str, Verifier]


class KeySet:
    """Immutable."""

    __slots__ = ("_keys", "kinds")

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)
        self.kinds = frozenset(name for key in self._keys for name in key.verifiers)  # algorithms that a key is for

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, algorithm: str, key_id: str | None) -> list[Verifier]:
        """Those that a token may be verified with. A key without an id serves every token."""
        found = [
            key.verifiers[algorithm]
            for key in self._keys
            if algorithm in key.verifiers and (key_id is None or key.id is None or key.id == key_id)
        ]
        return found[:_TRIED]


def key_of(key: PublicKey, algorithms: Iterable[str], key_id: str | None = None) -> Key:
    """`key` for those of `algorithms` that it fits. Raises SignatureError where it fits none."""
    fitting: dict[str, Verifier] = {}
    reason = ""
    for algorithm in algorithms:
        try:
            fitting[algorithm] = verifier(algorithm, key)
        except ValueError as error:
            reason = str(error)
    if not fitting:
        raise SignatureError(reason)
    return Key(key_id, fitting)


def key_set(text: bytes, algorithms: Iterable[str], *, symmetric: bool = False) -> KeySet:
    """The keys of a set that fit one of `algorithms`. As RFC 7517 §5 says, those that are for something else or that
    are not understood are left out. A secret (`oct`) counts only with `symmetric`: published, it would be none.

    Raises SignatureError for what is no set, or holds no key to use.
    """
    entries = json_object(text).get("keys")
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise SignatureError(f"it is no key set of at most {MAX_KEYS} keys")
    allowed = tuple(algorithms)
    keys = []
    for entry in entries:
        key = _key(entry, allowed, symmetric=symmetric) if isinstance(entry, dict) else None
        if key is not None:
            keys.append(key)
    if not keys:
        raise SignatureError(f"no key in it can verify {' or '.join(allowed)}")
    return KeySet(keys)


def _key(entry: dict[str, Any], allowed: tuple[str, ...], *, symmetric: bool) -> Key | None:
    read = _KINDS.get(entry.get("kty", ""))
    key_id, operations = entry.get("kid"), entry.get("key_ops", ["verify"])
    own = entry.get("alg")
    names = _ALIASES.get(own, own) if isinstance(own, str) else own
    if (
        read is None
        or (read is _secret and not symmetric)
        or entry.get("use", "sig") != "sig"
        or not isinstance(operations, list)
        or "verify" not in operations
        or not isinstance(key_id, str | None)
    ):
        return None
    try:
        return key_of(read(entry), [name for name in allowed if names in (None, name)], key_id)
    except (SignatureError, ValueError, TypeError, AttributeError, KeyError):
        return None


def _rsa(entry: dict[str, Any]) -> PublicKey:
    return rsa.RSAPublicNumbers(_number(entry["e"]), _number(entry["n"])).public_key()


def _elliptic(entry: dict[str, Any]) -> PublicKey:
    return ec.EllipticCurvePublicNumbers(_number(entry["x"]), _number(entry["y"]), _CURVES[entry["crv"]]).public_key()


def _edwards(entry: dict[str, Any]) -> PublicKey:
    if entry["crv"] != "Ed25519":
        raise ValueError("another curve")
    return Ed25519PublicKey.from_public_bytes(decode_part(entry["x"]))


def _secret(entry: dict[str, Any]) -> PublicKey:
    return decode_part(entry["k"])


def _number(text: str) -> int:
    return int.from_bytes(decode_part(text))


_KINDS: Final[Mapping[object, Callable[[dict[str, Any]], PublicKey]]] = {
    "RSA": _rsa,
    "EC": _elliptic,
    "OKP": _edwards,
    "oct": _secret,
}
_CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_ALIASES: Final = {"Ed25519": "EdDSA"}  # RFC 9864 gives it the curve's name
