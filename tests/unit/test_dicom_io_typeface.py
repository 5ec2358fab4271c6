"""The packaged fonts: what they draw, and which face a Han character gets."""

import pytest
from pydicom.valuerep import PersonName

from dicom_io.canvas import wrapped
from dicom_io.typeface import BOLD, REGULAR, can_draw, drawable, face_of, length


@pytest.mark.parametrize(
    "text", ["Müller", "Иванова", "Παππά", "Nguyễn", "王小东", "山田太郎", "やまだ", "홍길동", "ŁÓDŹ 10 %"]
)
def test_names_of_many_scripts_are_drawn(text: str) -> None:
    assert can_draw(text)
    assert drawable(text) == text


@pytest.mark.parametrize("text", ["ܐܒܓ", "\U0001f9b4"])
def test_what_no_font_has_is_told(text: str) -> None:
    assert not can_draw(text)
    assert set(drawable(text)) == {"?"}


@pytest.mark.parametrize(
    ("name", "number"),
    [("Yamada^Tarou=山田^太郎=やまだ^たろう", 0), ("Hong^Gildong=洪^吉洞=홍^길동", 1), ("Wang^Xiaodong=王^小东", 2)],
)
def test_han_characters_take_the_face_of_their_country(name: str, number: int) -> None:
    """One code point, three customary shapes: the groups beside it tell which."""
    ideographic = str(PersonName(name).ideographic).replace("^", " ")
    face = face_of(ideographic, BOLD, among=name)
    assert (face.path.name, face.number) == ("NotoSansCJK-Regular.ttc", number)


@pytest.mark.parametrize("space", ["\t", "\n", "\u00a0", "\x1f"])
def test_a_space_without_a_glyph_is_drawn_as_a_plain_one(space: str) -> None:
    assert drawable(f"Ward{space}3") == "Ward 3"
    assert drawable(f"ܐ{space}3") == "? 3"


def test_weights_differ() -> None:
    regular, bold = face_of("Text", REGULAR), face_of("Text", BOLD)
    assert length("FLAGGED", regular, 40) < length("FLAGGED", bold, 40)


def test_chinese_and_japanese_are_wrapped_without_spaces_and_nothing_is_lost() -> None:
    reason = "この結果は撮影条件の誤りのため取り下げられました。「別の患者」の画像でした（確認済み）。PA 再検査を予定。"  # noqa: RUF001
    rows = wrapped(reason, 20, REGULAR, width=200, lines=99)
    assert "".join(rows) == reason.replace(" ", "") or "".join(rows) == reason
    assert len(rows) > 3
    assert all(length(row, face_of(reason, REGULAR), 20) <= 200 for row in rows)
    assert not any(row[0] in "。」）" or row[-1] in "「（" for row in rows)  # noqa: RUF001


def test_other_scripts_are_wrapped_between_words() -> None:
    rows = wrapped("Falsche  Patientin\nbestätigt, 12,5 %", 20, REGULAR, width=120, lines=99)
    assert " ".join(rows) == "Falsche Patientin bestätigt, 12,5 %"
    assert wrapped("one two three four", 20, REGULAR, width=1, lines=2) == ["one", "two three four"]
