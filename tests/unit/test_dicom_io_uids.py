import datetime as dt
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report_cases import scored

from dicom_io import uids

NAMESPACE = uuid.UUID("6f0e2a4e-6a52-4b35-9e0b-1d5a0d4d7f11")


def test_golden_uid() -> None:
    expected = uuid.uuid5(NAMESPACE, '["1.2.3","res"]').int
    assert uids.tracking_uid(NAMESPACE, "1.2.3") == f"2.25.{expected}"


@given(st.text(), st.text())
def test_uid_is_valid_and_a_function_of_its_key(first: str, second: str) -> None:
    made = uids.derive(NAMESPACE, first, second)
    assert made.is_valid
    assert len(made) <= 64
    assert made == uids.derive(NAMESPACE, first, second)
    assert made != uids.derive(NAMESPACE, first + second)


def test_each_part_of_the_key_changes_the_uid() -> None:
    base = {"source": "1.2.3", "kind": "sr", "sop_class": "1.2", "digest": "aa", "revision": 0}
    changes = [
        {},
        {"source": "1.2.4"},
        {"kind": "page"},
        {"sop_class": "1.3"},
        {"digest": "ab"},
        {"revision": 1},
    ]
    made = {uids.sop_instance_uid(NAMESPACE, **(base | change)) for change in changes}
    made.add(uids.sop_instance_uid(uuid.UUID(int=1), **base))
    assert len(made) == len(changes) + 1


def test_sr_series_is_one_and_companion_series_one_per_version() -> None:
    series = {
        uids.sr_series_uid(NAMESPACE, "1.2.3"),
        uids.companion_series_uid(NAMESPACE, "1.2.3", "page", 1),
        uids.companion_series_uid(NAMESPACE, "1.2.3", "page", 2),
    }
    assert len(series) == 3


def test_content_digest_sees_every_change() -> None:
    digests = {
        uids.content_digest(scored()),
        uids.content_digest(scored(p_fused=0.7341)),
        uids.content_digest(scored(t_high=0.33)),
        uids.content_digest(scored(inputs=())),
    }
    assert len(digests) == 4
    assert uids.content_digest(scored()) == uids.content_digest(scored())


def test_content_digest_is_golden_and_refuses_the_unknown() -> None:
    plain = {"b": [1, 2.5, None], "a": dt.date(2026, 1, 2), "u": uuid.UUID(int=1), "x": b"abc"}
    assert uids.content_digest(plain) == uids.content_digest(dict(reversed(plain.items())))
    with pytest.raises(TypeError):
        uids.content_digest(object())
