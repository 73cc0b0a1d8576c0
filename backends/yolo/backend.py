"""Predicts for image tasks with one version: each network once per image, whatever number of controls share it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from backends.version_labels import read_labels
from backends.yolo.answers import REGION_TYPES, Answer, Seen, answer
from backends.yolo.converters.frame import Frame
from backends.yolo.decoding import Floats
from backends.yolo.model_spec import KINDS, MODEL_FILE, ModelSpec, read_spec
from backends.yolo.preparing import ImagePlace, Inputs, PreparedTask, prepared
from backends.yolo.runners import Runner, open_runner
from labelloop.errors import DataError, MediaError
from labelloop.values import Outcome, TaskItem

BATCH = 32
_READERS = 4
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Network:
    """A loaded network and the data keys of the images that its controls label."""

    spec: ModelSpec
    runner: Runner
    data_keys: frozenset[str]


_Key = tuple[int, ImagePlace]


class YoloBackend:
    """A loaded version; `predict` and `prepare` may be called from several threads."""

    batch_size = BATCH

    def __init__(
        self, version_dir: Path, *, device: str = "cpu", threads: int = 2, kinds: Sequence[str] = KINDS
    ) -> None:
        controls = read_labels(version_dir, *REGION_TYPES)
        self._controls = {labels.control: labels for labels in controls}
        folders = [version_dir / "model" / kind for kind in kinds]
        found = [folder for folder in folders if (folder / MODEL_FILE).is_file()]
        if not found:
            raise DataError(
                f"{version_dir} holds no yolo model (model/{kinds[0]}/{MODEL_FILE}); make this version again"
            )
        self._networks = [self._opened(folder, device, threads) for folder in found]
        keys = dict.fromkeys(key for network in self._networks for key in network.data_keys)
        self._specs = {key: [each.spec for each in self._networks if key in each.data_keys] for key in keys}
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="images")

    def _opened(self, folder: Path, device: str, threads: int) -> _Network:
        spec = read_spec(folder)
        for use in spec.controls:
            labels = self._controls.get(use.control)
            if labels is None or not set(use.mapping.values()) | set(use.points) <= set(labels.classes):
                raise DataError(
                    f"{folder.parent.parent}: labels.json and {folder.name}/model.json name different classes for "
                    f"{use.control!r}; make this version again"
                )
        device = _usable(spec.options.device or device)
        runner = open_runner(folder, device=device, threads=threads, half=spec.options.half)
        return _Network(spec, runner, frozenset(self._controls[use.control].data_key for use in spec.controls))

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for labels in self._controls.values() for name in labels.classes))

    def predict(self, tasks: Sequence[TaskItem], *, want: frozenset[str] = frozenset({"regions"})) -> list[Outcome]:
        """One outcome per task, in order; `want` may add "probs" and "embedding".

        "probs" holds each class's highest score among the task's images (with several controls, by "control/class").
        "embedding" holds the pooled features of the first network in the order of KINDS, the mean over the images.
        The uncertainty is the largest of its controls and images.
        """
        batches = [tasks[start : start + BATCH] for start in range(0, len(tasks), BATCH)]
        outcomes: list[Outcome] = []
        ahead = self._preparing(batches[0]) if batches else []
        for number in range(len(batches)):
            preparing = ahead
            ahead = self._preparing(batches[number + 1]) if number + 1 < len(batches) else []
            outcomes.extend(self._predict_batch([future.result() for future in preparing], want))
        return outcomes

    def prepare(self, task: TaskItem) -> PreparedTask:
        """The task with its images read and fitted; a task that was prepared is given back as it is."""
        return task if isinstance(task, PreparedTask) else prepared(task, self._specs)

    def _preparing(self, tasks: Sequence[TaskItem]) -> list[Future[PreparedTask]]:
        return [self._readers.submit(self.prepare, task) for task in tasks]

    def _predict_batch(self, tasks: Sequence[PreparedTask], want: frozenset[str]) -> list[Outcome]:
        gathered = [_Gathered() for _ in tasks]
        readable: dict[_Key, Mapping[str, Inputs]] = {}
        for index, task in enumerate(tasks):
            for place, inputs in task.inputs.items():
                if isinstance(inputs, MediaError):
                    gathered[index].fail(inputs.reason, str(inputs))
                else:
                    readable[index, place] = inputs
        for network in self._networks:
            kind = network.spec.kind
            for (index, place), seen in _seen(network, {k: i[kind] for k, i in readable.items() if kind in i}):
                try:
                    if isinstance(seen, Exception):
                        raise seen
                    answers = list(self._answers(network.spec, place, seen))
                except Exception as error:  # whatever a model's library raises: this image's matter only
                    _log.warning("the %s model failed on an image: %s", kind, error)
                    gathered[index].fail("error", f"the model failed on this image: {error}")
                    continue
                gathered[index].take(kind, seen.features, answers)
        return [each.outcome(list(self._controls), want) for each in gathered]

    def _answers(self, spec: ModelSpec, place: ImagePlace, seen: Seen) -> Iterator[tuple[str, Answer]]:
        """What each control of a network says of an image; boxes around points come with the points' control."""
        linked = {use.boxes for use in spec.controls}
        for use in spec.controls:
            labels = self._controls[use.control]
            if labels.data_key == place.data_key and use.control not in linked:
                frame = Frame(
                    use.control, labels.to_name, labels.type, *seen.size, item=place.item, address=place.address
                )
                yield use.control, answer(spec, use, self._controls, seen, frame)


class _Gathered:
    """What the networks say of one task so far."""

    def __init__(self) -> None:
        self._answers: list[tuple[str, Answer]] = []
        self._failures: list[tuple[str, str]] = []
        self._features: dict[str, list[Floats]] = {}

    def take(self, kind: str, features: Floats, answers: Sequence[tuple[str, Answer]]) -> None:
        self._answers += answers
        self._features.setdefault(kind, []).append(features)

    def fail(self, reason: str, detail: str) -> None:
        self._failures.append((reason, detail))

    def outcome(self, controls: Sequence[str], want: frozenset[str]) -> Outcome:
        """The task's outcome: failures count only where nothing at all was seen."""
        details = "; ".join(dict.fromkeys(detail for _, detail in self._failures))
        if not self._answers:
            reason = self._failures[0][0] if self._failures else "not_found"
            return Outcome(status=reason, detail=details or "the task names no image")
        shown = [score for _, said in self._answers for score in said.shown]
        return Outcome(
            regions=tuple(region for _, said in self._answers for region in said.regions),
            confidence=float(np.mean(shown)) if shown else None,
            uncertainty=max(said.uncertainty for _, said in self._answers),
            probs=self._probs(len(controls) > 1) if "probs" in want else None,
            embedding=self._embedding() if "embedding" in want else None,
            detail=details,
        )

    def _probs(self, several: bool) -> Mapping[str, float]:
        probs: dict[str, float] = {}
        for control, said in self._answers:
            for name, value in said.probs.items():
                unit = f"{control}/{name}" if several else name
                probs[unit] = max(probs.get(unit, 0.0), value)
        return probs

    def _embedding(self) -> tuple[float, ...]:
        kind = min(self._features, key=KINDS.index)
        return tuple(map(float, np.mean(self._features[kind], axis=0)))


def _seen(network: _Network, inputs: Mapping[_Key, Inputs]) -> Iterator[tuple[_Key, Seen | Exception]]:
    """What the network says of each image: many in one pass, or one by one when that pass fails."""
    waiting: dict[_Key, Inputs] = {}
    for key, each in inputs.items():
        waiting[key] = each
        if sum(len(one.pixels) for one in waiting.values()) >= BATCH:
            yield from _passed(network, waiting)
            waiting = {}
    yield from _passed(network, waiting)


def _passed(network: _Network, inputs: Mapping[_Key, Inputs]) -> Iterator[tuple[_Key, Seen | Exception]]:
    if not inputs:
        return
    waiting = dict(inputs)
    try:
        for key, seen in zip(inputs, _run(network, list(inputs.values())), strict=True):
            del waiting[key]
            yield key, seen
    except Exception as error:
        _log.warning("a batch of %d images failed, taking the rest one by one: %s", len(inputs), error)
    for key, each in waiting.items():
        try:
            yield key, next(_run(network, [each]))
        except Exception as error:
            yield key, error


def _run(network: _Network, inputs: Sequence[Inputs]) -> Iterator[Seen]:
    """What the network says of each image, while it computes the next ones."""
    found = network.runner.each(np.concatenate([each.pixels for each in inputs]))
    for each in inputs:
        views = list(islice(found, len(each.pixels)))
        yield Seen(each.size, each.views, [outputs for outputs, _ in views], views[0][1])


def _usable(device: str) -> str:
    """The device, or the CPU with one warning where this machine has no such thing."""
    if device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            _log.warning("this machine has no %s, the CPU is used", device)
            return "cpu"
    return device
