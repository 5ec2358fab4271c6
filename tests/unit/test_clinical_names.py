import dataclasses
import datetime as dt
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hl7 import identity

from model.domain import NameGroup, PatientIdentity, PersonName, Sex
from node.names import Contradiction, agree, conflicts, contradictions, placeholder


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("MÜLLER", "MUELLER", True),
        ("MÜLLER", "Muller", True),
        ("MÜLLER", "MU\u0308LLER", True),
        ("MÖLLER", "MAYER", False),
        ("SØRENSEN", "SORENSEN", True),
        ("SØRENSEN", "SOERENSEN", True),
        ("GROSS", "GROß", True),
        ("WAŁĘSA", "WALESA", True),
        ("O'BRIEN", "OBRIEN", True),
        ("SMITH", "SMYTH", True),
        ("SMITH", "SCHMIDT", False),
        ("ИВАНОВА", "ИВАНОВА", True),
        ("ИВАНОВА", "ПЕТРОВА", False),
    ],
)
def test_name_folding(one, other, same):
    assert agree(identity(family=one), identity(family=other)) is same
    assert conflicts(identity(family=one), identity(family=other)) == (not same)


def test_an_incomparable_name_neither_agrees_nor_conflicts():
    latin, other = identity(family="YAMADA", given="TARO"), identity(family="山田", given="太郎")
    assert not agree(latin, other)
    assert conflicts(latin, other) == 0


def groups(**named):
    """An identity whose name has these component groups, each `FAMILY^GIVEN`."""
    parts = {
        group: NameGroup(**dict(zip(("family", "given"), text.split("^"), strict=True)))
        for group, text in named.items()
    }
    return PatientIdentity(name=PersonName(**parts), birth_date=dt.date(1948, 3, 12), sex=Sex.FEMALE)


def test_an_empty_reduction_means_unknown_and_two_of_them_do_not_agree():
    """Reduction to A-Z turns every ideographic name into the empty string, and two empty strings would agree."""
    assert not agree(groups(alphabetic="山田^花子"), groups(alphabetic="佐藤^恵子"))
    assert not agree(groups(alphabetic="^"), groups(alphabetic="^"))
    assert not agree(groups(alphabetic="-^."), groups(alphabetic="-^."))
    assert conflicts(groups(alphabetic="^"), groups(alphabetic="MÜLLER^ANNA")) == 0


@pytest.mark.parametrize("name", ["ØSTERGÅRD", "ŁUKASZ", "STRAUß", "ÞÓR", "ĐURIĆ", "ŒUVRARD", "ÆGIR"])
def test_letters_that_do_not_decompose_do_not_vanish(name):
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    assert agree(identity(family=name), identity(family=name.lower()))
    assert len(plain) < len(name), "what a plain NFKD reduction would leave"
    for spelled in {"ØSTERGÅRD": ("OSTERGARD", "OESTERGAARD"), "STRAUß": ("STRAUSS",), "ŁUKASZ": ("LUKASZ",)}.get(
        name, ()
    ):
        assert agree(identity(family=name), identity(family=spelled))


def test_umlauts_are_tried_both_ways_and_the_nearer_counts():
    assert agree(identity(family="MÜLLER"), identity(family="MUELLR")), "one edit from MUELLER"
    assert agree(identity(family="MÜLLER"), identity(family="MULLR")), "one edit from MULLER"
    assert not agree(identity(family="MÜLLER"), identity(family="MULR"))


def test_given_names_are_compared_by_their_initial():
    assert agree(identity(given="ANNA MARIA"), identity(given="A."))
    assert agree(identity(given="ÖZLEM"), identity(given="OEZLEM"))
    assert contradictions(identity(given="ANNA"), identity(given="BERTA")) == (Contradiction.GIVEN_INITIAL,)


def test_groups_meet_only_their_like():
    both = groups(alphabetic="YAMADA^HANAKO", ideographic="山田^花子")
    assert agree(both, groups(alphabetic="YAMADA^HANAKO"))
    assert agree(both, groups(ideographic="山田^花子"))
    assert not agree(groups(alphabetic="YAMADA^HANAKO"), groups(ideographic="山田^花子"))
    assert conflicts(groups(alphabetic="YAMADA^HANAKO"), groups(ideographic="佐藤^恵子")) == 0
    assert agree(groups(alphabetic="山田^花子"), both), (
        "an ideographic name in the alphabetic group is one all the same"
    )


def test_one_group_that_contradicts_is_a_contradiction():
    """Satō Keiko and Satō Keiko: only the ideographic group tells homonyms apart."""
    one, other = (groups(alphabetic="SATO^KEIKO", ideographic=text) for text in ("佐藤^恵子", "左東^圭子"))
    assert not agree(one, other)
    assert contradictions(one, other) == (Contradiction.FAMILY_NAME, Contradiction.GIVEN_INITIAL)


def test_the_ideographic_group_has_no_edit_distance():
    assert not agree(groups(ideographic="山田^花子"), groups(ideographic="山本^花子"))
    assert agree(groups(ideographic="山田^花子"), groups(ideographic=" 山田 ^花子"))


def test_a_reading_is_one_in_either_kana():
    assert agree(groups(phonetic="ヤマダ^ハナコ"), groups(phonetic="やまだ^はなこ"))
    assert agree(groups(phonetic="ﾔﾏﾀﾞ^ﾊﾅｺ"), groups(phonetic="ヤマダ^ハナコ"))
    assert not agree(groups(phonetic="ヤマダ^ハナコ"), groups(phonetic="サトウ^ケイコ"))
    assert agree(groups(phonetic="홍^길동"), groups(phonetic=unicodedata.normalize("NFD", "홍^길동")))


def test_swapped_names_agree_in_any_script():
    assert agree(identity(family="ANNA", given="MÜLLER"), identity(family="MUELLER", given="ANNA"))
    assert agree(groups(ideographic="花子^山田"), groups(ideographic="山田^花子"))
    assert not agree(identity(family="ANNA", given="MULLR"), identity(family="MÜLLER", given="ANNA")), "exactly, then"


def test_a_stand_in_says_nothing():
    assert placeholder(identity(family="DOE", given="JANE").name)
    assert conflicts(identity(family="DOE", given="JANE"), identity()) == 0
    assert not agree(identity(family="UNKNOWN", given=""), identity(family="UNKNOWN", given=""))
    assert not agree(identity(born=dt.date(1900, 1, 1)), identity(born=dt.date(1900, 1, 1))), "nobody's birth date"
    assert conflicts(identity(born=dt.date(1900, 1, 1)), identity()) == 0


latin = st.text("ABEMRSÄÖÜØŁßéÅ' -", max_size=8)
other_script = st.text("山田花子佐藤ИВАНОヤマダ홍길", max_size=4)
parts = st.builds(NameGroup, family=latin | other_script, given=latin | other_script)
names = st.builds(PersonName, alphabetic=parts, ideographic=parts, phonetic=parts)
people = st.builds(
    PatientIdentity,
    name=names,
    birth_date=st.sampled_from([None, dt.date(1948, 3, 12), dt.date(1950, 1, 1)]),
    sex=st.sampled_from(Sex),
)


@given(people, people)
def test_comparing_is_symmetric_and_what_agrees_does_not_conflict(one, other):
    assert agree(one, other) == agree(other, one)
    assert contradictions(one, other) == contradictions(other, one)
    if agree(one, other):
        assert conflicts(one, other) == 0


@given(people)
def test_nobody_contradicts_himself(one):
    assert conflicts(one, one) == 0


def swapped(group):
    return NameGroup(family=group.given, given=group.family)


@given(latin, latin)
def test_swapping_family_and_given_name_changes_no_agreement(family, given_name):
    one = identity(family=family, given=given_name)
    turned = dataclasses.replace(one, name=PersonName(alphabetic=swapped(one.name.alphabetic)))
    assert agree(one, turned) == agree(one, one)


@given(
    latin, latin, st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]), st.sampled_from([str.upper, str.lower, str.title])
)
def test_folding_looks_through_case_and_unicode_form(family, given_name, form, case):
    one = identity(family=family, given=given_name)
    other = identity(family=case(unicodedata.normalize(form, family)), given=unicodedata.normalize(form, given_name))
    assert conflicts(one, other) == 0
    assert agree(one, other) == agree(one, one)


@given(people, people)
def test_an_empty_side_neither_agrees_nor_conflicts(one, other):
    nobody = dataclasses.replace(other, name=PersonName(), birth_date=None)
    assert not agree(one, nobody)
    assert conflicts(one, nobody) == 0
