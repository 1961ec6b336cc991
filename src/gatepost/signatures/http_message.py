"""HTTP Message Signatures (RFC 9421): sign and verify chosen parts of a request or response.

    Signature-Input: sig1=("@method" "@authority" "content-digest");created=1618884473;keyid="partner"
    Signature: sig1=:dNFK…=:

Both sides make the *signature base* (§2.5) out of what they see, one line a component, and sign or verify that. No
component is taken that this implementation does not know: a line that two readers make differently signs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, quote

from gatepost.errors import SignatureError
from gatepost.http1.messages import Fields
from gatepost.signatures.algorithms import PrivateKey, PublicKey, Sign, Verifier, signer, verifier
from gatepost.signatures.structured import InnerList, Item, Parameters, Word, dictionary, serialize

# RFC 9421 §3.3, and what JOSE calls the same.
ALGORITHMS: Final[Mapping[str, str]] = {
    "hmac-sha256": "HS256",
    "ed25519": "EdDSA",
    "ecdsa-p256-sha256": "ES256",
    "ecdsa-p384-sha384": "ES384",
    "rsa-pss-sha512": "PS512",
    "rsa-v1_5-sha256": "RS256",
}
MAX_SIGNATURES: Final = 16  # of one message
MAX_COMPONENTS: Final = 64  # of one signature


class Message(NamedTuple):
    """What can be signed of a request; of a response with `status`. `target` is path and query as on the wire,
    `authority` the host as it was sent, `fields` have lower-case names."""

    method: str
    scheme: str
    authority: str
    target: bytes
    fields: Fields
    status: int = 0


class Component(NamedTuple):
    """One line of a signature base: `"@query-param";name="id"`."""

    name: str
    parameters: Parameters = {}  # noqa: RUF012  never changed

    @property
    def identifier(self) -> str:
        return serialize(Item(self.name, self.parameters))


class Signed(NamedTuple):
    """One signature of a message, not verified yet."""

    label: str
    components: tuple[Component, ...]
    parameters: Parameters
    signature: bytes

    @property
    def key_id(self) -> str | None:
        value = self.parameters.get("keyid")
        return value if isinstance(value, str) and not isinstance(value, Word) else None

    def covers(self, component: Component) -> bool:
        return component in self.components

    def number(self, name: str) -> int | None:
        """A parameter that is a time in Unix seconds. Raises SignatureError where it is something else."""
        value = self.parameters.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise SignatureError(f"the parameter {name} is no whole number of seconds")
        return value


def signatures(fields: Fields) -> list[Signed]:
    """The signatures of a message, in the order of `Signature-Input`; none where it has none.

    Raises SignatureError where the fields are malformed or do not belong together.
    """
    inputs = _field(fields, b"signature-input")
    values = _field(fields, b"signature")
    if inputs is None and values is None:
        return []
    if inputs is None or values is None:
        raise SignatureError("one of signature and signature-input is missing")
    raw = dictionary(values)
    found = []
    for label, member in dictionary(inputs).items():
        signature = raw.get(label)
        if not isinstance(member, InnerList) or not isinstance(signature, Item):
            raise SignatureError("signature-input has a signature that signature has not, or not as one")
        if not isinstance(signature.value, bytes):
            raise SignatureError("a signature is no sequence of bytes")
        found.append(Signed(label, _components(member), member.parameters, signature.value))
    if len(found) > MAX_SIGNATURES:
        raise SignatureError(f"more than {MAX_SIGNATURES} signatures")
    return found


def verify(message: Message, signed: Signed, key: Verifier) -> None:
    """Return only if `signed` is `key`'s over what it covers of `message`. Its times and what it covers are the
    caller's to judge. Raises SignatureError."""
    if not key(signature_base(message, signed.components, signed.parameters), signed.signature):
        raise SignatureError("the signature is wrong")


def sign(
    message: Message, key: Sign, components: Sequence[Component], parameters: Parameters, label: str = "sig1"
) -> Fields:
    """The two fields to add. `parameters` are `created`, `keyid`, `expires`, `nonce`, `alg`, `tag`, in their order.

    Raises SignatureError where a component is not in the message.
    """
    base = signature_base(message, components, parameters)
    covered = _serialized(components, parameters)
    signature = serialize(Item(key(base), {}))
    return [(b"signature-input", f"{label}={covered}".encode()), (b"signature", f"{label}={signature}".encode())]


def verifying_key(algorithm: str, key: PublicKey) -> Verifier:
    """`algorithm` as RFC 9421 names it. Raises ValueError where the key is not one of it."""
    return verifier(ALGORITHMS[algorithm], key)


def signing_key(algorithm: str, key: PrivateKey) -> Sign:
    return signer(ALGORITHMS[algorithm], key)


def component(text: str) -> Component:
    """As a configuration writes it: `content-digest`, `@query-param;name="id"`. Raises ValueError."""
    name, _, rest = text.partition(";")
    try:
        parsed = dictionary(f"x;{rest}".encode())["x"].parameters if rest else {}
        made = Component(name, parsed)
        _check(made)
    except SignatureError as error:
        raise ValueError(str(error)) from None
    return made


def signature_base(message: Message, components: Sequence[Component], parameters: Parameters) -> bytes:
    """RFC 9421 §2.5. Raises SignatureError where a component is missing, stands twice, or is not known here."""
    lines: list[str] = []
    seen: set[str] = set()
    for each in components:
        identifier = each.identifier
        if identifier in seen:
            raise SignatureError("a component is covered twice")
        seen.add(identifier)
        lines.append(f"{identifier}: {_value(message, each)}")
    lines.append(f'"@signature-params": {_serialized(components, parameters)}')
    return "\n".join(lines).encode("latin-1")


def _serialized(components: Sequence[Component], parameters: Parameters) -> str:
    return serialize(InnerList(tuple(Item(each.name, each.parameters) for each in components), parameters))


def _components(covered: InnerList) -> tuple[Component, ...]:
    if len(covered.items) > MAX_COMPONENTS:
        raise SignatureError(f"more than {MAX_COMPONENTS} components")
    found = []
    for item in covered.items:
        if not isinstance(item.value, str) or isinstance(item.value, Word):
            raise SignatureError("a component's name is no text in quotes")
        each = Component(item.value, item.parameters)
        _check(each)
        found.append(each)
    return tuple(found)


def _check(each: Component) -> None:
    """Whether we can make its line at all."""
    name, parameters = each
    if name.startswith("@"):
        allowed = {"name"} if name == "@query-param" else set()
        if name not in _DERIVED or set(parameters) != allowed:
            raise SignatureError(f"the component {name} is not known here, or not with these parameters")
        if allowed and (not isinstance(parameters["name"], str) or isinstance(parameters["name"], Word)):
            raise SignatureError("the name of a query parameter is no text")
    elif not _FIELD_NAME.fullmatch(name):
        raise SignatureError("a component is neither a field in lower case nor one with @")
    elif not (set(parameters) <= {"bs"} or set(parameters) == {"key"}):
        raise SignatureError(f"the component {name} has parameters that are not known here")


def _value(message: Message, each: Component) -> str:
    name, parameters = each
    if name.startswith("@"):
        return _DERIVED[name](message, each)
    values = [value.strip(b" \t") for key, value in message.fields if key == name.encode()]
    if not values:
        raise SignatureError(f"the field {name} is covered, and not there")
    if "bs" in parameters:  # §2.1.3
        return ", ".join(serialize(Item(value, {})) for value in values)
    joined = b", ".join(values)
    if "key" in parameters:  # §2.1.2
        member = dictionary(joined).get(str(parameters["key"]))
        if member is None:
            raise SignatureError(f"the field {name} has no such member")
        return serialize(member)
    if b"\n" in joined or b"\r" in joined:
        raise SignatureError(f"the field {name} holds a line end")
    return joined.decode("latin-1")


def _field(fields: Fields, name: bytes) -> bytes | None:
    values = [value for key, value in fields if key == name]
    return b", ".join(values) if values else None


# The derived components, §2.2.


def _method(message: Message, _: Component) -> str:
    return _of_request(message).method


def _target_uri(message: Message, _: Component) -> str:
    request = _of_request(message)
    return f"{request.scheme}://{_normal_authority(request)}{request.target.decode('latin-1')}"


def _authority(message: Message, _: Component) -> str:
    return _normal_authority(_of_request(message))


def _scheme(message: Message, _: Component) -> str:
    return _of_request(message).scheme.lower()


def _request_target(message: Message, _: Component) -> str:
    return _of_request(message).target.decode("latin-1")


def _path(message: Message, _: Component) -> str:
    return _of_request(message).target.partition(b"?")[0].decode("latin-1") or "/"


def _query(message: Message, _: Component) -> str:
    return "?" + _of_request(message).target.partition(b"?")[2].decode("latin-1")


def _query_param(message: Message, each: Component) -> str:
    query = _of_request(message).target.partition(b"?")[2].decode("latin-1")
    wanted = str(each.parameters["name"])
    values = [value for name, value in parse_qsl(query, keep_blank_values=True) if _encoded(name) == wanted]
    if len(values) != 1:  # §2.2.8: "If a parameter name occurs multiple times in a request, the named query parameter
        raise SignatureError("a query parameter is covered that is not there exactly once")  # MUST NOT be included"
    return _encoded(values[0])


def _status(message: Message, _: Component) -> str:
    if not message.status:
        raise SignatureError("a request has no @status")
    return str(message.status)


def _of_request(message: Message) -> Message:
    if message.status:
        raise SignatureError("a component of the request is covered by a response")
    return message


def _normal_authority(message: Message) -> str:
    host = message.authority.lower()
    default = {"http": ":80", "https": ":443"}.get(message.scheme, "")
    return host.removesuffix(default) if default else host


def _encoded(text: str) -> str:
    """The percent-encoding of application/x-www-form-urlencoded, but with %20 for a space: §2.2.8."""
    return quote(text, safe="*-._").replace("~", "%7E")


_DERIVED: Final[Mapping[str, Callable[[Message, Component], str]]] = {
    "@method": _method,
    "@target-uri": _target_uri,
    "@authority": _authority,
    "@scheme": _scheme,
    "@request-target": _request_target,
    "@path": _path,
    "@query": _query,
    "@query-param": _query_param,
    "@status": _status,
}
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
