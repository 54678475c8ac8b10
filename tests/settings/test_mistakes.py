"""How each mistake within a platform is answered, and that no answer shows a secret."""

from __future__ import annotations

import pickle

import pytest
from dagster import AssetSpec, ScheduleDefinition, job

from campaign_ops.config.yaml_file import read_text
from campaign_ops.core.errors import ConfigurationError
from tests.settings.files import and_second, load, problems, sms


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            sms("thresholds:", "  stuck_after_second: 5"),
            (
                "campaign_ops.yaml:7: platforms[0].thresholds.stuck_after_second: no such key;"
                " did you mean stuck_after_seconds?"
            ),
        ),
        (
            sms("databse_url: x"),
            "campaign_ops.yaml:6: platforms[0].databse_url: no such key; did you mean database_url?",
        ),
        (
            sms("timeouts: {zzz: 1}"),
            (
                "campaign_ops.yaml:6: platforms[0].timeouts.zzz: no such key;"
                " there are: connect_seconds, statement_seconds, lock_seconds, queue_seconds"
            ),
        ),
        (
            sms("thresholds:", "  max_attempts: 1", "  max_attempts: 2"),
            (
                "campaign_ops.yaml:8: platforms[0].thresholds.max_attempts: stands twice, in lines 7 and 8;"
                " keep one of them"
            ),
        ),
        (
            sms("thresholds: {max_attempts: many}"),
            'campaign_ops.yaml:6: platforms[0].thresholds.max_attempts: takes a whole number from 1 to 100, not "many"',
        ),
        (
            sms("thresholds: {max_attempts: yes}"),
            "campaign_ops.yaml:6: platforms[0].thresholds.max_attempts: takes a whole number from 1 to 100, not true",
        ),
        (
            sms("thresholds: {cooldown_seconds: 0}"),
            (
                "campaign_ops.yaml:6: platforms[0].thresholds.cooldown_seconds:"
                " takes a whole number from 1 to 2,592,000, not 0"
            ),
        ),
        (
            sms("thresholds: {breaker_share: 1.5}"),
            "campaign_ops.yaml:6: platforms[0].thresholds.breaker_share: takes a number above 0, at most 1, not 1.5",
        ),
        (
            sms("thresholds: {breaker_share: .nan}"),
            "campaign_ops.yaml:6: platforms[0].thresholds.breaker_share: takes a number above 0, at most 1, not NaN",
        ),
        (
            sms("thresholds: {empty_campaigns: completed}"),
            (
                "campaign_ops.yaml:6: platforms[0].thresholds.empty_campaigns: takes one of report, complete, fail,"
                ' not "completed"; did you mean complete?'
            ),
        ),
        (sms("thresholds: 900"), "campaign_ops.yaml:6: platforms[0].thresholds: takes a mapping, not 900"),
        (
            sms("contact: '#oncall'"),
            "campaign_ops.yaml:6: platforms[0].contact: takes a mail address or team:<name>",
        ),
        (
            sms("queue_prefix: 7"),
            (
                "campaign_ops.yaml:6: platforms[0].queue_prefix: takes text of 1 to 100 characters,"
                " not 7; put it in quotes"
            ),
        ),
        (sms("on: 7"), "campaign_ops.yaml:6: platforms[0].on: a key must be text; put it in quotes"),
        (
            sms("contact: !Env X"),
            (
                "campaign_ops.yaml:6: platforms[0].contact: tag !Env is not known here;"
                " take it out, or put the value in quotes"
            ),
        ),
        (
            sms("timeouts: &t", "  queue_seconds: *t"),
            (
                "campaign_ops.yaml:7: platforms[0].timeouts.queue_seconds:"
                " refers to a part that it is itself in; take the alias out"
            ),
        ),
        (
            sms(database="${NO_SUCH}"),
            (
                "campaign_ops.yaml:4: platforms[0].database_url: environment variable NO_SUCH is not set;"
                " export it or write ${NO_SUCH:-default}"
            ),
        ),
        (
            sms("queue_prefix: ${}"),
            (
                "campaign_ops.yaml:6: platforms[0].queue_prefix:"
                " holds ${ without a variable's name; write ${NAME}, or $${ for a plain ${"
            ),
        ),
        (
            sms(queue=None),
            (
                "campaign_ops.yaml:2: platforms[0].queue_url: is missing, and the profile has a queue;"
                " set it, or write `queue: null` in the profile"
            ),
        ),
        (
            sms(profile="messenger"),
            (
                "campaign_ops.yaml:5: platforms[0].queue_url: is set, but the profile has no queue;"
                " take it out, or describe the queue in the profile"
            ),
        ),
        (
            "platforms:\n  - postgresql://app:hunter2@db/app\n",
            ("campaign_ops.yaml:2: platforms[0]: takes a mapping, not a URL"),
        ),
    ],
)
def test_a_mistake_is_answered_with_its_line_its_key_and_the_mend(text: str, said: str) -> None:
    assert problems(text) == [said]


def test_an_empty_variable_is_as_good_as_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB", "")
    (said,) = problems(sms())
    assert "environment variable DB is empty" in said


def test_all_mistakes_of_a_platform_are_reported_together_in_the_order_of_their_lines() -> None:
    text = sms("thresholds: {max_attempt: 1}", "schedule: never", database="${NO_SUCH}", queue="http://x")
    assert [line.split(": ")[1] for line in problems(text)] == [
        "platforms[0].database_url",
        "platforms[0].queue_url",
        "platforms[0].thresholds.max_attempt",
        "platforms[0].schedule",
    ]


def test_required_keys_that_are_missing_are_named_with_what_they_take() -> None:
    assert problems("platforms:\n  - contact: a@b.co\n") == [
        (
            "campaign_ops.yaml:2: platforms[0].name: is missing;"
            " it takes 1 to 31 lower-case letters, digits and underscores"
        ),
        (
            "campaign_ops.yaml:2: platforms[0].profile: is missing; it takes the name of a built-in profile,"
            " a path to a YAML file, or a mapping"
        ),
        "campaign_ops.yaml:2: platforms[0].database_url: is missing; it takes a PostgreSQL URL",
    ]


@pytest.mark.parametrize("name", ["Sms", "1sms", "sms-eu", "s" * 32, "''"])
def test_a_name_that_cannot_begin_a_dagster_key_is_refused(name: str) -> None:
    (broken,) = load(sms().replace("name: sms", f"name: {name}")).broken
    assert broken.name == "platforms_0"
    assert "platforms[0].name: takes 1 to 31 lower-case letters" in str(broken.error)


def test_a_broken_platform_does_not_stop_the_others() -> None:
    text = sms(database="${NO_SUCH}") + and_second(sms())
    settings = load(text)
    assert [platform.name for platform in settings.platforms] == ["second"]
    assert [broken.name for broken in settings.broken] == ["sms"]


def test_the_second_platform_of_the_same_name_is_broken_under_a_name_of_its_own() -> None:
    settings = load(sms() + sms().removeprefix("platforms:\n"))
    assert settings.names == ("sms", "platforms_1")
    assert str(settings.broken[0].error) == (
        "campaign_ops.yaml:6: platforms[1].name: is the name of the platform in line 2 too;"
        " every platform needs its own"
    )


def test_a_schedule_that_never_comes_is_refused() -> None:
    """Dagster accepts it and has no tick; our own questions for one ended /api/health and the definitions of all."""
    (broken,) = load(sms("schedule: '0 0 31 4,6 *'")).broken
    assert "is not a cron expression of five fields that ever comes" in str(broken.error)


@pytest.mark.parametrize(
    "schedule",
    [
        "*/10 * * * *",
        "@daily",
        "0 9-17 * * MON-FRI",
        "0 0 L * *",
        "* * * *",
        "0 0 * * * *",
        "61 * * * *",
        "0 0 30 2 *",
        "@reboot",
        "''",
        "every ten minutes",
    ],
)
def test_a_schedule_is_refused_exactly_when_dagster_would_refuse_it(schedule: str) -> None:
    @job
    def nothing() -> None:
        pass

    try:
        ScheduleDefinition(job=nothing, cron_schedule=schedule.strip("'"))
        expected = 0
    except Exception:  # noqa: BLE001 - whatever Dagster raises
        expected = 1
    assert len(load(sms(f"schedule: {schedule if schedule == chr(39) * 2 else repr(schedule)}")).broken) == expected


@pytest.mark.parametrize(
    "contact", ["a@b.co", "on-call+sms@mail.example.com", "team:sms", "team:", "a@b", "bob", "+a@b.co"]
)
def test_a_contact_is_refused_exactly_when_dagster_would_refuse_it(contact: str) -> None:
    try:
        AssetSpec("x", owners=[contact])
        expected = 0
    except Exception:  # noqa: BLE001 - whatever Dagster raises
        expected = 1
    assert len(load(sms(f"contact: {contact!r}")).broken) == expected


def test_a_secret_is_in_no_text_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(sms())
    for text in (repr(settings), str(settings), f"{settings.platform().database_url}"):
        assert "hunter2" not in text
    assert "hunter2" in settings.platform().database_url.get_secret_value()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://a:hunter2@h/db",
        "postgresql://a:hunter2@h:port/db",
        "postgresql://a:hunter2@h",
        "hunter2",
        "postgresql+asyncpg://a:hunter2@h/db",
        "prisma://h/?api_key=hunter2",
        "postgresql://a:x@y?hunter2=1@h/db",
        "postgresql://a:hunter2@h/db?sslaccept=strict",
        "[hunter2]",
        "{a: hunter2}",
        "postgresql://a:hunter2@h1:1,h2:2/db",
    ],
)
def test_no_complaint_about_a_url_shows_a_part_of_it(url: str) -> None:
    for text in (sms(database=url), sms(queue=url)):
        settings = load(text)
        (said,) = str(settings.broken[0].error).splitlines()
        assert "hunter2" not in said
        assert "hunter2" not in repr(settings)
        # What Dagster stores of an error is its whole chain.
        assert settings.broken[0].error.__cause__ is None
        assert settings.broken[0].error.__context__ is None
        assert b"hunter2" not in pickle.dumps(settings.broken[0].error.args)


def test_a_value_from_the_environment_is_not_shown_wherever_it_was_put(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    text = sms("thresholds: {max_attempts: '${SECRET}'}", "schedule: ${SECRET}", profile="${SECRET}").replace(
        "name: sms", "name: ${SECRET}!"
    )
    assert "hunter2" not in "\n".join(problems(text))
    assert problems(sms(profile="{extends: sms, queue: {markers: ['${SECRET}']}}")) == [
        "campaign_ops.yaml:3: platforms[0].profile.queue: marker '***' does not name {recipient_id}"
    ]


def test_a_syntax_error_does_not_quote_the_line_it_is_in() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load("platforms:\n  - database_url: 'postgresql://a:hunter2@h/db\n    name: x\n")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("spelling", ["${DB}", "postgresql://another:role@DB.example/app?application_name=x"])
def test_a_second_platform_over_the_same_campaign_table_is_refused(spelling: str) -> None:
    """Two of them have each other's jobs for lost; the doctor asks the databases, however the URLs are spelled."""
    settings = load(sms() + and_second(sms()).replace("${DB}_two", spelling))
    assert [one.name for one in settings.platforms] == ["sms"]
    (broken,) = settings.broken
    assert broken.name == "second"
    assert "campaign_ops.yaml:8" in str(broken.error)
    assert "public.Campaign" in str(broken.error)
    assert "platform sms" in str(broken.error)


def test_another_table_of_the_same_database_is_another_platform() -> None:
    other = and_second(sms(profile="{extends: sms, schema: b}")).replace("${DB}_two", "${DB}")
    assert load(sms() + other).broken == ()


ALIASES = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: &a [x]\n" + ALIASES, "more than"), ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply")],
    ids=["aliases of aliases", "brackets"],
)
def test_a_file_that_grows_when_it_is_read_is_refused_at_once(text: str, said: str) -> None:
    """Measured before: 300 bytes took 1.1 GB and did not end; 5,000 brackets were a traceback."""
    (problem,) = read_text(text, "it.yaml").problems.values()
    assert said in problem.what
