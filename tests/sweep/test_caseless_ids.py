"""Ids of type citext, where a reference to a campaign may be spelled otherwise than the campaign's own id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.servers.programs import POSTGRES
from campaign_ops.lab.shop.schema import PlatformShape
from tests.conftest import Templates, World, Worlds
from tests.sweep.actors import covered

_INSTALLED = sorted(Path("/usr/share/postgresql").glob("*/extension/citext.control"))
_COLUMNS = {
    "Campaign": ("id",),
    "CampaignRecipient": ("id", "campaignId"),
    "CreditReservation": ("id", "campaignId"),
}

pytestmark = [
    pytest.mark.slow,  # it starts a server of its own
    pytest.mark.skipif(not _INSTALLED, reason="PostgreSQL with citext is not installed; `.ci/run` installs Debian's"),
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(POSTGRES, f"/usr/lib/postgresql/{_INSTALLED[0].parents[1].name}")
        with EmbeddedServers(tmp_path_factory.mktemp("debian")) as running:
            yield running


@pytest.fixture(scope="module")
def templates(servers: EmbeddedServers) -> Templates:
    return Templates(servers)


@pytest.fixture
def sms(worlds: Worlds) -> World:
    world = worlds.make("sms", shape=PlatformShape(foreign_keys=False))
    with world.app.engine.begin() as connection:
        connection.execute(sa.text("CREATE EXTENSION citext"))
        for table, names in _COLUMNS.items():
            changes = ", ".join(f'ALTER "{name}" TYPE citext' for name in names)
            connection.execute(sa.text(f'ALTER TABLE "{table}" {changes}'))
    return world


def respell(world: World, table: str, campaign: str, other: str) -> None:
    with world.app.engine.begin() as connection:
        spelled = sa.text(f'UPDATE "{table}" SET "campaignId" = :other WHERE "campaignId" = :campaign')
        connection.execute(spelled, {"other": other, "campaign": campaign})


def test_references_in_another_spelling_are_the_campaigns(sms: World) -> None:
    sms.app.add_campaign("Done", succeeded=3)
    sms.app.add_reservation("hold", campaign="Done", amount=10)
    respell(sms, "CampaignRecipient", "Done", "done")
    respell(sms, "CreditReservation", "Done", "DONE")
    sms.app.add_campaign("Lost", pending=3)
    respell(sms, "CampaignRecipient", "Lost", "LOST")
    report = sms.sweep()
    assert {item.target: item.verdict for item in report.stuck} == {"Done": "finished", "Lost": "jobs_lost"}
    assert sms.app.campaign("Done")["status"] == "sent"
    assert sms.app.reservation("hold")["status"] == "released"
    assert list(covered(sms).values()) == [1, 1, 1]
    assert {row["campaign_id"] for row in sms.rows("SELECT campaign_id FROM campaign_ops.repair")} == {"Done", "Lost"}


def test_a_campaign_whose_holds_have_a_strange_word_stays_as_it_is(sms: World) -> None:
    sms.app.add_campaign("Done", succeeded=3)
    sms.app.add_reservation("hold", campaign="Done", status="frozen")
    respell(sms, "CreditReservation", "Done", "DONE")
    report = sms.sweep()
    assert [item.verdict for item in report.stuck] == ["unknown_status"]
    assert sms.app.campaign("Done")["status"] == "sending"
