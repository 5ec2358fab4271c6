"""The short form of `make fuzz`. Acceptance lines of clinical-data.md section 15: framing "chunk invariance", reader
"fuzz raises only `HL7Error`"."""

from collections import Counter

from fuzz.campaign import SHORT_MESSAGES, SHORT_STREAMS, fuzz_messages, fuzz_streams


def test_reader_fuzz_raises_only_hl7error_and_every_frame_is_answered():
    outcomes = Counter()
    assert fuzz_messages(SHORT_MESSAGES, 2, outcomes) == []
    assert min(outcomes["read"], outcomes["refused"]) > SHORT_MESSAGES / 5, (
        "the damage is neither too small nor too big"
    )
    assert {"answered-AA", "answered-AE", "answered-AR", "answered-CA", "answered-None"} <= outcomes.keys()
    assert {"error-100", "error-101", "error-102", "error-103", "error-205", "error-207"} <= outcomes.keys()


def test_framing_chunk_invariance():
    outcomes = Counter()
    assert fuzz_streams(SHORT_STREAMS, 2, outcomes) == []
    assert outcomes["blocks"] > SHORT_STREAMS
    assert outcomes["oversize"] > 0
