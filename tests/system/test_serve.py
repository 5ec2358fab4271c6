"""`osteon serve` as an administrator meets it: stop, crash, PACS down, and mistakes in the configuration."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import subprocess
import sys
import time

import pytest
from support.dcmtk import dcmsend
from support.hospital import Hospital, await_true
from support.tools import require_tool

from model.screener import DEMO_BUNDLE
from node.case import Delivered, Reported
from node.demo.node_process import free_port
from node.demo.phantoms import demo_patients, film

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]
NOW = dt.datetime(2026, 1, 5, 9, 30, tzinfo=dt.UTC)
OSTEON = (sys.executable, "-P", "-c", "from node.entry import main; main()")


def osteon(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*OSTEON, *arguments], capture_output=True, text=True, check=False, timeout=120)


def a_film(folder, number: int):
    made = film(demo_patients(4, 5)[number], number=number + 1, taken_at=NOW, rows=500, seed=5)
    path = folder / f"film{number}.dcm"
    path.write_bytes(made.object.part10)
    return made, path


def test_results_wait_while_the_pacs_is_down_and_a_killed_node_goes_on_where_it_stopped(tmp_path):
    require_tool("Orthanc")
    with Hospital(tmp_path, wait=0.0) as hospital:
        hospital.orthanc.stop()
        first, first_path = a_film(tmp_path, 0)
        second, second_path = a_film(tmp_path, 1)
        dcmsend(hospital.dicom_port, first_path, called="OSTEON")
        await_true(lambda: isinstance(hospital.case_of(first.object.sop_instance_uid), Reported), "reported, PACS down")
        dcmsend(hospital.dicom_port, second_path, called="OSTEON")
        hospital.node.kill()
        assert hospital.case_of(second.object.sop_instance_uid) is not None, "acknowledged, so it is in the ledger"
        hospital.orthanc.start()
        hospital.node.start()
        for made in (first, second):
            uid = made.object.sop_instance_uid
            await_true(lambda uid=uid: isinstance(hospital.case_of(uid), Delivered), "delivered after the restart")
            assert [len(v) for v in hospital.results(made.study_uid).values()] == [1, 1]


def test_sigterm_stops_the_node_within_ten_seconds(tmp_path):
    require_tool("Orthanc")
    with Hospital(tmp_path, wait=0.0) as hospital:
        made, path = a_film(tmp_path, 2)
        dcmsend(hospital.dicom_port, path, called="OSTEON")
        started = time.monotonic()
        assert hospital.node.stop() == 0
        assert time.monotonic() - started < 10
        assert hospital.case_of(made.object.sop_instance_uid) is not None


def test_a_bundle_with_a_changed_byte_is_one_line_and_status_2(tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(DEMO_BUNDLE, bundle)
    weights = bytearray((bundle / "image.safetensors").read_bytes())
    weights[-1] ^= 1
    (bundle / "image.safetensors").write_bytes(weights)
    config = tmp_path / "osteon.toml"
    config.write_text(
        f'[storage]\ndata_dir = "{tmp_path}/data"\n[model]\nbundle = "{bundle}"\n'
        f"[reception]\nport = {free_port()}\n[clinical.mllp]\nport = {free_port()}\n",
        encoding="utf-8",
    )
    done = osteon("serve", "--config", str(config))
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("osteon: ")]
    assert "image.safetensors" in line


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[reception]\nprot = 1\n", "unknown key 'reception.prot'"),
        ("[reception]\nport = {busy}\n", "reception.port"),
        ('[model]\nbundle = "/nowhere"\n[reception]\nport = {free}\n[clinical.mllp]\nport = {free2}\n', "/nowhere"),
        (
            (
                '[report]\ncontent_qualification = "PRODUCT"\nproduct_reason = "CE"\n[model]\nworkers = 1\n'
                "[reception]\nport = {free}\n[clinical.mllp]\nport = {free2}\n"
            ),
            "was trained on simulated images",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_line_and_status_2(tmp_path, toml, says):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        text = toml.format(busy=busy.getsockname()[1], free=free_port(), free2=free_port())
        config = tmp_path / "osteon.toml"
        config.write_text(f'{text}\n[storage]\ndata_dir = "{tmp_path}/data"\n', encoding="utf-8")
        done = osteon("serve", "--config", str(config))
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("osteon: ")]
    assert len(lines) == 1
    assert says in lines[0]
    assert "Traceback" not in done.stderr


def test_a_second_node_on_the_same_data_is_refused(tmp_path):
    require_tool("Orthanc")
    with Hospital(tmp_path, wait=0.0) as hospital:
        done = osteon("serve", "--config", str(hospital.node.config))
    assert done.returncode == 2
    assert "storage.data_dir" in done.stderr
