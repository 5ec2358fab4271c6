import dataclasses
import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.phantom.cohort import sample
from model.train.people import Member, virtual_members
from model.train.split import (
    LeakageError,
    Split,
    TooFewPatients,
    latest_films,
    one_film_each,
    refuse_shared_patients,
    split_by_time,
)

FIRST = dt.date(2020, 1, 1)


def site(seed):
    """Films of patients who come once or several times, in any order."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(30, 120))
    patients, days = rng.integers(0, count // 2, count), rng.integers(0, 400, count)
    return tuple(
        Member(patient=f"p{own}", acquired_on=FIRST + dt.timedelta(days=int(day)), stratum=f"F-{own % 2}")
        for own, day in zip(patients, days, strict=True)
    )


@given(seed=st.integers(0, 10_000))
def test_no_patient_is_in_two_parts_and_no_film_is_lost(seed):
    members = site(seed)
    split = split_by_time(members, folds=3, held_out=0.2, seed=seed)
    parts = [{members[i].patient for i in part} for part in (*split.folds, split.test)]
    assert sum(map(len, parts)) == len(set.union(*parts))
    positions = [*split.train, *split.test, *split.left_out]
    assert sorted(positions) == list(range(len(members)))


@given(seed=st.integers(0, 10_000))
def test_the_held_out_part_is_later_than_all_that_was_learned_from(seed):
    members = site(seed)
    split = split_by_time(members, folds=3, held_out=0.2, seed=0)
    assert all(members[i].acquired_on < split.cut for i in (*split.train, *split.left_out))
    assert all(members[i].acquired_on >= split.cut for i in split.test)


@given(seed=st.integers(0, 10_000))
def test_patients_kept_from_the_network_that_ships_are_in_the_folds_with_all_their_films(seed):
    members = site(seed)
    split = split_by_time(members, folds=3, held_out=0.2, seed=seed, apart=0.3)
    assert sorted((*split.shipped, *split.apart)) == list(split.train)
    assert not {members[i].patient for i in split.apart} & {members[i].patient for i in split.shipped}
    assert dataclasses.replace(split, apart=()) == split_by_time(members, folds=3, held_out=0.2, seed=seed)


def test_those_kept_apart_have_the_shares_of_sex_and_class():
    members = virtual_members(sample(2000, 1))
    split = split_by_time(members, folds=2, held_out=0.2, seed=1, apart=0.25)
    assert len(split.apart) == pytest.approx(400, abs=2)
    for stratum in {member.stratum for member in members}:
        shares = [np.mean([members[i].stratum == stratum for i in part]) for part in (split.apart, split.train)]
        assert shares[0] == pytest.approx(shares[1], abs=0.003)


def test_earlier_films_of_a_held_out_patient_train_nothing():
    days = {"a": (0, 99), "b": (1,), "c": (2,), "d": (3,), "e": (4,), "f": (98,)}
    members = tuple(
        Member(patient=name, acquired_on=FIRST + dt.timedelta(days=day), stratum="F-0")
        for name, own in days.items()
        for day in own
    )
    split = split_by_time(members, folds=2, held_out=1 / 3, seed=0)
    assert split.left_out == (0,)
    assert {members[i].patient for i in split.test} == {"a", "f"}
    assert {members[i].patient for i in split.train} == {"b", "c", "d", "e"}


def test_folds_have_the_shares_of_sex_and_class():
    patients = sample(2000, 1)
    split = split_by_time(virtual_members(patients), folds=5, held_out=0.2, seed=1)
    assert [len(fold) for fold in split.folds] == [pytest.approx(320, abs=1)] * 5
    assert len(split.test) == pytest.approx(400, abs=3)
    for trait in (lambda p: p.osteoporosis, lambda p: p.subject.female):
        shares = [np.mean([trait(patients[i]) for i in fold]) for fold in split.folds]
        assert max(shares) - min(shares) < 0.01


def test_a_fold_is_never_in_what_its_network_is_trained_on():
    split = split_by_time(virtual_members(sample(100, 1)), folds=5, held_out=0.2, seed=1)
    for k, fold in enumerate(split.folds):
        assert not set(fold) & set(split.without(k))
        assert set(fold) | set(split.without(k)) == set(split.train)
        assert not set(split.test) & set(split.without(k))


def test_a_patient_in_two_parts_is_refused():
    members = virtual_members(sample(30, 1))
    split = split_by_time(members, folds=3, held_out=0.2, seed=0)
    refuse_shared_patients(split, members)
    same = (*members[:-1], dataclasses.replace(members[-1], patient=members[split.folds[0][0]].patient))
    with pytest.raises(LeakageError, match="two parts"):
        refuse_shared_patients(split, same)
    two_films = (members[0], members[0], members[1])
    by_film = Split(folds=((0,), (1,)), test=(2,), left_out=(), cut=FIRST)
    with pytest.raises(LeakageError, match="divide by patient"):
        refuse_shared_patients(by_film, two_films)


@given(seed=st.integers(0, 10_000))
def test_networks_are_asked_about_the_latest_film_of_each_patient(seed):
    members = site(seed)
    split = split_by_time(members, folds=3, held_out=0.2, seed=seed, apart=0.3)
    asked = one_film_each(split, members)
    for own, part in zip((*asked.folds, asked.test, asked.apart), (*split.folds, split.test, split.apart), strict=True):
        assert sorted(members[i].patient for i in own) == sorted({members[i].patient for i in part})
        days = {patient: [m.acquired_on for i in part if (m := members[i]).patient == patient] for patient in
                {members[i].patient for i in part}}  # fmt: skip
        assert all(members[i].acquired_on == max(days[members[i].patient]) for i in own)


def test_patients_of_one_film_each_are_asked_as_they_were_divided():
    members = virtual_members(sample(100, 1))
    split = split_by_time(members, folds=3, held_out=0.2, seed=1, apart=0.3)
    assert one_film_each(split, members) == split
    assert latest_films((5, 3, 4), members) == (5, 3, 4)


def test_too_few_patients_are_refused():
    with pytest.raises(TooFewPatients, match="too few"):
        split_by_time(virtual_members(sample(4, 1)), folds=5, held_out=0.2, seed=0)


def test_virtual_patients_come_in_the_order_of_their_number():
    members = virtual_members(sample(10, 1))
    assert [m.acquired_on.isoformat() for m in members[::3]] == ["2019-01-02", "2019-01-03", "2019-01-04", "2019-01-05"]
