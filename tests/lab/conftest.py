"""A shop platform of the demo, with what it takes to look into it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from campaign_ops.lab.demo.platforms import DemoPlatform, create_platform
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.queue import ShopQueue
from campaign_ops.lab.shop.row_writer import RowWriter


@pytest.fixture
def shop(servers: EmbeddedServers) -> Iterator[DemoPlatform]:
    platform = create_platform(servers, "demo_shop", "sms", queue_prefix="demo-shop")
    yield platform
    for worker in platform.workers:
        worker.kill()


@pytest.fixture
def writer(shop: DemoPlatform) -> Iterator[RowWriter]:
    opened = shop.writer()
    yield opened
    opened.close()


@pytest.fixture
def queue(shop: DemoPlatform) -> Iterator[ShopQueue]:
    opened = shop.queue()
    yield opened
    opened.close()
