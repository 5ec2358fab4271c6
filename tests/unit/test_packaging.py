"""What is installed: four packages, their data files, one command."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PACKAGES = {"node", "dicom_io", "model", "config"}
DATA = (
    "config/defaults.toml",
    "config/clinical_codes.toml",
    "model/phantom/cohort.json",
    "node/demo/autoroute.lua",
    "node/store/migrations/versions/",
    "model/bundles/demo/manifest.json",
)


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory):
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_exactly_the_four_packages(wheel_names):
    assert {name.split("/")[0] for name in wheel_names if ".dist-info/" not in name} == PACKAGES


@pytest.mark.parametrize("path", DATA)
def test_the_wheel_brings_its_data(wheel_names, path):
    assert any(name.startswith(path) for name in wheel_names), path


def test_no_other_installed_distribution_provides_our_package_names():
    providers = importlib.metadata.packages_distributions()
    assert {name: providers[name] for name in PACKAGES if set(providers.get(name, [])) - {"osteon"}} == {}
