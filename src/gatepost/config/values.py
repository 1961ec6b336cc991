"""What values of the configuration are: the units of its texts, and the base of its types.

Durations are written `500ms`, `30s`, `5m`, `2h`, `1d` and sizes `64KiB`, `1MiB` or a plain number of bytes; the
loader turns them into seconds (float) and bytes (int) before these types see them. A field whose type is `Expr`
holds a CEL expression; a `Template` is text that may hold `${…}` expressions. A `Secret` may be written `env:NAME`
or `file:PATH`.

The unit of a type says what a text must look like (`units.py`); a `ref` says in which section the name must stand.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec

from gatepost.config.secrets import Secret as SecretText

Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, extra={"unit": "duration"})]
Bytes: TypeAlias = Annotated[int, msgspec.Meta(ge=0, extra={"unit": "size"})]
Expr: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, extra={"unit": "expression"})]
Template: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "template"})]
Secret: TypeAlias = Annotated[SecretText, msgspec.Meta(extra={"unit": "secret"})]
Sha256: TypeAlias = Annotated[SecretText, msgspec.Meta(extra={"unit": "secret", "form": "sha256"})]
EncryptionKey: TypeAlias = Annotated[SecretText, msgspec.Meta(extra={"unit": "secret", "form": "encryption key"})]
Name: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "name"})]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Address: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "address"})]
Target: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "target"})]
EndpointUrl: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "endpoint URL"})]
Network: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "network"})]
Header: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "header"})]
HeaderValue: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "header value"})]
Method: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "method"})]
HostPattern: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "host pattern"})]
Path: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "path"})]
PathPattern: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "path pattern"})]
File: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "file"})]  # read now, kept as an absolute path
Store: TypeAlias = Annotated[SecretText, msgspec.Meta(extra={"unit": "secret", "form": "store"})]  # may hold a password
ObjectName: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "object"})]  # package.module:attribute
Document: TypeAlias = Annotated[Any, msgspec.Meta(extra={"unit": "document"})]  # plain values of any shape
ErrorStatus: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "error status"})]  # "404", 4xx, default
MediaType: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "media type"})]
SchemaText: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "schema"})]  # a mapping or a file; kept as JSON
ServiceName: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "name", "ref": "services"})]
RouteName: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "name", "ref": "routes"})]
PlanName: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "name", "ref": "plans"})]
Period: TypeAlias = Annotated[str, msgspec.Meta(extra={"unit": "period"})]  # day, month or a duration; kept as text


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, gc=False):
    # gc=False: frozen values hold no cycles, and 10,000 routes that the collector walks stop the loop for 10 to 20 ms.
    pass
