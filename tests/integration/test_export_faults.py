"""An export that is killed at any point, or meets a full disk: the earlier export stays, or the new one is whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

pytestmark = pytest.mark.integration

CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    '<Label value="ant"/></RectangleLabels></View>'
)
#: Calls after or before which an export may be cut off: (module, name, which call).
POINTS = [
    ("sync.formats.publishing", "_recover", 1),
    ("sync.formats.image_names", "_repeated", 1),
    ("sync.formats.parts", "_keep", 1),
    ("sync.formats.parts", "_keep", 3),
    ("sync.formats.coco", "_join_numbered", 1),
    ("sync.formats.provenance", "join_provenance", 1),
    ("sync.formats.exporting", "write_json", 1),
    ("pathlib.Path", "rename", 1),
    ("pathlib.Path", "rename", 2),
    ("shutil", "rmtree", 2),
]
#: Runs one export that kills itself with SIGKILL right after the n-th call of a function.
CUT_OFF = """
import importlib, os, signal, sys
from pathlib import Path
from sync.formats.exporting import export_dataset
from sync.formats.sources import open_export
module, name, which = sys.argv[4], sys.argv[5], int(sys.argv[6])
if module:
    owner = Path if module == "pathlib.Path" else importlib.import_module(module)
    real, calls = getattr(owner, name), []
    def then_die(*args, **kwargs):
        result = real(*args, **kwargs)
        calls.append(name)
        if len(calls) == which:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, then_die)
source = open_export(Path(sys.argv[1]), Path(sys.argv[2]), "latest")
export_dataset(source, "coco", Path(sys.argv[3]))
"""


def write_export(folder: Path, tasks: int, label_at: float) -> None:
    """export.json and config.xml: `tasks` images with one box each."""
    value = {"x": label_at, "y": 10, "width": 10, "height": 10, "rotation": 0, "rectanglelabels": ["ant"]}
    region = {
        "id": "r", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": value,
        "original_width": 200, "original_height": 100,
    }  # fmt: skip
    made: list[dict[str, Any]] = [
        {
            "id": i,
            "data": {"image": f"/d/{i}.png"},
            "annotations": [{"id": i, "completed_by": 1, "result": [region], "updated_at": "2026-01-01T00:00:00Z"}],
        }
        for i in range(1, tasks + 1)
    ]
    (folder / "export.json").write_bytes(orjson.dumps(made))
    (folder / "config.xml").write_text(CONFIG)


def export(
    folder: Path, out: Path, *point: str, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-c",
        CUT_OFF,
        folder / "export.json",
        folder / "config.xml",
        out,
        *(point or ("", "", "0")),
    ]
    root = Path(__file__).parents[2]
    return subprocess.run(
        list(map(str, command)),
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **(environ or {})},
    )


def items_in(out: Path) -> int:
    """Images of a whole export; every file that its manifest names is there."""
    manifest = json.loads((out / "manifest.json").read_text())
    assert all((out / name).is_file() for name in manifest["files"])
    images = sum(len(json.loads(file.read_text())["images"]) for file in (out / "annotations").glob("instances_*.json"))
    assert images == manifest["items"]
    return images


@pytest.mark.parametrize(("module", "name", "which"), POINTS, ids=lambda value: str(value))
def test_a_killed_export_leaves_the_earlier_one_or_the_new_one(
    module: str, name: str, which: int, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_export(tmp_path, 1200, 10)
    assert export(tmp_path, out).returncode == 0
    before = items_in(out)
    write_export(tmp_path, 2400, 30)
    cut = export(tmp_path, out, module, name, str(which))
    assert cut.returncode == -signal.SIGKILL, cut.stderr
    assert not out.exists() or items_in(out) in (before, 2400)
    done = export(tmp_path, out)
    assert done.returncode == 0, done.stderr
    assert items_in(out) == 2400
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.xml", "export.json", "out"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"this account may not mount a small file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def command_line(folder: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("labelloop")
    command = [program, "export", "--file", folder / "export.json", "--config", folder / "config.xml", "--out", out]
    return subprocess.run(
        [*map(str, command), "--format", "coco", *more], cwd=folder, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_full_disk_is_told_and_keeps_the_earlier_export(workers: str, small_disk: Path, tmp_path: Path) -> None:
    out = small_disk / "out"
    write_export(tmp_path, 200, 10)
    assert command_line(tmp_path, out).returncode == 0
    write_export(tmp_path, 30_000, 30)
    full = command_line(tmp_path, out, "--workers", workers)
    assert full.returncode == 1
    assert "the disk is full" in full.stderr and "Traceback" not in full.stderr
    assert items_in(out) == 200
    assert [p.name for p in small_disk.iterdir()] == ["out"]
    write_export(tmp_path, 300, 30)
    assert command_line(tmp_path, out).returncode == 0
    assert items_in(out) == 300
