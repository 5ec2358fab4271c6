"""The acceptance lines "Reader" of clinical-data.md section 15, quoted by tests, and the rules of its section 3."""

import shutil
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.hl7 import RULES, when
from support.hl7_samples import adt, header, well_formed

from node.feeds import cns11643
from node.feeds.er7 import DELETE, MAX_SEGMENTS, REPETITIONS_NOT_READ, HL7Error, parse
from node.feeds.hl7_encoding import CHARSET_SPELLING, CODECS, ESCAPE_NOT_READ
from node.feeds.hl7_messages import read_message
from node.remark_views import MEANINGS

ADT = adt()


def message(*segments, charset="UNICODE UTF-8", codec="utf-8"):
    return "\r".join([header("ADT^A08", charset=charset), *segments, ""]).encode(codec)


def refused(frame, **how):
    with pytest.raises(HL7Error) as caught:
        parse(frame, **how)
    return caught.value.code, caught.value.location


# "MSH-18 matrix incl. GB 18030 and Big5 with `|` as second byte"

NAMES = {
    "ASCII": "MUELLER",
    "8859/1": "MÜLLER",
    "8859/2": "ŁUKASZ",
    "8859/3": "ĦĝŬ",
    "8859/4": "ĀĒŖ",
    "8859/5": "ИВАНОВ",
    "8859/6": "محمد",
    "8859/7": "ΓΔΘΛ",
    "8859/8": "כהן",
    "8859/9": "IŞIK",
    "8859/15": "ŒUVRE€",
    "ISO IR6": "MUELLER",
    "ISO IR14": "ﾔﾏﾀﾞ",
    "ISO IR87": "山田太郎",
    "ISO IR159": "山田丂",
    "GB 18030-2000": "王小东𠀀",
    "KS X 1001": "김희중",
    "BIG-5": "王小東",
    "UNICODE UTF-8": "Mül山김王",
}


@pytest.mark.parametrize("charset", NAMES)
def test_reader_msh_18_matrix(charset):
    name = NAMES[charset]
    found = parse(message(f"PID|1||1^^^H||{name}^{name}||19480312|F", charset=charset, codec=CODECS[charset]))
    assert (found.codec, found.header.get(18)) == (CODECS[charset], charset)
    assert [found.first("PID").get(5, n) for n in (1, 2)] == [name, name]
    assert found.first("PID").get(7) == "19480312"


def test_reader_msh_18_matrix_knows_all_of_table_0211_that_can_travel_in_mllp():
    assert set(CODECS) == {*NAMES, "CNS 11643-1992"}
    for charset in ("UNICODE", "UNICODE UTF-16", "UTF-16", "UNICODE UTF-32", "8859", "8859-10", "ISO-8859", "KLINGON"):
        assert refused(ADT.replace(b"UNICODE UTF-8", charset.encode())) == (103, "MSH-18")


@pytest.mark.parametrize(
    ("spelled", "codec"),
    [
        *((name, "utf-8") for name in ("UTF-8", "UTF8", "utf-8", "UNICODE UTF8", "UNICODE_UTF-8", "UTF-8~ISO IR87")),
        *((name, "iso8859-1") for name in ("8859-1", "ISO-8859-1", "ISO8859/1", "ISO IR100", "ISO_IR 100")),
        *((name, "iso8859-15") for name in ("8859-15", "ISO-8859-15", "ISO IR203")),
        ("ISO_IR 144", "iso8859-5"),
        ("BIG5", "big5"),
    ],
)
def test_reader_msh_18_takes_what_means_one_set_of_table_0211_and_remarks_on_it(spelled, codec):
    found = parse(message("PID|1||1^^^H||X^Y||19480312|F", charset=spelled, codec=codec))
    assert (found.codec, found.header.raw(18)) == (codec, spelled)
    assert found.warnings == {CHARSET_SPELLING: 1}
    assert CHARSET_SPELLING in MEANINGS
    assert parse(ADT).warnings == {}
    assert parse(ADT.replace(b"UNICODE UTF-8", b"KLINGON"), pinned_charset="utf-8").warnings == {}


SAFE = {("GB 18030-2000", "&"), ("BIG-5", "&"), ("ISO IR14", "&")}
"""Second bytes of these begin at 0x30 or 0x40."""


@pytest.mark.parametrize("charset", ["GB 18030-2000", "BIG-5", "ISO IR87", "ISO IR14"])
@pytest.mark.parametrize("separator", "|^~\\&")
def test_reader_msh_18_matrix_with_each_separator_as_a_second_byte(charset, separator):
    codec = CODECS[charset]
    name = next((c for c in map(chr, range(0x3041, 0x9FFF)) if separator.encode() in two_bytes(c, codec)), None)
    if name is None:
        assert (charset, separator) in SAFE
        return
    found = parse(message(f"PID|1||1^^^H||{name}^{name}||19480312|F", charset=charset, codec=codec)).first("PID")
    assert (found.get(5), found.get(5, 2), found.get(7)) == (name, name, "19480312")


def two_bytes(character, codec):
    """The bytes of a character without those that switch character sets."""
    try:
        written = character.encode(codec)
    except UnicodeEncodeError:
        return b""
    return written.split(b"\x1b$B")[-1].split(b"\x1b(B")[0] if codec.startswith("iso2022") else written


def test_reader_cns_11643():
    name = "王小東"
    written = b"".join(euc_tw(character) for character in name)
    found = parse(message("PID|1||1^^^H||NAME^NAME", charset="CNS 11643-1992").replace(b"NAME", written)).first("PID")
    assert (found.get(5), found.get(5, 2)) == (name, name)
    assert parse(message(f"NTE|1||\\X{written.hex()}\\", charset="CNS 11643-1992")).first("NTE").get(3) == name
    assert refused(message("NTE|1||x", charset="CNS 11643-1992").replace(b"||x", b"||\x8e\xa3\xa1\xa1"))[0] == 102
    assert refused(message("NTE|1||x", charset="CNS 11643-1992").replace(b"||x", b"||\xc4"))[0] == 102


def euc_tw(character):
    positions = [bytes([row, column]) for row in range(0xA1, 0xFF) for column in range(0xA1, 0xFF)]
    return next(code for code in positions if try_cns(code) == character)


def try_cns(code):
    try:
        return cns11643.decode(code)
    except UnicodeDecodeError:
        return None


@pytest.mark.skipif(shutil.which("iconv") is None, reason="no iconv to compare with")
@pytest.mark.parametrize(("plane", "last", "least"), [(1, 0x7E7E, 5800), (2, 0x7244, 7650)])
def test_reader_cns_11643_is_what_glibc_says(plane, last, least):
    lead = b"" if plane == 1 else bytes([0x8E, 0xA0 + plane])
    codes = [
        row << 8 | column for row in range(0x21, 0x7F) for column in range(0x21, 0x7F) if row << 8 | column <= last
    ]
    written = [lead + (code | 0x8080).to_bytes(2) for code in codes]
    known = [(one, text) for one in written if (text := try_cns(one)) is not None]
    assert len(known) >= least
    command = ["iconv", "-f", "EUC-TW", "-t", "UTF-8"]
    done = subprocess.run(command, input=b"\n".join(one for one, _ in known), capture_output=True, check=True)
    assert done.stdout.decode().split("\n") == [text for _, text in known]


def test_reader_japanese_senders_state_ascii_first_and_the_kanji_set_after_it():
    found = parse(message("PID|1||1||山田^太郎||19480312", charset="~ISO IR87", codec="iso2022_jp"))
    assert (found.first("PID").get(5), found.first("PID").get(5, 2), found.codec) == ("山田", "太郎", "iso2022_jp_ext")


def test_reader_a_switch_to_an_undeclared_character_set_is_refused():
    frame = message("PID|1||1||山田^太郎||19480312", charset="UNICODE UTF-8", codec="iso2022_jp")
    assert refused(frame) == (102, "message")


def test_reader_bytes_contradicting_msh_18_are_102():
    assert refused(ADT.decode().encode("latin-1")) == (102, "MSH-18")
    assert refused(ADT.replace(b"UNICODE UTF-8", b"ASCII")) == (102, "MSH-18")


def test_reader_msh_18_read_again_from_the_text_must_be_the_same():
    name = next(c for c in map(chr, range(0x4E00, 0x9FFF)) if c.encode("gb18030")[1:] == b"|")
    frame = message(charset="GB 18030-2000").replace(b"|HIS|", b"|" + name.encode("gb18030") + b"|")
    assert refused(frame.replace(b"|2.5.1||||||", b"|2.5.1|||||")) == (102, "MSH-18")


def test_reader_empty_msh_18_is_the_feeds_default_and_a_feed_may_pin_a_codec():
    latin = message("PID|1||1||MÜLLER", charset="", codec="latin-1")
    assert parse(latin, default_charset="iso8859-1").first("PID").get(5) == "MÜLLER"
    assert refused(latin) == (102, "MSH-18")
    lying = message("PID|1||1||MÜLLER", charset="UNICODE UTF-8", codec="latin-1")
    assert parse(lying, pinned_charset="iso8859-1").first("PID").get(5) == "MÜLLER"
    assert refused(lying, default_charset="no such codec") == (102, "MSH-18")
    assert refused(latin, default_charset="no such codec") == (102, "MSH-18")


# "escape bombs"


def note(text, **how):
    return parse(message(f"NTE|1||{text}|", **how)).first("NTE").get(3)


def test_reader_escapes():
    assert note(r"a\F\b\S\\T\\R\\E\c\X41\\.br\\H\d\N\\e") == "a|b^&~\\cA\nd\\e"
    assert note(r"\.sp3\x\.in+4\y\.sk 2\z\.ce\\.fi\\.nf\\.ti-1\w") == "\nxy z\nw"
    assert note(r"\XC39C\\Xc3bc\ \XD\ ", codec="utf-8") == "Üü \ufffd "
    assert note("\\XDC\\", charset="8859/1", codec="latin-1") == "Ü"
    assert note("\\XB2A6\\", charset="BIG-5", codec="big5") == b"\xb2\xa6".decode("big5")
    assert note(r"\Q\ \.xx\ \Xzz\ ") == "\\Q\\ \\.xx\\ \ufffd "
    assert note("50\\ml") == "50\\ml", "an unterminated escape is kept literally"


def test_reader_escape_bombs():
    assert note("\\.sp99999999\\" * 500) == "\n" * 50
    assert note("\\.br\\" * 100_000) == "\n" * 50
    assert note("\\" * 99_999) == "\\" * 99_999
    assert note("\\X" + "41" * 100_000 + "\\") == "A" * 100_000
    assert note("\\X00\\") == "\ufffd", "no database takes a NUL"


def test_reader_character_set_escapes_are_replaced_and_warned_of():
    found = parse(message(r"NTE|1||\C2842\a\M2442\b\Z1\ |"))
    assert found.warnings == {}, "nothing was read yet"
    assert found.first("NTE").get(3) == "\ufffda\ufffdb\ufffd "
    assert found.warnings == {ESCAPE_NOT_READ: 3}


def test_reader_what_could_not_be_read_is_among_the_remarks_of_the_message():
    frame = message("PID|1||1^^^HOSP||\\C2842\\MÜLLER^ANNA")
    read = read_message(parse(frame), RULES, received_at=when())
    assert dict(read.remarks)[ESCAPE_NOT_READ] >= 1


# '`""` against empty'


def test_reader_explicit_delete_against_empty():
    found = parse(message('PID|1||1^^^H||""||""|')).first("PID")
    assert (found.get(7), found.get(6), found.get(30)) == (DELETE, "", "")
    assert (found.text(7), found.text(6)) == ("", "")
    assert parse(message('PID|1||1||A^""')).first("PID").get(5, 2) == DELETE


# "U+0085 in text"


@pytest.mark.parametrize("character", ["\u0085", "\u2028", "\u2029", "\x0b", "\x0c", "\x1d", "\x1e"])
def test_reader_u_0085_in_text(character):
    assert note(f"a{character}b") == f"a{character}b"


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_reader_lf_or_crlf_segment_ends_and_utf_8_bom(end):
    frame = ADT.decode().replace("\r", end).encode()
    assert [s.id for s in parse(frame).segments] == ["MSH", "EVN", "PID", "NK1", "PV1", "OBX"]
    assert parse(b"\0\r\n \xef\xbb\xbf" + frame + b"\0\0").header.id == "MSH"


# "fuzz raises only `HL7Error`": the long and the short form are tests/fuzz; here hypothesis looks for the small ones.


@given(st.binary(max_size=300))
@example(b"MSH\r|^~\\&")
@example(b"MSH|^~\\\xe4")
@example(b"MSH|^~\\&\x00")
def test_reader_fuzz_raises_only_hl7error(data):
    try:
        parse(data)
    except HL7Error as error:
        assert error.code in (100, 102, 103, 207)  # noqa: PT017 - it may also be a message


@given(st.randoms(use_true_random=False))
def test_reader_well_formed_messages_are_read(rng):
    found = parse(well_formed(rng))
    assert found.first("PID").get(8) in "FMOU"
    assert found.header.get(12) == "2.5.1"


# the remaining rules of section 3


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"", 207),
        (b"PID|1", 207),
        (b"FHS|^~\\&|", 207),
        (b"MSH", 102),
        (b"MSH|^~\\", 102),
        (b"MSH|^^\\&|", 102),
        (b"MSHA^~\\&A", 102),
        (b"MSH|^~1&|", 102),
        (b"MSH ^~\\& ", 102),
        ("MSH|^~\\ä|".encode(), 102),
        (b"MSH|^~\\&junk|A", 102),
    ],
)
def test_reader_five_distinct_printable_separators(head, code):
    assert refused(head)[0] == code


def test_reader_other_separators_and_the_truncation_character_of_v2_7():
    found = parse(b"MSH#@!%$#HIS#FAC####ADT@A08##P#2.5\rPID#1##1@@@H$1.2$ISO!2@@@K%F%")
    assert (found.first("PID").get(3, 4, 2), found.first("PID").get(3, 4, repetition=2)) == ("1.2", "K#")
    assert parse(ADT.replace(b"MSH|^~\\&|", b"MSH|^~\\&#|")).header.get(3) == "HIS"


def test_reader_fields_components_repetitions_and_missing_parts():
    found = parse(message("PID|1||1^^^H&1.2.3&ISO^MR~2^^^K||A^B||")).first("PID")
    assert (found.get(3), found.get(3, 4, 2), found.get(3, 4, repetition=2)) == ("1", "1.2.3", "K")
    assert (found.get(99, 7, 3), found.get(3, 9), found.get(3, 1, 2), found.get(3, repetition=3)) == ("", "", "", "")
    assert (found.repetitions(3), found.repetitions(2), found.repetitions(99)) == (2, 0, 0)
    header_segment = parse(ADT).header
    assert (header_segment.raw(1), header_segment.raw(2), header_segment.get(9, 2)) == ("|", "^~\\&", "A08")
    assert parse(ADT).first("ZZZ").get(3) == ""


def test_reader_a_second_msh_is_refused():
    for joint in (b"", b"\n", b"\r"):
        assert refused(ADT + joint + ADT) == (207, "MSH")
    assert refused(ADT + b"MSH")[0] == 207


def test_reader_segment_ids():
    assert parse(message("Z1A|x", "PID|1", " ", "OBX")).segments[1].id == "Z1A"
    for line in ("pid|1", "PI|1", "PIDX|1", "1ID|1", "continued text", " PID|1"):
        assert refused(message(line)) == (100, "message")


def test_reader_at_most_20000_segments():
    note_line = "NTE|1"
    assert len(parse(message(*[note_line] * (MAX_SEGMENTS - 1))).segments) == MAX_SEGMENTS
    assert refused(message(*[note_line] * MAX_SEGMENTS)) == (207, "message")
    assert refused(ADT + b"\r" * 5_000_000 + b"PID|1") == (207, "message"), "blank lines are not collected"


def test_reader_at_most_1000_repetitions_of_a_field_are_read():
    found = parse(message("PID|1||" + "~".join(f"{n}^^^H" for n in range(300_000))))
    segment = found.first("PID")
    assert segment.repetitions(3) == 1000
    assert segment.get(3, repetition=1000) == "999"
    assert found.warnings == {REPETITIONS_NOT_READ: 1}
    assert len(read_message(found, RULES, received_at=when()).facts[0].identity.identifiers) < 1000


def test_reader_a_nul_inside_a_message_is_refused():
    assert refused(message("NTE|1||a\0b")) == (102, "message")


def test_reader_errors_quote_nothing():
    frame = ADT.replace("MÜLLER".encode(), b"M\xdcLLERXX")
    with pytest.raises(HL7Error) as caught:
        parse(frame)
    assert "LLERXX" not in str(caught.value)
