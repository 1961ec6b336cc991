from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.own_policies import Bare, Closed
from tests.support.policies import answered, asked, declared, passed, refusal

from gatepost.compile import check
from gatepost.config.loading import load_text
from gatepost.errors import ConfigError
from gatepost.policies.base import SettingFault

HERE = "tests.support.own_policies"


def own(name: str, **settings: Any) -> Any:
    return declared("policy", {"use": f"{HERE}:{name}", "settings": settings} if settings else f"{HERE}:{name}")


def test_a_class_of_the_users_is_a_policy_like_any_other() -> None:
    policy = own("Closed", reason="holidays", hours=[9, 17])
    assert isinstance(policy, Closed)
    assert policy.route == "orders"
    assert refusal(asked(policy)[1]) == (403, "shop-closed")


def test_one_without_settings_needs_no_init() -> None:
    policy = own("Bare")
    assert isinstance(policy, Bare)
    assert answered(passed(policy), []) == [(b"x-bare", b"1")]


@pytest.mark.parametrize(
    ("name", "settings", "setting", "why"),
    [
        ("Closed", {"reason": "x", "hour": 1}, "settings.hour", "unknown setting"),
        ("Closed", {"reason": 1}, "settings.reason", "Expected `str`, got `int`"),
        ("Closed", {"reason": "x", "hours": [1, "y"]}, "settings.hours[1]", "Expected `int`, got `str`"),
        ("Closed", {"reason": "x", "deep": {"a": "b"}}, "settings", "Expected `int`, got `str`"),
        ("Closed", {"hours": [1]}, "settings", "missing required field `reason`"),
        ("Closed", {"reason": ""}, "settings", "a reason is needed"),
        ("Closed", {"reason": "broken"}, "", "KeyError"),
        ("Bare", {"a": 1}, "settings", "takes no settings"),
        ("Nameless", {}, "", "needs a `name`"),
        ("OddConfig", {}, "", r"must be a msgspec\.Struct"),
        ("NOT_A_CLASS", {}, "", "is not a subclass"),
        ("Missing", {}, "", "has no Missing"),
    ],
)
def test_whatever_is_wrong_is_a_fault_at_its_place(name: str, settings: dict[str, Any], setting: str, why: str) -> None:
    with pytest.raises(SettingFault, match=why) as fault:
        own(name, **settings)
    assert fault.value.setting == f"policy.{setting}".rstrip(".")


def test_a_fault_has_the_line_of_its_setting() -> None:
    text = f"""\
services: {{a: {{targets: ["http://127.0.0.1:9000"]}}}}
routes:
  a:
    match: {{path: /a}}
    service: a
    policies:
      - policy:
          use: {HERE}:Closed
          settings:
            reason: 7
      - policy: nowhere.at_all:Thing
"""
    with pytest.raises(ConfigError) as refused:
        check("gatepost.yaml", load_text(text))
    assert [(issue.line, issue.path) for issue in refused.value.issues] == [
        (10, "routes.a.policies[0].policy.settings.reason"),
        (11, "routes.a.policies[1].policy"),
    ]


@pytest.mark.parametrize("name", ["module", "module:", ":Class", "a b:C", "../x:C", "a.b:C()"])
def test_what_is_no_name_is_a_fault(name: str) -> None:
    with pytest.raises(ConfigError, match="must name a Python object"):
        declared("policy", name)


@pytest.mark.parametrize("value", ["yes", "2026-01-01", "0x10"])
def test_settings_that_yaml_readers_differ_on_must_be_quoted(value: str) -> None:
    text = f"""\
services: {{a: {{targets: ["http://127.0.0.1:9000"]}}}}
routes: {{a: {{match: {{path: /a}}, service: a, policies: [{{policy: {{use: "a:B", settings: {{x: {value}}}}}}}]}}}}
"""
    with pytest.raises(ConfigError, match="put it in quotes"):
        load_text(text)


def test_modules_of_the_configurations_folder_are_found_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from gatepost.named import load_object, make_importable

    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_shop_module.py").write_text("class Inner:\n    value = 1\n")
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')\n")
    (tmp_path / "broken_shop_module.py").write_text("import nothing_like_this\n")
    (tmp_path / "leaving_shop_module.py").write_text("raise SystemExit(3)\n")
    make_importable(tmp_path)
    make_importable(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[-1] == str(tmp_path)
    assert load_object("own_shop_module:Inner.value") == 1
    assert load_object("json:dumps")(1) == "1"
    for name, why in (
        ("broken_shop_module:X", "importing broken_shop_module failed: No module named 'nothing_like_this'"),
        ("leaving_shop_module:X", "importing leaving_shop_module failed: SystemExit: 3"),
        ("own_shop_module:Missing", "own_shop_module has no Missing"),
        ("own_shop_module.below:X", "own_shop_module"),
    ):
        with pytest.raises(ValueError, match=why):
            load_object(name)
