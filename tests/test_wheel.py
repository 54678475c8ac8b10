"""The wheel without a checkout: it holds the whole package, and its commands run with the locked packages alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable
from dataclasses import dataclass
from email import message_from_bytes
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

from tests.conftest import Worlds
from tests.faces.cli.program import configured, environ, one_line

ROOT = Path(__file__).parents[1]
SITE = Path(sysconfig.get_path("purelib"))
SETTINGS_OF_DAGSTER = ("dagster.yaml", "workspace.yaml")


@dataclass(frozen=True)
class Installed:
    """The wheel in an environment of its own, and an empty directory to work in."""

    bin: Path
    home: Path

    def run(self, program: str, *words: object, **more: str | None) -> subprocess.CompletedProcess[str]:
        known = {key: value for key, value in more.items() if value is not None}
        return subprocess.run(
            [self.bin / program, *map(str, words)],
            cwd=self.home,
            env={key: value for key, value in environ(known).items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")},
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


def installed_with(packages: Iterable[str], wheel: Path, factory: pytest.TempPathFactory) -> Installed:
    """The wheel, and these files of the locked packages: by links, since their directory also leads to the checkout."""
    environment, links = factory.mktemp("environment"), factory.mktemp("packages")
    venv.create(environment, symlinks=True)
    for name in packages:
        (links / name).symlink_to(SITE / name)
    purelib = sysconfig.get_path("purelib", "venv", {"base": str(environment)})
    (Path(purelib) / "packages.pth").write_text(f"{links}\n")
    python = environment / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    return Installed(environment / "bin", factory.mktemp("elsewhere"))


def needed(requirements: Iterable[str], extras: Iterable[str] = ()) -> dict[str, set[str]]:
    """The packages that pip would install for these requirements, each with its files at the top of site-packages."""
    packages: dict[str, set[str]] = {}
    for requirement in map(Requirement, requirements):
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in ["", *extras]):
            continue
        package = distribution(requirement.name)
        tops = {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}
        packages |= {package.name.lower(): tops} | needed(package.requires or (), requirement.extras)
    return packages


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel with everything that is locked."""
    locked = [package.name for package in SITE.iterdir() if "campaign_ops" not in package.name]
    return installed_with(locked, wheel, tmp_path_factory)


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel without extras, as `pip install campaign_ops` installs it."""
    with ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        requirements = message_from_bytes(archive.read(metadata)).get_all("Requires-Dist")
    packages = needed(requirements or [])
    return installed_with(set().union(*packages.values()), wheel, tmp_path_factory)


def test_the_wheel_holds_the_package_and_dagsters_settings_and_nothing_else(wheel: Path) -> None:
    """Node's clients are not in it (`npm ci` brings them); the profiles, migrations and Node's worker are."""
    sources = {path.relative_to(ROOT) for path in (ROOT / "campaign_ops").rglob("*") if path.is_file()}
    package = {str(path) for path in sources if not {"__pycache__", "node_modules"}.intersection(path.parts)}
    package |= {f"campaign_ops/settings/{name}" for name in SETTINGS_OF_DAGSTER}
    with ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == package
        for name in SETTINGS_OF_DAGSTER:
            assert archive.read(f"campaign_ops/settings/{name}") == (ROOT / name).read_bytes()


def test_its_description_leads_to_no_file_of_the_checkout(wheel: Path) -> None:
    """A package index shows README.md, but has no docs/ and no pictures."""
    with ZipFile(wheel) as archive:
        (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        description = archive.read(metadata).decode().partition("\n\n")[2]
    assert description.startswith("# campaign_ops")
    assert "Before each fix it says whether it can be undone." in description
    assert "| see what needs a person, and the next step | `campaign-ops incidents`" in description
    assert [link for link in re.findall(r"\]\(([^)]*)\)", description) if not link.startswith("http")] == []


def test_nothing_of_the_checkout_is_on_the_path(installed: Installed) -> None:
    """Else the other tests would say nothing of the wheel."""
    code = "import campaign_ops, json, sys; print(json.dumps([campaign_ops.__file__, *sys.path]))"
    places = json.loads(installed.run("python", "-c", code).stdout)
    assert [place for place in places if Path(place).is_relative_to(ROOT)] == []


def test_the_wheel_says_its_version(installed: Installed, wheel: Path) -> None:
    answer = installed.run("campaign-ops", "--version")
    assert (answer.returncode, answer.stdout.split()[-1]) == (0, wheel.name.split("-")[1])


def test_the_base_install_is_free_of_dagster_and_fastapi(base: Installed) -> None:
    extras = [
        "dagster",
        "dagster_celery",
        "dagster_postgres",
        "opentelemetry",
        "pandas",
        "fastapi",
        "starlette",
        "jinja2",
        "psutil",
        "matplotlib",
    ]
    code = f"import json; from importlib.util import find_spec; print([name for name in {extras} if find_spec(name)])"
    assert base.run("python", "-c", code).stdout == "[]\n"


def test_the_base_install_examines_sweeps_and_watches(base: Installed, worlds: Worlds, tmp_path: Path) -> None:
    world = worlds.make("sms", migrated=False)
    world.app.add_campaign("finished", succeeded=3)
    world.app.add_campaign("lost", pending=7)
    config = configured(tmp_path, world).config
    assert "reconcile" in base.run("campaign-ops", "--help").stdout
    for command in ("migrate", "config", "doctor", "status", "reconcile", "metrics"):
        answer = base.run("campaign-ops", command, "--config", config)
        expected = 5 if command == "doctor" else 0  # the tests' role may do more than it should
        assert (answer.returncode, answer.stderr) == (expected, ""), command
    assert world.app.campaign("finished")["status"] == "sent"
    assert {world.queue.campaign_of(job) for job in world.queue.live_job_ids()} == {"lost"}
    watched = base.run("campaign-ops", "watch", "--once", "--config", config)
    assert "Traceback" not in watched.stderr
    written = base.run("campaign-ops", "init", tmp_path / "drafted", DATABASE_URL=world.url, REDIS_URL=world.queue_url)
    assert written.returncode == 0, written.stderr
    assert [path.name for path in (tmp_path / "drafted").iterdir()] == ["campaign_ops.yaml"]  # no Dagster there
    assert world.rows("SELECT count(*) AS looks FROM campaign_ops.queue_look")[0]["looks"] == 1


@pytest.mark.parametrize(("command", "extra"), [("serve", "http"), ("demo", "lab"), ("up", "lab"), ("drill", "lab")])
def test_a_command_that_needs_an_extra_names_it_in_one_line(command: str, extra: str, base: Installed) -> None:
    answer = base.run("campaign-ops", command)
    assert answer.returncode == 2
    assert one_line(answer.stderr).endswith(f"install it with: pip install 'campaign_ops[{extra}]'")


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
    assert "`make " not in answer.stdout  # there is no Makefile; the demo ended with two of its targets
