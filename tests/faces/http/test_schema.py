"""The API and its description agree: schemathesis sends what the description allows, and what it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from campaign_ops.faces.http import protection
from tests.conftest import World
from tests.faces.http.conftest import Api

SCHEMATHESIS = Path(sys.executable).parent / "schemathesis"


@pytest.mark.slow
def test_every_endpoint_does_what_openapi_says(
    api: Api, sms: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("READS_PER_MINUTE", "CHANGES_PER_MINUTE", "STRANGERS_PER_MINUTE", "GUESSES_PER_MINUTE"):
        monkeypatch.setattr(protection, limit, 1_000_000)
    sms.app.add_campaign("lost", pending=3)
    sms.app.add_campaign("done", succeeded=3)
    sms.sweep()
    command = [
        str(SCHEMATHESIS),
        "run",
        f"{api.url}/api/openapi.json",
        "--header",
        f"Authorization: Bearer {api.token()}",
    ]
    options = ["--max-examples", "4", "--seed", "1", "--phases", "examples,coverage,fuzzing", "--no-color"]
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "lost" in {row["campaign_id"] for row in sms.rows("SELECT campaign_id FROM campaign_ops.attempt")}
