"""The example of docs/openapi.md runs, and its table is whole."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from gatepost.compile import check
from gatepost.config.loading import load
from gatepost.config.openapi.settings import OpenApi

PAGE = (Path(__file__).parents[3] / "docs" / "openapi.md").read_text()


def test_the_example_loads_and_compiles(tmp_path: Path) -> None:
    (service,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (spec,) = re.findall(r"^```yaml title=shop.yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "shop.yaml").write_text(spec)
    file = tmp_path / "gatepost.yaml"
    file.write_text(service)
    loaded = load(file, {})
    check(str(file), loaded)
    routes = loaded.config.routes
    assert {name: len(route.policies) for name, route in routes.items()} == {"listOrders": 3, "createOrder": 4}


def test_every_setting_stands_in_the_table() -> None:
    for field in msgspec.structs.fields(OpenApi):
        assert f"| `{field.name}` |" in PAGE
