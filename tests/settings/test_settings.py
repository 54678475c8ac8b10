"""Which file is read, what it gives, and that code and documents agree."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from pydantic import SecretStr

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.core.policy import EmptyPolicy, Policy
from campaign_ops.settings import PlatformSettings, Timeouts, describe_settings, load_settings, markdown_table
from campaign_ops.settings.environment import FILE_NAME, find_file
from tests.settings.files import DATABASE, QUEUE, and_second, load, only, sms

ROOT = Path(__file__).parents[2]


def test_a_platform_with_nothing_but_its_addresses_gets_the_defaults() -> None:
    platform = only(sms())
    assert platform == PlatformSettings(
        name="sms",
        profile=platform.profile,
        database_url=SecretStr(DATABASE.replace("postgresql:", "postgresql+psycopg:")),
        queue_url=SecretStr(QUEUE),
    )
    assert platform.profile.name == "sms"
    assert (platform.policy, platform.timeouts) == (Policy(), Timeouts())
    assert (platform.queue_prefix, platform.schedule, platform.contact) == ("bull", "*/10 * * * *", None)


def test_what_is_written_replaces_the_defaults() -> None:
    platform = only(
        sms(
            "queue_prefix: '{bull}'",
            "contact: team:messaging",
            "schedule: '@hourly'",
            "thresholds: {stuck_after_seconds: 60, empty_campaigns: complete, breaker_share: 1}",
            "timeouts: {lock_seconds: 0.5}",
        )
    )
    assert platform.policy == Policy(stuck_after_seconds=60, empty_campaigns=EmptyPolicy.COMPLETE, breaker_share=1)
    assert platform.timeouts == Timeouts(lock_seconds=0.5)
    assert (platform.queue_prefix, platform.contact, platform.schedule) == ("{bull}", "team:messaging", "@hourly")


def test_a_section_with_every_line_commented_out_is_as_good_as_absent() -> None:
    assert only(sms("thresholds:", "contact:", "queue_prefix:")).policy == Policy()


def test_thresholds_can_be_shared_by_an_anchor() -> None:
    text = sms("thresholds: &slow {stuck_after_seconds: 3600, max_attempts: 2}")
    second = and_second(sms("thresholds:", "  <<: *slow", "  max_attempts: 5"))
    policy = load(text + second).platform("second").policy
    assert (policy.stuck_after_seconds, policy.max_attempts) == (3600, 5)


def test_variables_stand_anywhere_in_a_value_and_may_have_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "p%40ss")
    monkeypatch.setenv("EMPTY", "")
    platform = only(
        sms(
            "queue_prefix: a-${EMPTY:-b}-$${c}",
            "thresholds: {max_attempts: '${ATTEMPTS:-7}'}",
            database="postgres://app:${PASSWORD}@${HOST:-db}/app",
        )
    )
    assert platform.database_url.get_secret_value() == "postgresql+psycopg://app:p%40ss@db/app"
    assert platform.queue_prefix == "a-b-${c}"
    assert platform.policy.max_attempts == 7


def test_the_example_file_loads_given_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    example = (ROOT / "campaign_ops.example.yaml").read_text()
    for name in re.findall(r"\$\{(\w+_URL)\}", example):
        monkeypatch.setenv(name, QUEUE if "REDIS" in name else DATABASE + name.lower())
    settings = load(example)
    assert (settings.names, settings.broken) == (("sms", "messenger"), ())


def test_the_example_file_with_every_key_commented_in_says_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commented lines are what people copy: they must be right too."""
    example = (ROOT / "campaign_ops.example.yaml").read_text()
    _, platforms = example.split("platforms:\n")
    keys = re.sub(r"^( +)# (?=( *[a-z_]+: ?|- name))", r"\1", platforms, flags=re.MULTILINE)
    for name in re.findall(r"\$\{(\w+_URL)\}", keys):
        monkeypatch.setenv(name, QUEUE if "REDIS" in name else DATABASE + name.lower())
    settings = load(f"platforms:\n{keys}")
    assert settings.broken == ()
    assert [platform.name for platform in settings.platforms] == ["sms", "messenger", "shop"]
    assert (settings.platforms[0].policy, settings.platforms[0].timeouts) == (Policy(), Timeouts())
    assert settings.platforms[2].profile.reservation is None
    assert settings.platforms[2].profile.campaign.words.done == "completed"


def test_the_variable_names_the_file_before_the_current_directory_and_dagsters_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    (home / "campaign_ops.yaml").write_text(sms())
    assert load_settings().path == home / "campaign_ops.yaml"
    Path("campaign_ops.yaml").write_text(sms())
    assert load_settings().path == Path("campaign_ops.yaml")
    (tmp_path / "other.yaml").write_text(sms())
    monkeypatch.setenv("CAMPAIGN_OPS_CONFIG", str(tmp_path / "other.yaml"))
    assert load_settings().path == tmp_path / "other.yaml"
    assert load_settings(home / "campaign_ops.yaml").path == home / "campaign_ops.yaml"


def test_a_named_file_that_is_not_there_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("campaign_ops.yaml").write_text(sms())
    monkeypatch.setenv("CAMPAIGN_OPS_CONFIG", "gone.yaml")
    with pytest.raises(ConfigurationError, match=r"^CAMPAIGN_OPS_CONFIG: no such file: gone\.yaml"):
        load_settings()


def test_no_file_at_all_says_where_it_was_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "/home/dagster")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert str(caught.value) == (
        "no configuration file: looked for campaign_ops.yaml and /home/dagster/campaign_ops.yaml;"
        " copy campaign_ops.example.yaml there, or export CAMPAIGN_OPS_CONFIG with the path of yours"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "campaign_ops.yaml:1: platforms: takes a list of at least one platform; see campaign_ops.example.yaml"),
        ("# x\nplatforms:\n", "campaign_ops.yaml:2: platforms: takes a list of at least one platform; see .*"),
        ("platforms:\n  name: sms\n", "campaign_ops.yaml:1: platforms: takes a list of at least one platform; see .*"),
        ("platfroms: []\n", r"campaign_ops.yaml:1: platfroms: no such key; did you mean platforms\?"),
        (
            "platforms: []\nplatforms: []\n",
            "campaign_ops.yaml:2: platforms: stands twice, in lines 1 and 2; keep one.*",
        ),
        ("platforms:\n  - a: 'b\n", "campaign_ops.yaml:3: not YAML: found unexpected end of stream; .* needs quotes"),
        ("platforms:\n  - schedule: */10 * * * *\n", "campaign_ops.yaml:2: not YAML: .* needs quotes"),
        ("platforms:\n\t- name: x\n", r"campaign_ops.yaml:2: not YAML: found character '\\t' .*; indent with spaces"),
        ("platforms: *all\n", "campaign_ops.yaml:1: not YAML: found undefined alias 'all'"),
        (
            "platforms: 1\n---\nplatforms: 2\n",
            "campaign_ops.yaml:2: not YAML: expected a single document in the stream but found another document",
        ),
        ("platforms: \x07\n", "campaign_ops.yaml:1: not YAML: a character that YAML does not allow"),
    ],
)
def test_a_file_that_cannot_be_used_at_all_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    assert re.fullmatch(said, str(caught.value)), str(caught.value)


def test_a_file_that_is_not_text_or_is_a_directory_is_refused() -> None:
    Path("bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"^bytes\.yaml: is not UTF-8 text$"):
        load_settings(Path("bytes.yaml"))
    with pytest.raises(ConfigurationError, match=r"cannot be read: Is a directory$"):
        load_settings(Path())


def test_the_only_platform_needs_no_name_and_several_do() -> None:
    assert only(sms()).name == "sms"
    settings = load(sms() + and_second(sms()))
    with pytest.raises(ConfigurationError, match="several platforms are configured; name one of sms, second"):
        settings.platform()
    assert settings.platform("second").name == "second"
    with pytest.raises(ConfigurationError, match=r"no platform 'secnd' is configured; did you mean second\?"):
        settings.platform("secnd")


def test_a_run_of_one_platform_validates_that_one_and_the_others_when_it_asks_for_them() -> None:
    """A run of any of 200 platforms took 22 CPU-seconds, because it made all of them."""
    text = sms() + and_second(sms()) + "  - name: third\n    profil: sms\n"
    whole = load(text)
    settings = load_settings(only={"second"})
    assert (settings.platforms, settings.broken) == ((whole.platform("second"),), ())
    assert [other.name for other in settings.platform("second").others()] == ["sms"]
    assert [other.name for other in whole.platform("second").others()] == ["sms"]
    assert [broken.name for broken in load_settings(only={"third"}).broken] == ["third"]
    assert load_settings(only={"fourth"}).names == ()


def test_asking_for_a_broken_platform_raises_its_error_every_time_alike() -> None:
    settings = load(sms(database="${NO_SUCH}"))
    for name in (None, "sms", "sms"):
        with pytest.raises(ConfigurationError, match="environment variable NO_SUCH is not set"):
            settings.platform(name)


def test_every_threshold_can_be_set_and_every_key_has_a_meaning() -> None:
    docs = {doc.key: doc for doc in describe_settings()}
    for threshold in fields(Policy):
        assert f"platforms[].thresholds.{threshold.name}" in docs
    for timeout in fields(Timeouts):
        assert f"platforms[].timeouts.{timeout.name}" in docs
    assert docs["platforms[].thresholds.max_attempts"] == (
        "platforms[].thresholds.max_attempts",
        "a whole number from 1 to 100",
        "3",
        "Re-enqueues without progress before a campaign is quarantined for a person.",
    )
    assert all(doc.meaning.endswith(".") for doc in docs.values())
    assert "| `CAMPAIGN_OPS_CONFIG` | a path or null | `null` |" in markdown_table(docs.values())


def test_importing_the_settings_neither_reads_the_configuration_nor_dagster() -> None:
    code = "import campaign_ops.settings, sys; sys.exit('dagster' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/", env={"PYTHONPATH": str(ROOT)})


def test_a_mistake_in_a_variable_of_the_watcher_stops_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command that finds its file by itself failed on it, and so did loading the code into Dagster."""
    (tmp_path / FILE_NAME).write_text("platforms: []\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAMPAIGN_OPS_CONFIG", raising=False)
    monkeypatch.setenv("CAMPAIGN_OPS_DEAD_MAN_URL", "no address")
    monkeypatch.setenv("CAMPAIGN_OPS_DAGSTER_WEBSERVER", "no address")
    assert find_file() == Path(FILE_NAME)
