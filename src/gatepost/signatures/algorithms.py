"""Signature algorithms, by the names of JOSE (RFC 7518 §3.1, RFC 8037): a key and a name become a function.

A key that does not fit its algorithm is refused here, when the configuration is compiled: that is what closes the
confusion of HS256 with RS256, where a public key, known to everyone, is taken for the secret of an HMAC.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.x509 import load_pem_x509_certificate

from gatepost.errors import SignatureError

PublicKey: TypeAlias = "bytes | rsa.RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey"
PrivateKey: TypeAlias = "bytes | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey"
Verifier: TypeAlias = Callable[[bytes, bytes], bool]  # (content, signature): is it one of this key?
Sign: TypeAlias = Callable[[bytes], bytes]

SHORTEST_RSA: Final = 2048  # bits. RFC 7518 §3.3: "A key of size 2048 bits or larger MUST be used"

_HMAC: Final = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
_PKCS1: Final[dict[str, hashes.HashAlgorithm]] = {
    "RS256": hashes.SHA256(),
    "RS384": hashes.SHA384(),
    "RS512": hashes.SHA512(),
}
_PSS: Final[dict[str, hashes.HashAlgorithm]] = {
    "PS256": hashes.SHA256(),
    "PS384": hashes.SHA384(),
    "PS512": hashes.SHA512(),
}
_ECDSA: Final[dict[str, tuple[str, int, hashes.HashAlgorithm]]] = {  # curve, bytes of r and of s
    "ES256": ("secp256r1", 32, hashes.SHA256()),
    "ES384": ("secp384r1", 48, hashes.SHA384()),
    "ES512": ("secp521r1", 66, hashes.SHA512()),
}
_ED25519: Final = "EdDSA"

ALGORITHMS: Final = (*_HMAC, *_PKCS1, *_PSS, *_ECDSA, _ED25519)


def symmetric(algorithm: str) -> bool:
    return algorithm in _HMAC


def verifier(algorithm: str, key: PublicKey) -> Verifier:
    """Raises ValueError where `key` is too short, or not one of `algorithm`."""
    if algorithm in _HMAC:
        sign = _hmac(algorithm, key)
        return lambda content, signature: hmac.compare_digest(sign(content), signature)
    if algorithm in _ECDSA:
        return _ecdsa_verifier(algorithm, key)
    if algorithm == _ED25519:
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError(f"{algorithm} needs an Ed25519 key")
        return _whether(lambda content, signature: key.verify(signature, content))
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError(f"{algorithm} needs an RSA key")
    _long_enough(key.key_size)
    how, digest = _rsa_padding(algorithm)
    return _whether(lambda content, signature: key.verify(signature, content, how, digest))


def signer(algorithm: str, key: PrivateKey) -> Sign:
    """The signing counterpart. Raises ValueError as `verifier` does."""
    if algorithm in _HMAC:
        return _hmac(algorithm, key)
    if algorithm in _ECDSA:
        curve, size, digest = _ECDSA[algorithm]
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != curve:
            raise ValueError(f"{algorithm} needs an elliptic curve key on {curve}")

        def sign(content: bytes) -> bytes:
            r, s = decode_dss_signature(key.sign(content, ec.ECDSA(digest)))
            return r.to_bytes(size) + s.to_bytes(size)

        return sign
    if algorithm == _ED25519:
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{algorithm} needs an Ed25519 key")
        return key.sign
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError(f"{algorithm} needs an RSA key")
    _long_enough(key.key_size)
    how, rsa_digest = _rsa_padding(algorithm)
    return lambda content: key.sign(content, how, rsa_digest)


def public_key(pem: str) -> PublicKey:
    """The public key of a PEM text, of a certificate's too. Raises SignatureError."""
    text = pem.encode()
    key: object
    try:
        if b"BEGIN CERTIFICATE" in text:
            key = load_pem_x509_certificate(text).public_key()
        elif b"PRIVATE KEY" in text:
            raise SignatureError("this is a private key; who verifies needs the public one only")
        else:
            key = serialization.load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm):
        raise SignatureError("not a public key in PEM (`-----BEGIN PUBLIC KEY-----`)") from None
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey):
        raise SignatureError("a key of a kind that no algorithm here uses")
    return key


def private_key(pem: str) -> PrivateKey:
    """The private key of a PEM text without a password. Raises SignatureError."""
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SignatureError("not a private key in PEM without a password") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey):
        raise SignatureError("a key of a kind that no algorithm here uses")
    return key


def _hmac(algorithm: str, key: object) -> Sign:
    digest = _HMAC[algorithm]
    if not isinstance(key, bytes):
        raise ValueError(f"{algorithm} needs a secret, not a key pair")
    if key.lstrip().startswith(b"-----BEGIN"):
        raise ValueError(f"{algorithm} needs a secret: a public key is known to everyone")
    shortest = hashlib.new(digest).digest_size
    if len(key) < shortest:  # RFC 7518 §3.2: "a key of the same size as the hash output … or larger MUST be used"
        raise ValueError(f"{algorithm} needs a secret of at least {shortest} bytes; `openssl rand -hex {shortest}`")
    return lambda content: hmac.digest(key, content, digest)


def _ecdsa_verifier(algorithm: str, key: object) -> Verifier:
    curve, size, digest = _ECDSA[algorithm]
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != curve:
        raise ValueError(f"{algorithm} needs an elliptic curve key on {curve}")

    def verify(content: bytes, signature: bytes) -> None:
        if len(signature) != 2 * size:
            raise InvalidSignature
        r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
        key.verify(encode_dss_signature(r, s), content, ec.ECDSA(digest))

    return _whether(verify)


def _rsa_padding(algorithm: str) -> tuple[padding.AsymmetricPadding, hashes.HashAlgorithm]:
    if algorithm in _PKCS1:
        return padding.PKCS1v15(), _PKCS1[algorithm]
    if algorithm not in _PSS:
        raise ValueError(f"there is no algorithm {algorithm}")
    digest = _PSS[algorithm]
    # RFC 7518 §3.5 and RFC 9421 §3.3.1: the salt is as long as the hash.
    return padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size), digest


def _long_enough(bits: int) -> None:
    if bits < SHORTEST_RSA:
        raise ValueError(f"the RSA key has {bits} bits; {SHORTEST_RSA} are the least")


def _whether(verify: Callable[[bytes, bytes], None]) -> Verifier:
    def matches(content: bytes, signature: bytes) -> bool:
        try:
            verify(content, signature)
        except InvalidSignature:
            return False
        return True

    return matches
