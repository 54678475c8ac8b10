"""Profiles by name, by path and in place: what is laid over what, and where a mistake is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from campaign_ops.core.errors import ConfigurationError
from campaign_ops.profile.load import built_in_profiles, load_profile
from campaign_ops.settings import describe_profile, load_settings


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, text: str) -> str:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text)
    return name


def refused(reference: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_profile(reference)
    return str(caught.value).splitlines()


def test_every_built_in_profile_is_whole() -> None:
    assert built_in_profiles() == ["messenger", "sms"]
    assert [load_profile(name).name for name in built_in_profiles()] == built_in_profiles()


def test_an_extending_file_changes_only_what_it_says() -> None:
    profile = load_profile(write("eu.yaml", "extends: sms\nname: eu\ncampaign: {words: {done: completed}}\n"))
    sms = load_profile("sms")
    words = sms.campaign.words.model_copy(update={"done": "completed"})
    campaign = sms.campaign.model_copy(update={"words": words})
    assert profile == sms.model_copy(update={"name": "eu", "campaign": campaign})


def test_null_takes_a_part_away_and_a_list_is_replaced() -> None:
    text = "extends: sms\nqueue: null\nreservation: null\nrecipient: {activity: [sentAt], provider_id: null}\n"
    profile = load_profile(write("small.yaml", text))
    assert (profile.queue, profile.reservation, profile.recipient.provider_id) == (None, None, None)
    assert profile.recipient.activity == ("sentAt",)
    options = load_profile(write("o.yaml", "extends: sms\nqueue: {options: {backoff: null}}\n")).queue
    assert options is not None
    assert options.options == {"attempts": 5}


def test_a_file_may_extend_another_and_paths_are_relative_to_the_file_that_names_them() -> None:
    write("deep/base.yaml", "extends: sms\nschema: base\n")
    write("deep/top.yaml", "extends: base.yaml\nid_type: uuid\n")
    profile = load_profile("deep/top.yaml")
    assert (profile.db_schema, profile.id_type, profile.campaign.table) == ("base", "uuid", "Campaign")
    assert load_profile("top.yaml", beside=Path("deep")) == profile


def test_files_that_extend_each_other_are_refused() -> None:
    write("a.yaml", "extends: b.yaml\n")
    write("b.yaml", "name: b\nextends: a.yaml\n")
    assert refused("a.yaml") == [
        "b.yaml:2: extends: goes round in a circle back to this file; let one of them extend a built-in profile"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "extends: smss\n",
            ("x.yaml:1: extends: no built-in profile 'smss'; did you mean sms? (the name of a file ends in .yaml)"),
        ),
        (
            "extends: gone.yaml\n",
            ("x.yaml:1: extends: no such file 'gone.yaml'; a path is relative to the file that names it"),
        ),
        ("extends: sms\ncampaign:\n  tabel: c\n", "x.yaml:3: campaign.tabel: no such key; did you mean table?"),
        (
            "extends: sms\ncampaign:\n  table: null\n",
            ("x.yaml:3: campaign.table: is missing; it takes text of 1 to 63 characters"),
        ),
        (
            "extends: sms\nid_type: bigit\n",
            ('x.yaml:2: id_type: takes one of auto, text, uuid, integer, bigint, not "bigit"; did you mean bigint?'),
        ),
        (
            "extends: sms\nrecipient:\n  words:\n    pending: []\n",
            ("x.yaml:4: recipient.words.pending: takes a list of text, at least one, not an empty list"),
        ),
        (
            "extends: sms\nrecipient:\n  words:\n    pending:\n      - queued\n      - no\n",
            "x.yaml:6: recipient.words.pending[1]: takes text, not false; put it in quotes",
        ),
        (
            "extends: sms\nrecipient:\n  words:\n    pending: [sent]\n",
            "x.yaml:3: recipient.words: 'sent' stands in two lists; a recipient word has one meaning",
        ),
        (
            "extends: sms\nqueue:\n  payload:\n    x: [1]\n",
            ("x.yaml:4: queue.payload.x: takes text, a whole number, a number, true or false or null, not a list"),
        ),
        (
            "extends: sms\nrecipient: {rows: sent}\n",
            ("x.yaml:1: recipient.rows is 'sent', so campaign.counters must name the column of the total"),
        ),
        ("- sms\n", "x.yaml:1: takes the name of a built-in profile, a path to a YAML file, or a mapping"),
        (
            "a: 'b\n",
            (
                "x.yaml:2: not YAML: found unexpected end of stream;"
                " text that begins with * & ! @ % { [ or holds ': ' or ' #' needs quotes"
            ),
        ),
    ],
)
def test_a_mistake_in_a_profile_is_reported_where_it_was_written(text: str, said: str) -> None:
    assert refused(write("x.yaml", text)) == [said]


_PAYLOAD = "there are: {campaign_id}, {tenant}, {recipient_ids}"


@pytest.mark.parametrize(
    ("queue", "said"),
    [
        (
            'payload: {shopId: "{shop_id}"}',
            f"payload.shopId: nothing is put in for {{shop_id}}; did you mean {{tenant}}? {_PAYLOAD}",
        ),
        (
            'payload: {camp: "{campaignId}"}',
            f"payload.camp: nothing is put in for {{campaignId}}; did you mean {{campaign_id}}? {_PAYLOAD}",
        ),
        (
            'payload: {who: "{recipient_id}"}',
            f"payload.who: nothing is put in for {{recipient_id}}; did you mean {{recipient_ids}}? {_PAYLOAD}",
        ),
        ('payload: {x: "{zzz}"}', f"payload.x: nothing is put in for {{zzz}}; {_PAYLOAD}"),
        (
            'payload: {x: "shop-{tenant}"}',
            "payload.x: {tenant} must be the whole value, not a part of 'shop-{tenant}'",
        ),
        (
            'markers: ["sent:{campaign_id}:{recipient_id}"]',
            "markers: nothing is put in for {campaign_id}; there are: {recipient_id}",
        ),
        (
            'options: {backoff: {type: "{tenant}"}}',
            "options.backoff.type: nothing is put in for {tenant}; no placeholder can stand there",
        ),
    ],
)
def test_a_placeholder_that_nothing_is_put_in_for_is_refused(queue: str, said: str) -> None:
    """Measured before: `{shop_id}` went to the workers as it is."""
    (problem,) = refused(write("x.yaml", f"extends: sms\nqueue:\n  {queue}\n"))
    assert problem == f"x.yaml:2: queue: {said}"


def test_options_that_bullmq_refuses_together_are_refused() -> None:
    """BullMQ's client refused each job, in a sweep, once the intents were committed."""
    queue = "options: {failParentOnFailure: true, removeDependencyOnFailure: true, ignoreDependencyOnFailure: false}"
    (problem,) = refused(write("x.yaml", f"extends: sms\nqueue:\n  {queue}\n"))
    said = "options 'failParentOnFailure' and 'removeDependencyOnFailure' cannot be used together; keep one of them"
    assert problem == f"x.yaml:2: queue: {said}"


def test_an_unknown_name_or_path_is_refused() -> None:
    assert refused("smms") == [
        "profile: no built-in profile 'smms'; did you mean sms? (the name of a file ends in .yaml)"
    ]
    assert refused("smms.yaml") == ["profile: no such file 'smms.yaml'; a path is relative to the file that names it"]


def test_a_mistake_in_a_profile_file_names_that_file_and_one_in_place_names_the_configuration() -> None:
    write("shop.yaml", "extends: sms\nqueue: null\ncampaign:\n  tabel: c\n")
    text = "platforms:\n  - name: shop\n    database_url: postgresql://h/db\n    profile: {}\n"
    write("campaign_ops.yaml", text.format("shop.yaml"))
    (broken,) = load_settings().broken
    assert str(broken.error) == "shop.yaml:4: campaign.tabel: no such key; did you mean table?"
    write("campaign_ops.yaml", text.format("\n      extends: shop.yaml\n      campaign: {tabel: null}\n      schem: a"))
    (broken,) = load_settings().broken
    assert str(broken.error) == "campaign_ops.yaml:7: platforms[0].profile.schem: no such key; did you mean schema?"


def test_every_profile_key_has_a_type_and_a_meaning() -> None:
    docs = {doc.key: doc for doc in describe_profile()}
    assert {"extends", "schema", "campaign.words.done", "reservation.expires_at", "queue.batch_size"} <= set(docs)
    assert "db_schema" not in docs
    assert docs["queue.batch_size"].type == "a whole number from 1 to 10,000"
    assert docs["recipient.rows"].default == '"all"'
    assert all(doc.meaning.endswith(".") for doc in docs.values())
