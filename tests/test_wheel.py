"""The wheel without a checkout: it holds the whole package, and its commands run with the locked packages alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
SETTINGS_OF_DAGSTER = ("dagster.yaml", "workspace.yaml")


@dataclass(frozen=True)
class Installed:
    """The wheel in an environment of its own, and an empty directory to work in."""

    bin: Path
    home: Path

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.bin / program, *words],
            cwd=self.home,
            env={key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(home)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = home.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The locked packages come by links, since their own directory also leads to the checkout."""
    environment, packages = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("packages")
    venv.create(environment, symlinks=True)
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if "campaign_ops" not in package.name:
            (packages / package.name).symlink_to(package)
    purelib = sysconfig.get_path("purelib", "venv", {"base": str(environment)})
    (Path(purelib) / "packages.pth").write_text(f"{packages}\n")
    python = environment / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    return Installed(environment / "bin", tmp_path_factory.mktemp("elsewhere"))


def test_the_wheel_holds_the_package_and_dagsters_settings_and_nothing_else(wheel: Path) -> None:
    """Node's clients are not in it (`npm ci` brings them); the profiles, migrations and Node's worker are."""
    sources = {path.relative_to(ROOT) for path in (ROOT / "campaign_ops").rglob("*") if path.is_file()}
    package = {str(path) for path in sources if not {"__pycache__", "node_modules"}.intersection(path.parts)}
    package |= {f"campaign_ops/lab/demo/{name}" for name in SETTINGS_OF_DAGSTER}
    with ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == package
        for name in SETTINGS_OF_DAGSTER:
            assert archive.read(f"campaign_ops/lab/demo/{name}") == (ROOT / name).read_bytes()


def test_nothing_of_the_checkout_is_on_the_path(installed: Installed) -> None:
    """Else the other tests would say nothing of the wheel."""
    code = "import campaign_ops, json, sys; print(json.dumps([campaign_ops.__file__, *sys.path]))"
    places = json.loads(installed.run("python", "-c", code).stdout)
    assert [place for place in places if Path(place).is_relative_to(ROOT)] == []


def test_the_wheel_says_its_version(installed: Installed, wheel: Path) -> None:
    answer = installed.run("campaign-ops", "--version")
    assert (answer.returncode, answer.stdout.split()[-1]) == (0, wheel.name.split("-")[1])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "words",
    [["demo"], ["drill", "--seconds", "7", "--seed", "7", "--fault", "lose_jobs", "--no-dagster"]],
    ids=lambda words: words[0],
)
def test_the_lab_works_from_its_wheel(installed: Installed, words: list[str]) -> None:
    answer = installed.run("campaign-ops", *words)
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]
