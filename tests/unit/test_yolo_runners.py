"""Which runner serves a version, what an engine does with its streams, and when it counts as equal to PyTorch."""

from __future__ import annotations

import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from backends.yolo import openvino_runner, runners
from backends.yolo.engine_export import compare
from backends.yolo.openvino_runner import NETWORK_FILE, OpenVinoRunner, import_openvino
from backends.yolo.runners import RECORD_FILE, engine_folder, open_runner

SIDE = 8


class FakeTorchRunner:
    kind = "torch"

    def __init__(self, model: Any, *, device: str = "cpu", threads: int = 2, half: bool = True) -> None:
        self.model, self.device, self.threads = model, device, threads


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model folder of a version whose network is never opened."""
    monkeypatch.setattr(runners, "TorchRunner", FakeTorchRunner)
    monkeypatch.setattr(runners, "load_model", lambda folder, device: (f"network of {folder.name}", None))
    return tmp_path / "v1" / "model" / "detect"


def mean_network(scale: float = 1.0) -> Any:
    """Pixels (1, SIDE, SIDE, 3) to their means (1, 3) times `scale`, and to their sum (1, 1)."""
    openvino = import_openvino()
    from openvino import opset13 as ops

    pixels = ops.parameter([1, SIDE, SIDE, 3], openvino.Type.u8)
    numbers = ops.convert(pixels, "f32")
    means = ops.multiply(ops.reduce_mean(numbers, np.array([1, 2]), False), np.float32(scale))
    return openvino.Model([means, ops.reduce_sum(numbers, np.array([1, 2]), False)], [pixels])


def write_engine(model_folder: Path, network: Any, precision: str = "f32") -> Path:
    folder = engine_folder(model_folder)
    folder.mkdir(parents=True)
    import_openvino().save_model(network, folder / NETWORK_FILE, compress_to_fp16=False)
    (folder / RECORD_FILE).write_bytes(orjson.dumps({"precision": precision}))
    return folder


def numbered(count: int) -> np.ndarray[Any, Any]:
    return np.stack([np.full((SIDE, SIDE, 3), number, dtype=np.uint8) for number in range(count)])


def test_the_engine_lies_beside_the_model_of_its_kind() -> None:
    assert engine_folder(Path("/v/yolo-p1-v1/model/obb")) == Path("/v/yolo-p1-v1/engine/openvino/obb")


def test_a_version_without_an_engine_is_served_by_torch_silently(
    version: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        runner = open_runner(version, device="cpu", threads=3)
    assert isinstance(runner, FakeTorchRunner)
    assert (runner.model, runner.device, runner.threads) == ("network of detect", "cpu", 3)
    assert not caplog.records


def test_a_version_with_an_engine_is_served_by_it(version: Path) -> None:
    write_engine(version, mean_network())
    runner = open_runner(version, device="cpu", threads=2)
    assert runner.kind == "openvino"
    outputs, pooled = runner.run(numbered(2))
    assert outputs[0].tolist() == [[0, 0, 0], [1, 1, 1]]
    assert pooled.tolist() == [[0, 0, 0], [64, 64, 64]]


def test_a_gpu_takes_torch_although_there_is_an_engine(version: Path) -> None:
    write_engine(version, mean_network())
    assert open_runner(version, device="cuda:0", threads=2).kind == "torch"


def test_an_engine_for_a_precision_that_this_processor_lacks_computes_in_f32(
    version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_engine(version, mean_network(), precision="bf16")
    asked = []
    monkeypatch.setattr(runners, "native_precisions", lambda: ("f32",))
    monkeypatch.setattr(runners, "OpenVinoRunner", lambda network, *, precision, threads: asked.append(precision))
    open_runner(version)
    assert asked == ["f32"]


def test_without_half_precision_an_engine_computes_in_f32(version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_engine(version, mean_network(), precision="bf16")
    asked = []
    monkeypatch.setattr(runners, "native_precisions", lambda: ("bf16", "f32"))
    monkeypatch.setattr(runners, "OpenVinoRunner", lambda network, *, precision, threads: asked.append(precision))
    for half in (True, False):
        open_runner(version, half=half)
    assert asked == ["bf16", "f32"]


def damage_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / NETWORK_FILE).write_text("<net/>")


def damage_record(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / RECORD_FILE).unlink()


def lose_openvino(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)


def make_infinite(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_openvino().save_model(mean_network(np.inf), folder / NETWORK_FILE, compress_to_fp16=False)


@pytest.mark.parametrize("harm", [damage_network, damage_record, lose_openvino, make_infinite])
def test_an_engine_that_does_not_work_here_costs_one_line_and_torch_serves(
    version: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, harm: Any
) -> None:
    harm(write_engine(version, mean_network()), monkeypatch)
    with caplog.at_level(logging.WARNING):
        runner = open_runner(version, device="cpu", threads=2)
    assert runner.kind == "torch"
    (line,) = [record.getMessage() for record in caplog.records]
    assert "PyTorch serves" in line and "\n" not in line


def test_importing_openvino_reports_nothing() -> None:
    import_openvino()
    from openvino.tools.ovc import telemetry

    assert "openvino_telemetry" not in type(telemetry).__module__


@pytest.mark.parametrize("threads", [1, 2, 9])
def test_results_keep_the_order_of_the_images_also_when_several_callers_share_an_engine(threads: int) -> None:
    runner = OpenVinoRunner(mean_network(), precision="f32", threads=threads)
    numbers = list(range(40))
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda _: runner.run(numbered(40)), range(8)))
    for (means,), sums in answers:
        assert means[:, 0].tolist() == numbers
        assert (sums[:, 0] / SIDE**2).tolist() == numbers


def test_image_by_image_gives_what_all_together_give() -> None:
    runner = OpenVinoRunner(mean_network(), precision="f32", threads=2)
    (means,), sums = runner.run(numbered(5))
    found = list(runner.each(numbered(5)))
    assert [outputs[0].tolist() for outputs, _ in found] == means.tolist()
    assert [pooled.tolist() for _, pooled in found] == sums.tolist()


def test_the_streams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    pool = openvino_runner.ThreadPoolExecutor
    monkeypatch.setattr(
        openvino_runner, "ThreadPoolExecutor", lambda count, **names: made.append(count) or pool(count, **names)
    )
    for threads in (1, 2, 64):
        OpenVinoRunner(mean_network(), precision="f32", threads=threads)
    assert made == [1, 2, openvino_runner.MOST_STREAMS]


def raw(scores: list[float], boxes: float = 10.0, rest: float = 1.0, feature: float = 1.0) -> Any:
    """One image's raw outputs with an anchor per score: box rows, one class, one row more."""
    main = np.array([[boxes] * len(scores)] * 4 + [scores] + [[rest] * len(scores)], dtype=np.float32)
    return [main[None]], np.full((1, 3), feature, dtype=np.float32)


@pytest.mark.parametrize(
    ("found", "tolerable"),
    [
        (raw([0.9, 0.1]), True),
        (raw([0.92, 0.12], boxes=11.0, rest=1.01, feature=1.01), True),
        (raw([0.9, 0.2]), False),
        (raw([0.9, 0.1], boxes=13.0), False),
        (raw([0.9, 0.1], rest=1.2), False),
        (raw([0.9, 0.1], feature=1.2), False),
    ],
)
def test_an_engine_is_equal_within_tolerances_of_scores_boxes_and_features(found: Any, tolerable: bool) -> None:
    assert compare(raw([0.9, 0.1]), found, 1).tolerable is tolerable


def test_boxes_are_compared_where_the_model_is_sure_of_something() -> None:
    (expected,), features = raw([0.9, 0.05])
    (found,), _ = raw([0.9, 0.05])
    found[0, :4, 1], found[0, 5, 1] = 300.0, 9.0  # of the second box, which nobody is shown
    assert compare(([expected], features), ([found], features), 1).tolerable


def test_without_a_sure_box_the_likeliest_are_compared() -> None:
    assert not compare(raw([0.1, 0.05]), raw([0.1, 0.05], boxes=300.0), 1).tolerable
    scores = [0.1] * 20 + [0.01]
    (found,), features = raw(scores)
    found[0, :4, -1] = 300.0
    assert compare(raw(scores), ([found], features), 1).tolerable


def test_prototypes_and_probabilities_are_compared_too() -> None:
    (main,), features = raw([0.9])
    prototypes = np.ones((1, 2, 4, 4), dtype=np.float32)
    assert not compare(([main, prototypes], features), ([main, prototypes * 1.2], features), 1).tolerable
    probabilities = np.array([[0.7, 0.3]], dtype=np.float32)
    assert compare(([probabilities], features), ([probabilities + 0.06], features), 2).score == pytest.approx(0.06)


def test_numbers_that_are_none_are_never_equal() -> None:
    assert not compare(raw([0.9]), raw([np.nan]), 1).tolerable
