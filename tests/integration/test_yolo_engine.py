"""The engine of a version: converted from a real network, equal to PyTorch for every kind of head, kept or refused."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from backends.yolo import engine_export
from backends.yolo.engine import ModelSpec, build_model, import_ultralytics, load_model, save_model
from backends.yolo.engine_export import build_engine
from backends.yolo.network import raw_network
from backends.yolo.openvino_runner import NETWORK_FILE, OpenVinoRunner
from backends.yolo.runners import RECORD_FILE, TorchRunner, engine_folder, open_runner

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*")]

SIDE = 96
CLASSES = ("circle", "square", "triangle")
HEADS = {
    "detect": ("DetectionModel", "yolo11n.yaml", [(2, 7, 189)]),
    "segment": ("SegmentationModel", "yolo11n-seg.yaml", [(2, 39, 189), (2, 32, 24, 24)]),
    "obb": ("OBBModel", "yolo11n-obb.yaml", [(2, 8, 189)]),
    "pose": ("PoseModel", "yolo11n-pose.yaml", [(2, 58, 189)]),
    "classify": ("ClassificationModel", "yolo11n-cls.yaml", [(2, 3)]),
}


def pictures(count: int) -> Any:
    """Smooth coloured noise, (count, SIDE, SIDE, 3)."""
    coarse = np.random.default_rng(5).integers(0, 256, (count, SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def settled(model: Any) -> Any:
    """The network with statistics that fit `pictures`: fresh ones give the same answer whatever they see."""
    import torch
    from torch.optim.swa_utils import update_bn

    model.eval()
    update_bn([torch.from_numpy(pictures(16).transpose(0, 3, 1, 2).copy()).float() / 255], model)
    return model.eval()


def network_of(kind: str) -> Any:
    import torch

    import_ultralytics()
    import ultralytics.nn.tasks as tasks

    torch.manual_seed(3)
    name, architecture, _ = HEADS[kind]
    return settled(getattr(tasks, name)(architecture, nc=len(CLASSES), verbose=False))


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A version's model for detection with settled random weights."""
    import torch

    torch.manual_seed(3)
    folder = tmp_path / "v1" / "model" / "detect"
    spec = ModelSpec("yolo11n.yaml", CLASSES, SIDE)
    save_model(settled(build_model(spec)), spec, folder)
    return folder


def with_speeds(monkeypatch: pytest.MonkeyPatch, torch_speed: float, engine_speed: float) -> None:
    """What is computed stays real; only the clock is given."""
    measured = engine_export._measured

    def given(runner: Any, pixels: Any) -> Any:
        return torch_speed if runner.kind == "torch" else engine_speed, measured(runner, pixels)[1]

    monkeypatch.setattr(engine_export, "_measured", given)


@pytest.mark.parametrize("kind", HEADS)
def test_raw_outputs_are_those_of_the_whole_network_for_every_head(kind: str) -> None:
    import torch

    images = torch.from_numpy(pictures(2).transpose(0, 3, 1, 2).copy()).float() / 255
    with torch.inference_mode():
        whole = network_of(kind)(images)[0]
    expected = [each.numpy() for each in (whole if isinstance(whole, tuple) else [whole])]
    outputs, pooled = TorchRunner(network_of(kind), threads=1).run(pictures(2))
    assert [each.shape for each in outputs] == HEADS[kind][2]
    for ours, theirs in zip(outputs, expected, strict=True):
        assert np.allclose(ours, theirs, atol=2e-3 * np.abs(theirs).max())
    assert pooled.shape == (2, 256) and pooled.std() > 0


@pytest.mark.parametrize("kind", HEADS)
def test_a_converted_network_gives_what_torch_gives_for_every_head(kind: str) -> None:
    expected, features = TorchRunner(network_of(kind), threads=1).run(pictures(2))
    converted = engine_export._converted(network_of(kind), pictures(1))
    found, own_features = OpenVinoRunner(converted, precision="f32", threads=2).run(pictures(2))
    for ours, theirs in zip(found, expected, strict=True):
        assert np.allclose(ours, theirs, atol=2e-3 * np.abs(theirs).max())
    assert np.allclose(own_features, features, atol=2e-3 * np.abs(features).max())
    assert np.abs(expected[0][0] - expected[0][1]).max() > 1e-3  # the two images are told apart


@pytest.mark.parametrize("kind", HEADS)
def test_half_precision_keeps_coordinates_to_a_fraction_of_a_pixel(kind: str) -> None:
    import torch

    exact, _ = TorchRunner(network_of(kind), threads=1).run(pictures(2))
    with torch.inference_mode():
        *halves, pooled = raw_network(network_of(kind), half=True)(torch.from_numpy(pictures(2)))
    assert {each.dtype for each in (*halves, pooled)} == {torch.float32}
    for half, single in zip(halves, exact, strict=True):
        assert np.allclose(half.numpy(), single, atol=0.02 * np.abs(single).max())
    if kind == "detect":  # rounding to half precision after the decoding would leave multiples of 2**-5 above 32
        coordinates = halves[0].numpy()[:, :4]
        assert np.any(coordinates[coordinates > 32] % 2**-5)


def test_more_images_than_a_batch_are_answered_in_order(model_folder: Path) -> None:
    runner = TorchRunner(load_model(model_folder, "cpu")[0], threads=1)
    images = pictures(6)
    together, pooled = runner.run(images)
    for index in range(6):
        alone, _ = runner.run(images[index : index + 1])
        assert np.allclose(together[0][index], alone[0][0], atol=1e-2)
    assert len(pooled) == 6
    for index, (outputs, features) in enumerate(runner.each(images)):
        assert (outputs[0] == together[0][index]).all() and (features == pooled[index]).all()
    assert index == 5


def test_an_engine_that_is_equal_and_faster_is_kept_and_serves(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_speeds(monkeypatch, 10.0, 20.0)
    monkeypatch.setattr(engine_export, "native_precisions", lambda: ("f32",))
    record = build_engine(model_folder, threads=2)
    assert record is not None and record.kept and record.precision == "f32"
    told = orjson.loads((engine_folder(model_folder) / RECORD_FILE).read_bytes())
    assert told["torch_images_per_s"] == 10.0 and told["tried"][0]["images_per_s"] == 20.0
    assert told["tried"][0]["difference"]["score"] < 1e-3
    assert told["openvino"] and told["cpu"] and told["checked_images"] == engine_export.CHECKED_IMAGES
    served = open_runner(model_folder, threads=2)
    assert served.kind == "openvino"
    expected, features = TorchRunner(load_model(model_folder, "cpu")[0], threads=1).run(pictures(3))
    found, own_features = served.run(pictures(3))
    assert engine_export.compare((expected, features), (found, own_features), len(CLASSES)).tolerable


def test_an_engine_that_is_not_faster_is_refused_and_the_record_says_so(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_speeds(monkeypatch, 20.0, 10.0)
    record = build_engine(model_folder, threads=1)
    assert record is not None and not record.kept and "not kept" in record.reason
    assert [each.name for each in engine_folder(model_folder).iterdir()] == [RECORD_FILE]
    assert open_runner(model_folder, threads=1).kind == "torch"


def test_an_engine_that_answers_otherwise_is_refused(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_speeds(monkeypatch, 10.0, 20.0)
    monkeypatch.setattr(engine_export, "SCORE_TOLERANCE", -1.0)
    record = build_engine(model_folder, threads=1)
    assert record is not None and not record.kept
    assert record.tried[-1]["precision"] == "f32"  # every precision had its turn
    assert not (engine_folder(model_folder) / NETWORK_FILE).exists()


def test_without_openvino_a_version_is_made_all_the_same(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level(logging.WARNING):
        assert build_engine(model_folder, threads=1) is None
    assert "PyTorch will serve it" in caplog.text
    assert not engine_folder(model_folder).exists()
    assert open_runner(model_folder, threads=1).kind == "torch"


def test_building_again_replaces_the_engine_and_leaves_torch_threads_alone(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    with_speeds(monkeypatch, 10.0, 20.0)
    build_engine(model_folder, threads=1)
    (engine_folder(model_folder) / "leftover").touch()
    before = torch.get_num_threads()
    build_engine(model_folder, threads=before + 1)
    assert torch.get_num_threads() == before
    assert not (engine_folder(model_folder) / "leftover").exists()
