"""Tyk's policies: what a key may do. They are plans here."""

from __future__ import annotations

from typing import Any

from gatepost.imports.assemble import Plan
from gatepost.imports.foreign import Foreign
from gatepost.imports.result import Left
from gatepost.imports.tyk_words import seconds

_BOOKKEEPING = ("id", "_id", "name", "org_id", "partitions", "version", "date_created", "last_updated", "active")


def is_policy(value: dict[str, Any]) -> bool:
    return isinstance(value.get("access_rights"), dict) or ("quota_max" in value and "rate" in value)


def read_policy(identifier: str, value: dict[str, Any], left: list[Left]) -> Plan | None:
    name = str(value.get("name") or identifier)
    it = Foreign(value, f"policy {name}", left)
    it.ignore(*_BOOKKEEPING)
    if it.flag("is_inactive") or value.get("active") is False:
        left.append(Left(it.where, "is_inactive", "It is switched off: no plan is made."))
        return None
    settings: dict[str, Any] = {}
    if it.number("rate") > 0 and it.number("per") > 0:
        settings["rate_limits"] = {
            "default": {"limit": int(it.number("rate")) or 1, "window": seconds(it.number("per"))}
        }
    if it.number("quota_max") > 0 and it.number("quota_renewal_rate") > 0:
        period = max(60.0, it.number("quota_renewal_rate"))
        settings["quotas"] = {"quota": {"limit": int(it.number("quota_max")), "period": seconds(period)}}
    it.ignore("quota_renewal_rate", "quota_remaining", "quota_renews", "per", "rate")
    if tags := it.texts("tags"):
        settings["metadata"] = {"tags": " ".join(tags)}
    metadata = it.pairs("meta_data")
    if metadata:
        settings["metadata"] = {**settings.get("metadata", {}), **metadata}
    apis: dict[str, list[str]] = {}
    rights = it.below("access_rights")
    for key in rights.names():
        right = rights.below(key)
        apis[right.text("api_id") or key] = [v for v in right.texts("versions") if v != "Default"]
        right.ignore("api_name", "allowance_scope")
        right.leave("allowed_urls", "A plan opens routes, not URLs.", "`plans.NAME.routes`, `methods`")
        limit = right.below("limit")
        right_has_limit = limit.number("rate") > 0 or limit.number("quota_max") > 0
        limit.ignore(*limit.names())
        if right_has_limit:
            left.append(Left(it.where, limit.path, "A plan's limits hold for all its routes.", "a plan for each API"))
    it.leave("throttle_interval", "A request that is over its limit is not tried again.", "`queue`")
    it.leave("throttle_retry_limit", "A request that is over its limit is not tried again.", "`queue`")
    it.leave("key_expires_in", "Keys expire one by one.", "the expiry of a key, set when it is made")
    it.leave("hmac_enabled", "A plan says nothing of signatures.", "`http_signature`")
    left += [Left(it.where, path, "It has no equal here.") for path in it.unread()]
    return Plan(name, settings, apis)
