"""The demo's stuck platforms: for every verdict, and for every fate of a reservation, a campaign that shows it.

Ids and sizes are always the same. What needs campaign_ops' own history (``cooldown``, ``quarantined``) gets the
campaign here and its history from the demo's command line.
"""

from __future__ import annotations

from campaign_ops.lab.demo.platforms import DemoPlatform, write_config
from campaign_ops.lab.demo.stuck_messenger import build_messenger
from campaign_ops.lab.demo.stuck_queues import build_idle, build_inline, build_outage, build_paused
from campaign_ops.lab.demo.stuck_sms import build_sms
from campaign_ops.lab.servers.embedded import EmbeddedServers

__all__ = ["DemoPlatform", "build_messenger", "build_sms", "write_config"]


def build_sms_platforms(servers: EmbeddedServers) -> list[DemoPlatform]:
    """Build the SMS platforms: ``sms`` with a busy worker, and one for each trouble that concerns a whole queue.

    The caller stops the workers: ``stop_workers`` of each platform.
    """
    builders = (build_sms, build_paused, build_idle, build_outage, build_inline)
    return [build(servers) for build in builders]
