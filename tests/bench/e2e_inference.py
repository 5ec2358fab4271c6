"""What every candidate of `bench-e2e` does with one image besides receiving it: the same model, report and delivery.

The bare steps and nothing else: no ledger, no retry, and no look-up of clinical data. A patient's are at hand instead,
for a report from the image alone is a smaller one than the node's. `python -m bench.e2e_inference FOLDER PORT` is the
cold form: a fresh interpreter for the files of one study, as `storescp --exec-on-eostudy` starts it.
"""

from __future__ import annotations

import datetime as dt
import sys
import uuid
from pathlib import Path
from zoneinfo import ZoneInfo

from support.engines import proven_screener

from config.settings import Delivery, Destination
from dicom_io.header import read_header
from dicom_io.radiograph import read_radiograph
from dicom_io.results import Installation, ReportContext, build_results
from dicom_io.storage_scu import OutgoingObject, send
from model.domain import ClinicalRecord, MatchClass, NotAssessed, Observation, Scored

SINK = "SINK"
RECORD = ClinicalRecord(
    match=MatchClass.MATCH_ISSUER,
    observations=(
        Observation(
            variable="weight",
            value=61.5,
            unit="kg",
            age_days=20.0,
            observation_id=1,
            source="HL7 ORU^R01 ER1",
            code="29463-7",
            observed_at=dt.datetime(2026, 11, 1, 9, tzinfo=dt.UTC),
        ),
    ),
)
"""As the node finds it of each patient of the benchmark."""


class Inference:
    """A warm model that brings the report of a file to the sink."""

    def __init__(self, sink_port: int) -> None:
        self._screener = proven_screener()
        self._sink = Destination(name="sink", ae_title=SINK, host="127.0.0.1", port=sink_port)

    def report(self, path: Path) -> None:
        """Decode, score, build page and SR, store both at the sink.

        Raises:
            AssertionError: the gate refuses the film; the benchmark's films are meant to pass.

        """
        radiograph = read_radiograph(path)
        image = self._screener.image_part(radiograph)
        result = image if isinstance(image, NotAssessed) else self._screener.combine(image, RECORD)
        assert isinstance(result, Scored), result
        context = ReportContext(
            site_name="bench",
            zone=ZoneInfo("UTC"),
            ae_title="OSTEON",
            installation=Installation(namespace=uuid.NAMESPACE_URL, serial="BENCH"),
            node_version="bench",
            at=dt.datetime.now(dt.UTC),
        )
        built = build_results(read_header(path), radiograph, result, context)
        objects = [
            OutgoingObject(sop_class_uid=o.sop_class_uid, sop_instance_uid=o.sop_instance_uid, part10=o.part10)
            for o in built
        ]
        send(objects, self._sink, Delivery())


def main() -> None:
    inference = Inference(int(sys.argv[2]))
    for path in sorted(Path(sys.argv[1]).iterdir()):
        inference.report(path)


if __name__ == "__main__":
    main()
