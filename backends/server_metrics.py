"""The numbers of one backend process, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from backends.serving import ServedModels
from labelloop.hints import HintSender

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TASKS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class BackendMetrics:
    """The numbers of one backend, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._tasks = self._counter("labelloop_predict_tasks", "Tasks answered, by reason", "reason")
        self._seconds = self._histogram("labelloop_predict_seconds", "Seconds per /predict request", _SECONDS)
        self._batch_tasks = self._histogram("labelloop_batch_tasks", "Tasks per batch of a model", _TASKS)
        self._batch_seconds = self._histogram("labelloop_batch_seconds", "Seconds per batch of a model", _SECONDS)
        self.events = self._counter("labelloop_webhook_events", "Events received", "action")
        self.busy = self._counter("labelloop_busy", "Requests refused because all were busy")

    def watch(self, models: ServedModels, hints: HintSender) -> None:
        """Read these at each look."""
        self._gauge("labelloop_models_loaded", "Models in memory", lambda: models.loaded_count)
        self._gauge("labelloop_model_load_failures", "Loads that failed", lambda: models.load_failures)
        self._gauge("labelloop_store_up", "1 when the store answered last time", lambda: int(models.store_up))
        self._gauge("labelloop_ready", "1 when every served model is loaded", lambda: int(not models.not_ready()))
        self._gauge("labelloop_hints_failed", "Hints that Redis did not take", lambda: hints.failed)
        self._gauge("labelloop_hints_waiting", "Hints not yet taken", lambda: hints.waiting)

    def note_request(self, reasons: Mapping[str, int], seconds: float) -> None:
        """Count one /predict request: its tasks by reason, and how long it took."""
        for reason, count in reasons.items():
            self._tasks.labels(reason).inc(count)
        self._seconds.observe(seconds)

    def note_batch(self, tasks: int, seconds: float) -> None:
        """Count one batch of a model."""
        self._batch_tasks.observe(tasks)
        self._batch_seconds.observe(seconds)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, buckets=buckets, registry=self.registry)

    def _gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        Gauge(name, text, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
