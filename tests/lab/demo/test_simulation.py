"""The simulation of ``campaign-ops up``: its faults, and that it survives them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import redis

from campaign_ops.lab.demo.faults import MessengerFaults, SmsFaults
from campaign_ops.lab.demo.platforms import DemoPlatform, create_platform
from campaign_ops.lab.demo.simulation import Simulation, SimulationOptions
from campaign_ops.lab.demo.traffic import MessengerTraffic, SmsTraffic
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.lab.shop.provider import Provider
from campaign_ops.lab.shop.worker import WorkerOptions
from tests.lab.waiting import wait_until

LIVELY = SimulationOptions(
    campaign_every_seconds=0.3,
    fault_every_seconds=0.5,
    recipients=(10, 30),
    batch_size=10,
    workers=1,
    worker=WorkerOptions(delay_ms=15, lock_ms=500, stalled_ms=300, claims=True),
)


def test_each_fault_of_the_sms_platform_does_what_its_line_says(shop: DemoPlatform, work_dir: Path) -> None:
    traffic = SmsTraffic(shop, work_dir, LIVELY)
    faults, writer, queue = SmsFaults(traffic), traffic.writer, traffic.queue
    assert [faults.kill_worker(), faults.lose_completion(), faults.pause_or_cancel()] == [None] * 3

    lost = faults.lose_jobs()
    (campaign,) = writer.campaigns("sending")
    jobs = queue.live_job_ids()
    assert lost == f"fault: {len(jobs)} of the {2 * len(jobs)} jobs of '{campaign['name']}' were lost from Redis"

    assert "stalled too often" in (faults.stall_jobs() or "")
    with redis.Redis.from_url(queue.url) as client:
        assert sum(bool(client.hexists(queue.key(job_id), "defa")) for job_id in queue.live_job_ids()) == 2

    while writer.campaigns("sending"):
        assert "while it was sending" in (faults.pause_or_cancel() or "")
    assert queue.live_job_ids() == []

    for other in writer.campaigns("paused"):
        writer.set_campaign(other["id"], status="cancelled")
    writer.set_campaign(campaign["id"], status="paused")
    assert faults.resume() == f"person: resumed '{campaign['name']}'"
    assert len(queue.live_job_ids()) == 2 * len(jobs)

    (hired,) = traffic.platform.workers if traffic.start_missing_workers() else []
    wait_until(lambda: traffic.provider.last_campaign(hired.name) is not None)
    pid = hired.pid
    assert faults.kill_worker() == f"fault: killed worker-1 (pid {pid}) while it was sending '{campaign['name']}'"
    assert hired.pid is None
    assert "worker-2" in (traffic.start_missing_workers() or "")

    writer.move_recipients(campaign["id"], "succeeded")
    assert traffic.application.complete(campaign["id"])
    assert "before it wrote the status" in (faults.lose_completion() or "")
    (reservation,) = writer.reservations(campaign["id"])
    assert (reservation["status"], reservation["released_at"]) == ("active", None)
    traffic.close()


def test_each_fault_of_the_messenger_does_what_its_line_says(servers: EmbeddedServers) -> None:
    platform = create_platform(servers, "demo_messenger", "messenger")
    traffic = MessengerTraffic(platform, LIVELY)
    faults, writer = MessengerFaults(traffic), traffic.writer
    assert [fault() for fault in faults.all] == [None, None, None]
    traffic.start_campaign()
    traffic.send_some(10)
    (campaign,) = writer.campaigns("SENDING")
    assert (campaign["succeeded"] + campaign["failed"], sum(writer.tally(campaign["id"]).values())) == (10, 10)
    name = campaign["name"]
    assert faults.restart() == f"fault: restarted the messenger while it was sending '{name}'"
    traffic.send_some()
    assert sum(writer.tally(campaign["id"]).values()) == 10, "the list of recipients is lost"
    writer.set_campaign(campaign["id"], succeeded=10)
    wrong = faults.set_counter_wrong()
    now = writer.campaign(campaign["id"])["succeeded"]
    assert wrong == f"fault: the sent counter of '{name}' went from 10 to {now}"
    assert now != 10
    traffic.left[campaign["id"]] = 1
    traffic.send_some()
    assert writer.campaign(campaign["id"])["status"] == "COMPLETED"
    assert "before it wrote the status" in (faults.lose_completion() or "")
    assert writer.campaign(campaign["id"])["completed_at"] is None
    traffic.close()


def test_the_simulation_survives_faults_and_a_crash_of_the_database(work_dir: Path) -> None:
    lines: list[str] = []

    def said(count: int, *beginnings: str) -> Callable[[], bool]:
        return lambda: sum(line.startswith(beginnings) for line in lines) >= count

    with EmbeddedServers(work_dir) as servers:
        shop, messenger = create_platform(servers, "shop", "sms"), create_platform(servers, "messenger", "messenger")
        simulation, stop = Simulation(shop, messenger, work_dir, LIVELY, lines.append), threading.Event()
        thread = threading.Thread(target=simulation.run, args=(stop,))
        thread.start()
        try:
            wait_until(said(2, "fault", "person"))
            servers.postgres.kill()
            wait_until(said(1, "could not"))
            servers.postgres.start()
            lines.clear()
            wait_until(said(2, "campaign"))
        finally:
            stop.set()
            thread.join(15)
        assert not thread.is_alive()
        writer = shop.writer()
        assert Provider(writer.engine).double_sends() == {}
        writer.close()
