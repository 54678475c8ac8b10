"""The ``notify`` section: what channels get, how mistakes are answered, and that no URL is ever shown."""

from __future__ import annotations

import pytest

from campaign_ops.core.causes import Severity
from campaign_ops.settings import Settings
from campaign_ops.watch.sending import check
from tests.settings.files import load, sms

NAMED = "  channels:\n    - name: oncall\n      url: ${CHANNEL}\n"
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHANNEL", f"json://ops:{SECRET}@example.com/{SECRET}")


def notify(text: str) -> Settings:
    """A file with one platform in lines 1 to 5, and this section from line 6 on."""
    return load(sms() + "notify:\n" + text)


def mistakes(text: str) -> list[str]:
    settings = notify(text)
    assert settings.platforms, "the platform goes on"
    return str(settings.notify.error).splitlines()


def test_a_file_without_the_section_has_no_channel() -> None:
    settings = load(sms())
    assert settings.notify.channels == ()
    assert settings.notify.error is None


def test_a_channel_has_what_was_written_and_the_rest_by_default() -> None:
    settings = notify(f"  link: https://ops.example.com\n{NAMED}")
    (channel,) = settings.notify.channels
    assert (channel.name, channel.severity, channel.platforms, channel.tenants) == ("oncall", Severity.WARNING, (), ())
    assert channel.url.get_secret_value().startswith("json://ops:")
    assert settings.notify.link == "https://ops.example.com"
    assert settings.platform("sms").notify == settings.notify


def test_a_platform_has_the_channels_that_want_to_hear_of_it() -> None:
    second = "    - {name: others, url: '${CHANNEL}', platforms: [other], severity: critical, tenants: [a]}\n"
    text = sms() + sms().replace("platforms:\n", "").replace("name: sms", "name: other").replace("${DB}", "${DB}_two")
    settings = load(f"{text}notify:\n{NAMED}{second}")
    assert [channel.name for channel in settings.platform("sms").notify.channels] == ["oncall"]
    others = settings.platform("other").notify.channels
    assert [(channel.name, channel.severity, channel.tenants) for channel in others] == [
        ("oncall", Severity.WARNING, ()),
        ("others", Severity.CRITICAL, ("a",)),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("  chanels: []\n", "campaign_ops.yaml:7: notify.chanels: no such key; did you mean channels?"),
        ("  link: ops\n", "campaign_ops.yaml:7: notify.link: is not an address that starts with http:// or https://"),
        (
            NAMED + "      severity: grave\n",
            'campaign_ops.yaml:10: notify.channels[0].severity: takes one of info, warning, critical, not "grave"',
        ),
        (
            NAMED + "      tenants: [7]\n",
            "campaign_ops.yaml:10: notify.channels[0].tenants[0]: takes text, not 7; put it in quotes",
        ),
        (
            NAMED + "      platforms: [smss]\n",
            (
                "campaign_ops.yaml:10: notify.channels[0].platforms[0]: no platform 'smss' is configured;"
                " did you mean sms?"
            ),
        ),
        (
            NAMED + NAMED.partition("\n")[2],
            (
                "campaign_ops.yaml:10: notify.channels[1].name: is the name of another channel, too;"
                " every channel needs its own"
            ),
        ),
        (
            "  channels:\n    - name: oncall\n",
            "campaign_ops.yaml:8: notify.channels[0].url: is missing; it takes an apprise URL",
        ),
        (
            NAMED.replace("${CHANNEL}", SECRET),
            (
                "campaign_ops.yaml:9: notify.channels[0].url: is not a URL of apprise;"
                " write for example mailto://user:password@example.com"
            ),
        ),
        (
            NAMED.replace("CHANNEL", "ABSENT"),
            (
                "campaign_ops.yaml:9: notify.channels[0].url: environment variable ABSENT is not set;"
                " export it or write ${ABSENT:-default}"
            ),
        ),
    ],
)
def test_each_mistake_is_answered_with_its_line_and_stops_no_platform(text: str, said: str) -> None:
    assert mistakes(text) == [said]


def test_one_channel_s_mistake_does_not_stop_the_others() -> None:
    settings = notify(f"{NAMED}    - name: odd\n      url: {SECRET}\n")
    assert [channel.name for channel in settings.notify.channels] == ["oncall"]
    assert SECRET not in str(settings.notify.error)


def test_a_url_that_apprise_does_not_understand_is_named_by_its_line() -> None:
    settings = notify(NAMED.replace("${CHANNEL}", f"nope://{SECRET}"))
    assert settings.notify.error is None
    assert str(check(settings.notify)).startswith(
        "campaign_ops.yaml:9: notify.channels[0].url: is not a URL that apprise"
    )


def test_no_url_is_shown() -> None:
    settings = notify(NAMED)
    for text in (repr(settings), repr(settings.notify), str(settings.notify.channels[0]), str(check(settings.notify))):
        assert SECRET not in text
