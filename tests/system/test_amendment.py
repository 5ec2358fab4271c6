"""Late clinical data through the whole node: an image-only report, then HL7, then a second SR that names the first."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import time

import pydicom
import pytest
from support.dcmtk import dcmsend, errors_of
from support.hospital import Hospital, await_true
from support.tools import require_tool

from model.domain import MatchClass, Mode
from node.case import Delivered
from node.demo import messages
from node.demo.phantoms import demo_patients, film

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    require_tool("Orthanc")
    with Hospital(tmp_path_factory.mktemp("hospital"), wait=0.0, more="amend_settle = 1.0") as running:
        yield running


def test_an_image_only_report_is_amended_once_in_its_own_series_and_names_the_first(hospital, tmp_path):
    made = film(demo_patients(1, 23)[0], number=1, taken_at=NOW, rows=700, seed=23)
    path = tmp_path / "film.dcm"
    path.write_bytes(made.object.part10)
    dcmsend(hospital.dicom_port, path, called="OSTEON")
    await_version(hospital, made, 1)
    first = hospital.case_of(made.object.sop_instance_uid)
    assert first.result.mode is Mode.IMAGE_ONLY

    visit = messages.Visit(
        identity=made.identity,
        weight_kg=made.patient.weight_kg,
        height_cm=made.patient.height_cm,
        measured_at=NOW - dt.timedelta(days=30),
        accession=made.accession,
    )
    tell(hospital, messages.adt_a04(visit, control_id="A1", sent_at=NOW))
    tell(hospital, messages.oru_r01(visit, control_id="R1", sent_at=NOW))
    await_version(hospital, made, 2)
    second = hospital.case_of(made.object.sop_instance_uid)
    assert (second.result.mode, second.match) == (Mode.IMAGE_AND_CLINICAL, MatchClass.MATCH_ISSUER)
    assert second.result.p_image == first.result.p_image

    heavier = dataclasses.replace(visit, weight_kg=visit.weight_kg + 20, measured_at=NOW - dt.timedelta(days=10))
    tell(hospital, messages.oru_r01(heavier, control_id="R2", sent_at=NOW))
    time.sleep(4.0)  # longer than the settling time: a third version would be there by now
    assert hospital.case_of(made.object.sop_instance_uid) == second
    in_the_pacs(hospital, made, first, second, tmp_path)


def in_the_pacs(hospital, made, first, second, folder):
    found = hospital.results(made.study_uid)
    assert {kind: len(objects) for kind, objects in found.items()} == {"sr": 2, "page": 2}
    v1, v2 = sorted((pydicom.dcmread(io.BytesIO(b)) for b in found["sr"]), key=lambda d: int(d.InstanceNumber))
    assert [v1.SOPInstanceUID, v2.SOPInstanceUID] == [c.objects[-1].sop_instance_uid for c in (first, second)]
    assert [int(v.InstanceNumber) for v in (v1, v2)] == [1, 2]
    assert v1.SeriesInstanceUID == v2.SeriesInstanceUID
    series = v2.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.SeriesInstanceUID == v1.SeriesInstanceUID
    assert [r.ReferencedSOPInstanceUID for r in series.ReferencedSOPSequence] == [v1.SOPInstanceUID]
    for kind, objects in found.items():
        for number, part10 in enumerate(objects):
            path = folder / f"{kind}{number}.dcm"
            path.write_bytes(part10)
            assert errors_of("dciodvfy", "-new", str(path), marks=("Error",)) == []


def tell(hospital, frame):
    (answer,) = messages.send_mllp(hospital.mllp_port, [frame])
    assert b"\rMSA|AA|" in answer


def await_version(hospital, made, version):
    def there():
        case = hospital.case_of(made.object.sop_instance_uid)
        return isinstance(case, Delivered) and case.version == version

    await_true(there, f"version {version} is delivered")
