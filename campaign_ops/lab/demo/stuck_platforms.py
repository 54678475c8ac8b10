"""The demo's stuck platforms: one campaign for each verdict, and one for each outcome of a reservation.

Ids and sizes never change. Campaigns for ``cooldown`` and ``quarantined`` are built here and get their past re-enqueues
from ``attempt_history``.
"""

from __future__ import annotations

from campaign_ops.lab.demo.platforms import DemoPlatform, write_config
from campaign_ops.lab.demo.stuck_messenger import build_messenger
from campaign_ops.lab.demo.stuck_queues import build_idle, build_inline, build_outage, build_paused
from campaign_ops.lab.demo.stuck_sms import build_sms
from campaign_ops.lab.servers.embedded import EmbeddedServers

__all__ = ["DemoPlatform", "build_messenger", "build_sms", "write_config"]


def build_sms_platforms(servers: EmbeddedServers) -> list[DemoPlatform]:
    """Build the SMS platforms: ``sms`` with a busy worker, and one for each problem of a whole queue.

    The caller stops the workers with each platform's ``stop_workers``.
    """
    builders = (build_sms, build_paused, build_idle, build_outage, build_inline)
    return [build(servers) for build in builders]
