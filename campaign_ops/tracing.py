"""Traces for OpenTelemetry: a span for a command on one platform or a step of a Dagster run, and the work below it.

Only where the standard variables name a collector; needs the extra ``otel``. Whatever goes wrong here is logged, and
changes no command and no exit code.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from campaign_ops import __version__
from campaign_ops.core.errors import Refused, SweepBusy
from campaign_ops.settings import read_tracing
from campaign_ops.sweep.progress import LOGGER, Doing

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

EXPORT_SECONDS = 3
"""A collector that is away must not keep a sweep, or the scheduler behind it, waiting."""

log = logging.getLogger(__name__)


class Traces:
    """The traces of one process."""

    def __init__(self) -> None:
        self._provider = _provider()

    @contextmanager
    def command(self, name: str, platform: str) -> Iterator[Callable[[int], None]]:
        """The span of a command on one platform; takes its exit code."""
        if self._provider is None:
            yield lambda _: None
            return
        tracer = self._provider.get_tracer("campaign_ops", __version__)
        attributes = {"campaign_ops.command": name, "campaign_ops.platform": platform}
        with tracer.start_as_current_span(f"campaign-ops {name}", attributes=attributes) as span, _work(tracer):
            yield lambda code: _end(span, code)

    @contextmanager
    def step(self, name: str, platform: str, run_id: str) -> Iterator[None]:
        """The span of one step of a Dagster run; an error, except a refusal, marks it, without its text.

        All steps of a run are in the trace whose id is the run's, in whichever processes they are made.
        """
        if self._provider is None:
            yield
            return
        from opentelemetry.trace import StatusCode  # noqa: PLC0415 - an extra

        tracer = self._provider.get_tracer("campaign_ops", __version__)
        attributes = {"campaign_ops.step": name, "campaign_ops.platform": platform, "dagster.run_id": run_id}
        span = tracer.start_as_current_span(
            name,
            context=_trace_of(run_id),
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        )
        with span as current, _work(tracer):
            try:
                yield
            except (Refused, SweepBusy):
                raise
            except BaseException:
                current.set_status(StatusCode.ERROR)
                raise

    def close(self) -> None:
        """Send what has not been sent yet, for as long as `EXPORT_SECONDS`."""
        if self._provider is not None:
            self._provider.force_flush(EXPORT_SECONDS * 1000)
            self._provider.shutdown()


def _provider() -> TracerProvider | None:
    tracing = read_tracing()
    if not tracing.on:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        log.warning("no traces: %s is not installed; pip install 'campaign_ops[otel]'", error.name)
        return None
    about = {"service.version": __version__, "service.name": tracing.service_name}
    try:
        exporter = OTLPSpanExporter(timeout=EXPORT_SECONDS)
        provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    except ValueError as error:
        log.warning("no traces: %s", error)
        return None
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _trace_of(run_id: str) -> Context:
    """The context of a parent that is never sent: its trace is named like the run."""
    from opentelemetry import trace  # noqa: PLC0415 - an extra

    run = UUID(run_id)
    parent = trace.SpanContext(run.int, run.node or 1, is_remote=True, trace_flags=trace.TraceFlags(1))
    return trace.set_span_in_context(trace.NonRecordingSpan(parent))


def _end(span: Span, code: int) -> None:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415 - an extra

    span.set_attribute("campaign_ops.exit_code", code)
    if code in (1, 2):
        span.set_status(StatusCode.ERROR)


@contextmanager
def _work(tracer: Tracer) -> Iterator[None]:
    handler, progress = _Work(tracer), logging.getLogger(LOGGER)
    level = progress.level
    progress.addHandler(handler)
    progress.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        progress.removeHandler(handler)
        progress.setLevel(level)
        handler.end()


class _Work(logging.Handler):
    """A span for each piece of work, from the records that a terminal's progress is made of."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self._tracer = tracer
        self._what = ""
        self._span: Span | None = None

    def emit(self, record: logging.LogRecord) -> None:
        work = record.msg
        if not isinstance(work, Doing):
            return
        if self._span is None or work.what != self._what:
            self.end()
            self._what, self._span = work.what, self._tracer.start_span(work.what)
        if work.total is not None:
            self._span.set_attribute("campaign_ops.total", work.total)

    def end(self) -> None:
        """End the span of the last piece."""
        if self._span is not None:
            self._span.end()
            self._span = None
