"""Exports of 20,000 images and 50,000 texts as whole processes, beside the converter of `label_studio_sdk`; and their memory."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks._comparison import released, show
from benchmarks._format_exports import image_config, images, text_config, texts, write_export

IMAGES, BOXES = 20_000, 8
TEXTS, SPANS = 50_000, 6
#: Anonymous memory of all processes of an export together.
MEMORY_MB = 250
_SAMPLE_S = 0.02


@dataclass(frozen=True)
class Case:
    """One comparison: our format, the peer's method, what it reads, and how many times faster ours must be."""

    format: str
    method: str
    texts: bool
    must_be: float


CASES = (
    Case("coco", "convert_to_coco", False, 4.0),
    Case("yolo", "convert_to_yolo", False, 6.0),
    Case("voc", "convert_to_voc", False, 6.0),
    Case("conll", "convert_to_conll2003", True, 3.0),
    Case("csv", "convert_to_csv", True, 3.0),
)
#: The peer, timing its call alone.
PEER = """
import logging, sys, time
from pathlib import Path
from label_studio_sdk.converter import Converter
logging.disable(logging.CRITICAL)
method, export, config, out = sys.argv[1:]
converter = Converter(Path(config).read_text(), out, download_resources=False)
more = {"sep": ","} if method == "convert_to_csv" else {}
began = time.perf_counter()
getattr(converter, method)(export, out, is_dir=False, **more)
print(time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Ran:
    """One export of ours: seconds of the whole process, its report, and where that was watched the most anonymous memory."""

    seconds: float
    report: dict[str, Any]
    anonymous_mb: float


def ours(format: str, export: Path, config: Path, out: Path, *, watched: bool) -> Ran:
    """`labelloop export --file`, from the start of the process to its end.

    To watch its memory is to look through all processes 50 times a second, on the cores that it runs on: the time of such
    a run tells nothing.
    """
    program = Path(sys.executable).with_name("labelloop")
    command = [program, "export", "--file", export, "--config", config, "--format", format, "--out", out, "--json"]
    began = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE)
    most = 0.0
    while watched and process.poll() is None:
        most = max(most, anonymous_mb(process.pid))
        time.sleep(_SAMPLE_S)
    said, _ = process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode != 0:
        raise RuntimeError(f"labelloop export --format {format} ended with {process.returncode}")
    return Ran(seconds, json.loads(said), most)


def theirs(method: str, export: Path, config: Path, out: Path) -> float:
    """Seconds of the converter's call alone, in a process of its own."""
    command = [sys.executable, "-c", PEER, method, export, config, out]
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
    return float(ran.stdout.split()[-1])


def fresh_folder(scratch: Path) -> Path:
    """A folder that stays until the benchmark ends.

    For minutes after 20,000 files were deleted, ext4 makes new ones at a tenth of its speed (it does not give their inodes
    away at once), and either side would pay for what the other left behind.
    """
    return Path(tempfile.mkdtemp(dir=scratch))


def anonymous_mb(pid: int) -> float:
    """Anonymous resident memory of a process and all below it, in MB (2^20); 0 where it has ended."""
    total = 0
    try:
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            status = Path(f"/proc/{each.pid}/status").read_text()
            total += int(status.partition("RssAnon:")[2].split()[0])
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError, IndexError):
        pass
    return total / 1024


def compare(
    case: Case, export: Path, config: Path, scratch: Path, repeats: int, tasks: int, objects: int
) -> dict[str, Any]:
    """One row: both sides in turn, who goes first changing; the first run of each is for the memory alone."""
    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    memory, report = 0.0, {}

    def run_ours() -> None:
        nonlocal memory, report
        ran = ours(case.format, export, config, fresh_folder(scratch) / "out", watched=not seconds["ours"])
        seconds["ours"].append(ran.seconds)
        memory, report = max(memory, ran.anonymous_mb), ran.report

    def run_peer() -> None:
        seconds["peer"].append(theirs(case.method, export, config, fresh_folder(scratch)))

    for repeat in range(repeats + 1):
        for side in (run_ours, run_peer) if repeat % 2 == 0 else (run_peer, run_ours):
            side()
    pairs = [peer / own for own, peer in zip(seconds["ours"][1:], seconds["peer"][1:], strict=True)]
    what = f"{case.format}, {tasks} {'texts' if case.texts else 'images'}, whole process against the call alone"
    return {
        "what": what,
        "peer": f"{released('label-studio-sdk')} {case.method}",
        "repeats": repeats,
        "ours_s": round(statistics.median(seconds["ours"][1:]), 3),
        "peer_s": round(statistics.median(seconds["peer"][1:]), 3),
        "ratio": round(statistics.median(pairs), 2),
        "ratio_low": round(min(pairs), 2),
        "ratio_high": round(max(pairs), 2),
        "must_be": case.must_be,
        "equal": (report["items"], report["objects"]) == (tasks, objects),
        "anonymous_mb": round(memory, 1),
    }


def measure(repeats: int, only: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The comparisons, on one generated export of images and one of texts."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="labelloop-benchmark-") as folder:
        scratch = Path(folder)
        made: dict[bool, Path] = {}
        for case in CASES:
            if only and case.format not in only:
                continue
            config = scratch / f"config-{case.texts}.xml"
            if case.texts not in made:
                made[case.texts] = scratch / f"export-{case.texts}.json"
                write_export(made[case.texts], texts(TEXTS, SPANS) if case.texts else images(IMAGES, BOXES))
                config.write_text(text_config() if case.texts else image_config())
            tasks = TEXTS if case.texts else IMAGES
            objects = tasks * (SPANS if case.texts else BOXES)
            rows.append(compare(case, made[case.texts], config, scratch, repeats, tasks, objects))
    return rows


def measure_memory(sizes: Sequence[int] = (20_000, 200_000), format: str = "coco") -> list[dict[str, Any]]:
    """The most anonymous memory of an export of each size."""
    rows = []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="labelloop-benchmark-") as folder:
            scratch = Path(folder)
            write_export(scratch / "export.json", images(size, BOXES))
            (scratch / "config.xml").write_text(image_config())
            ran = ours(format, scratch / "export.json", scratch / "config.xml", scratch / "out", watched=True)
        rows.append(
            {
                "what": f"{format}, anonymous memory in MB, {size} images",
                "peer": f"at most {MEMORY_MB} MB",
                "ours_s": round(ran.anonymous_mb, 1),
                "peer_s": float(MEMORY_MB),
                "ratio": round(MEMORY_MB / ran.anonymous_mb, 2),
                "ratio_low": round(MEMORY_MB / ran.anonymous_mb, 2),
                "ratio_high": round(MEMORY_MB / ran.anonymous_mb, 2),
                "must_be": 1.0,
                "unit": "MB",
                "equal": ran.report["items"] == size,
                "seconds": round(ran.seconds, 2),
            }
        )
    return rows


def main() -> None:
    """Print the comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=3, help="how often each side runs (default 3)")
    parser.add_argument("--only", nargs="*", default=(), help="these formats alone")
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="measure memory too")
    given = parser.parse_args()
    rows = measure(given.repeats, given.only)
    show("formats", rows + (measure_memory() if given.memory else []), as_json=given.json)


if __name__ == "__main__":
    main()
