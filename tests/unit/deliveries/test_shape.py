"""What is sent to endpoints that ask for something else than the payload as it came."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
import zstandard

from gatepost.deliveries.shape import BODY_LIMIT, Sample, Shape, ShapeError, Tried, Unwanted, shape_of, try_on
from gatepost.model import Batching, EndpointSettings

PAYLOAD = b'{"event": "new_order",  "data": {"order_id": 123456789012345678901234567890, "amount": 12.50}}'


def sample(body: bytes = PAYLOAD, channels: tuple[str, ...] = ()) -> Sample:
    return Sample("order.created", body, channels)


def shape(**settings: Any) -> Shape:
    return Shape(EndpointSettings(**settings), "shop", "https://gatepost.example/")


def test_an_endpoint_without_settings_has_no_shape() -> None:
    assert shape_of(EndpointSettings(), "shop") is None
    assert shape_of(EndpointSettings(transform="payload"), "shop") is not None


def test_a_transform_makes_the_body_and_keeps_the_bytes_that_only_pass() -> None:
    made = shape(transform="{'id': payload.data.order_id, 'all': payload, 'kind': event_type, 'from': app}").body(
        sample()
    )
    assert made == (b'{"id":123456789012345678901234567890,"all":%b,"kind":"order.created","from":"shop"}' % PAYLOAD)


def test_a_transform_that_fails_says_why() -> None:
    with pytest.raises(ShapeError, match=r"transform failed: .*nothing"):
        shape(transform="payload.nothing.here").body(sample())


def test_a_transform_cannot_make_more_than_the_limit() -> None:
    with pytest.raises(ShapeError, match="more than"):
        shape(transform="[payload, payload, payload, payload, payload]").body(
            sample(b'{"x":"%b"}' % (b"y" * (BODY_LIMIT // 5 + 1)))
        )


def test_a_stored_transform_that_cannot_be_compiled_fails_each_time_and_loses_nothing() -> None:
    broken = shape(transform="no such( syntax")
    for _ in range(2):
        with pytest.raises(ShapeError, match="the endpoint's transform cannot be used"):
            broken.body(sample())


def test_a_filter_that_fails_is_a_reason_and_one_that_is_false_is_no_delivery() -> None:
    with pytest.raises(ShapeError, match="filter failed"):
        shape(filter="payload.nothing > 1").body(sample())
    with pytest.raises(Unwanted):
        shape(filter="payload.data.amount > 1000.0").body(sample())
    assert shape(filter="payload.data.amount < 1000.0").body(sample()) == PAYLOAD


def test_a_thin_payload_says_where_the_rest_is() -> None:
    document = json.loads(shape(payload="thin").body(sample(channels=("/orders/1",))))
    identifier = sample().id.decode()
    assert document == {
        "id": identifier,
        "event_type": "order.created",
        "app": "shop",
        "timestamp": "2024-01-01T00:00:00.000Z",
        "link": f"https://gatepost.example/api/v1/app/shop/msg/{identifier}",
        "channels": ["/orders/1"],
    }


def test_bodies_are_compressed_to_the_same_bytes_each_time() -> None:
    gzipped = shape(encoding="gzip").body(sample())
    assert gzip.decompress(gzipped) == PAYLOAD
    assert gzipped == shape(encoding="gzip").body(sample())
    assert zstandard.ZstdDecompressor().decompress(shape(encoding="zstd").body(sample())) == PAYLOAD


def test_a_batch_of_envelopes_keeps_each_payload_byte_for_byte() -> None:
    body = shape(batch=Batching()).batch([sample(), sample(b'{"b":  2}')])
    assert PAYLOAD in body
    assert b'"data":{"b":  2}' in body
    assert [sorted(part) for part in json.loads(body)] == [["data", "id", "timestamp", "type"]] * 2


def test_a_batch_of_cloud_events_has_what_the_specification_requires() -> None:
    events = json.loads(shape(batch=Batching(format="cloudevents")).batch([sample(), sample()]))
    assert len(events) == 2
    assert events[0] == {
        "specversion": "1.0",
        "id": sample().id.decode(),
        "source": "/apps/shop",
        "type": "order.created",
        "time": "2024-01-01T00:00:00.000Z",
        "datacontenttype": "application/json",
        "data": json.loads(PAYLOAD),
    }


def test_a_single_message_of_a_batching_endpoint_is_a_batch_of_one() -> None:
    batching = shape(batch=Batching(), transform="payload.data.amount")
    assert json.loads(batching.body(sample()))[0]["data"] == 12.5


def test_settings_are_tried_on_a_sample() -> None:
    assert try_on(EndpointSettings(transform="payload.event", encoding="gzip"), sample(), "shop") == Tried(
        True, b'"new_order"', ""
    )
    assert try_on(EndpointSettings(filter="false"), sample(), "shop") == Tried(False, b"", "")
    refused = try_on(EndpointSettings(transform="payload.nothing"), sample(), "shop")
    assert refused.wanted
    assert "nothing" in refused.error
