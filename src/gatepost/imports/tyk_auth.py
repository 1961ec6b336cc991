"""Who may call, for both formats of Tyk.

What has no equal here must not leave a route open: `CLOSED` lets nobody in until somebody decides.
"""

from __future__ import annotations

from typing import Any, Final

from gatepost.imports.api import Api

CLOSED: Final[dict[str, Any]] = {"mock": {"status": 403, "json": {"title": "Not open yet: see the list of its import"}}}

_ALGORITHMS: Final = {
    "rsa": ["RS256", "RS384", "RS512"],
    "hmac": ["HS256"],
    "ecdsa": ["ES256", "ES384", "ES512"],
}


def close(api: Api, setting: str, why: str, nearest: str) -> None:
    api.auth.append(CLOSED)
    api.note(setting, f"{why} Its routes answer 403 until you decide.", nearest)


def api_key(api: Api, setting: str, *, header: str, query: str, cookie: str) -> None:
    use: dict[str, Any] = {"header": header or "Authorization"}
    if query:
        use["query"] = query
    if cookie:
        use["cookie"] = cookie
    api.auth.append({"api_key": use})
    if use["header"].lower() == "authorization":
        api.note(
            f"{setting} (Authorization)",
            "Tyk takes `Bearer ` off a key; here the whole value is the key.",
            "`header: X-Api-Key`, or `jwt` where these are tokens",
        )
    api.note(
        f"{setting} (keys)",
        "Tyk keeps keys in Redis, not in these files.",
        "`gatepost key new` or the control API; `consumers.NAME.keys` takes their SHA-256",
    )


def jwt(
    api: Api,
    setting: str,
    *,
    signing: str,
    header: str = "",
    cookie: str = "",
    query: str = "",
    source: str,
    urls: list[str],
    identity: str = "",
    plan: str = "",
    issuers: list[str] | None = None,
    audiences: list[str] | None = None,
    skew: float = 0,
    scope_claim: str = "",
) -> None:
    signing = signing.lower() or "rsa"
    if signing not in _ALGORITHMS:
        close(api, f"{setting} ({signing})", "There is no such signing method.", "`jwt`")
        return
    use: dict[str, Any] = {"algorithms": _ALGORITHMS[signing]}
    if header.lower() not in ("", "authorization"):
        use["header"] = header
    if cookie:
        use["cookie"] = cookie
    if query:
        api.note(
            f"{setting} (query {query})", "Tokens in URLs end up in logs: `jwt` does not read them.", "`jwt.cookie`"
        )
    if not urls and source.startswith(("http://", "https://")):
        urls = [source]
    if urls:
        use["jwks_url"] = urls[0]
        for url in urls[1:]:
            api.note(f"{setting} ({url})", "A `jwt` fetches one key set.", "a second `jwt` in an `any_of`")
    elif signing == "hmac":
        use["secrets"] = [api.secret("jwt_secret", "the secret that signs its tokens")]
        api.note(
            f"{setting} (HS384, HS512)", "They need longer secrets.", "`jwt.algorithms`, with a secret of 64 bytes"
        )
    else:
        use["public_keys"] = [api.secret("jwt_public_key", "the PEM of the public key of its tokens")]
    if issuers:
        use["issuers"] = issuers
    if audiences:
        use["audiences"] = audiences
    if skew:
        use["skew"] = f"{skew:g}s"
    if plan:
        use["plan"] = plan
    if scope_claim:
        use["scope_claim"] = scope_claim
    if identity not in ("", "sub"):
        api.note(
            f"{setting} (identity `{identity}`)",
            "Everyone with a valid token may pass; limits by caller count by `consumer.id`.",
            f"`consumer: {identity}` once the consumers are declared",
        )
    api.auth.append({"jwt": use})
