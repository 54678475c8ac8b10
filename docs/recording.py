"""Records a session on the command line as an animated picture, on the demo's data, with Chromium: `make recording`."""

from __future__ import annotations

import html
import io
import os
import pty
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from campaign_ops.journal.migrations import migrate
from campaign_ops.lab.demo.stuck_platforms import build_sms, write_config
from campaign_ops.lab.servers.embedded import EmbeddedServers
from campaign_ops.settings import connect, load_settings

PICTURE = Path(__file__).parent / "images" / "session.gif"
CHROMIUM = "/usr/bin/chromium"
COLUMNS, LINES = 116, 34
SCROLLED = 20  # lines a frame
TYPED, SCROLL, READ = 0.9, 0.5, 4.0  # seconds that a frame is shown
LARGEST = 600_000  # bytes
COMMANDS = (
    "campaign-ops plan",
    "campaign-ops reconcile",
    "campaign-ops undo 8 --reason 'the shop wants to add recipients'",
)
"""The last one tries out and prints the command that does it, which is run, too."""

Frame = tuple[list[str], float]
"""The lines on the screen, with their colours as ANSI codes, and the seconds that they are shown."""


def main() -> None:
    """Build the demo's platform, run the commands on it in a terminal, and write the picture."""
    with tempfile.TemporaryDirectory() as work_dir, EmbeddedServers(Path(work_dir)) as servers:
        demo = build_sms(servers)
        try:
            config = write_config(Path(work_dir) / "campaign_ops.yaml", [demo])
            with closing(connect(load_settings(config).platform("sms"))) as platform:
                migrate(platform.database)
            frames = list(_session(config))
        finally:
            demo.stop_workers()
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"]) as browser,
    ):
        _write(browser.new_page(viewport={"width": 960, "height": 640}), frames)
    print(PICTURE, PICTURE.stat().st_size)  # noqa: T201
    assert PICTURE.stat().st_size < LARGEST, f"{PICTURE} is too large"


def _session(config: Path) -> Iterator[Frame]:
    screen: list[str] = []
    commands = list(COMMANDS)
    while commands:
        command = commands.pop(0)
        screen.append(f"\x1b[1;32m$\x1b[0m {command}")
        yield screen[-LINES:], TYPED
        printed = _run(command, config)
        for start in range(0, len(printed), SCROLLED):
            screen += printed[start : start + SCROLLED]
            yield screen[-LINES:], SCROLL
        yield screen[-LINES:], READ
        screen.append("")
        if not commands and "--confirm" not in command:
            commands.append(printed[-1].strip())


def _run(command: str, config: Path) -> list[str]:
    """What a command prints on a terminal of that size."""
    program = Path(sys.executable).parent / "campaign-ops"
    environment = {**os.environ, "CAMPAIGN_OPS_CONFIG": str(config), "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    ours, its = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        child = subprocess.Popen(
            [program, *shlex.split(command)[1:]], stdin=its, stdout=its, stderr=its, env=environment
        )
        os.close(its)
        printed = b""
        try:
            while piece := terminal.read(65_536):
                printed += piece
        except OSError:  # Linux says so when the last process has closed it
            pass
        child.wait()
    return printed.decode().replace("\r\n", "\n").rstrip("\n").split("\n")


def _write(page: Page, frames: list[Frame]) -> None:
    pictures = [_draw(page, lines) for lines, _ in frames]
    first, *others = pictures
    first.save(
        PICTURE,
        save_all=True,
        append_images=others,
        duration=[round(1000 * seconds) for _, seconds in frames],
        loop=0,
        optimize=True,
    )


def _draw(page: Page, lines: list[str]) -> Image.Image:
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(Text.from_ansi(line), soft_wrap=True)
    style = "margin:0;padding:14px;background:#0c0c0c;font:13px/17px 'DejaVu Sans Mono',monospace;white-space:pre"
    text = console.export_html(theme=MONOKAI, inline_styles=True, code_format="{code}")
    page.set_content(f"<body style=\"{html.escape(style)}\"><div style='color:#d9d9d9'>{text}</div></body>")
    shown = Image.open(io.BytesIO(page.screenshot()))
    return shown.convert("RGB").quantize(12, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main()
