"""No validator notices a wrong code: each is compared with pydicom's copy of the standard's dictionary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.sr import _concepts_dict
from pydicom.sr.coding import Code

from dicom_io import codes

ALL = [value for value in vars(codes).values() if isinstance(value, Code)]
NOT_IN_DICTIONARY = {("64859006", "SCT"), ("C0034375", "UMLS"), ("en", "RFC5646"), ("{pixels}", "UCUM")}
NAMED_OTHERWISE = {("260753009", "SCT"): "Source", ("113014", "DCM"): "DICOM Study"}


def meanings(code: Code) -> set[str]:
    table = _concepts_dict.concepts.get(code.scheme_designator, {})
    return {entry[code.value][0] for entry in table.values() if code.value in entry}


@pytest.mark.parametrize("code", ALL, ids=lambda c: f"{c.scheme_designator}-{c.value}")
def test_code_has_the_meaning_of_the_dictionary(code: Code) -> None:
    key = (code.value, code.scheme_designator)
    assert len(code.value) <= codes.MAX_VALUE
    assert len(code.meaning) <= codes.MAX_MEANING
    if code.scheme_designator == codes.PRIVATE_SCHEME or key in NOT_IN_DICTIONARY:
        return
    if key in NAMED_OTHERWISE:
        assert code.meaning == NAMED_OTHERWISE[key]
        return
    assert code.meaning in meanings(code)


def test_no_code_stands_twice() -> None:
    keys = [(c.value, c.scheme_designator) for c in ALL]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(("ucum", "meaning"), [("%", "Percent"), ("", "no units"), ("a", "year"), ("cm", "cm")])
def test_unit_meaning_is_the_standards(ucum: str, meaning: str) -> None:
    assert codes.unit(ucum).meaning == meaning
    assert meaning in meanings(codes.unit(ucum))


def test_unit_outside_the_dictionary_is_its_own_meaning() -> None:
    assert codes.unit("kg") == Code("kg", "UCUM", "kg")


@given(st.text("abcdefghij_", min_size=1, max_size=60))
def test_private_code_of_a_variable_fits(variable: str) -> None:
    code = codes.local_variable(variable, variable)
    assert len(code.value) <= codes.MAX_VALUE
    assert len(code.meaning) <= codes.MAX_MEANING


def test_long_variables_keep_distinct_codes() -> None:
    names = ("urea_nitrogen_serum_fasting", "urea_nitrogen_serum_random", "urea_nitrogen")
    assert len({codes.local_variable(n, n).value for n in names}) == 3
