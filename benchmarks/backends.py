"""Backends over HTTP beside the bare model and beside a peer: images per second, latency, memory and accuracy."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from backends import backend_module
from benchmarks._backend_models import (
    LARGE,
    SMALL,
    Trained,
    at_size,
    engine_told,
    montages,
    short_text,
    spacy_version,
    text_version,
    yolo_version,
)
from benchmarks._backend_process import running
from benchmarks._comparison import arguments, released
from labelloop.demo.texts import generate_ner
from labelloop.values import TaskItem

Row = dict[str, Any]

THREADS = 2
CLIENTS, PER_REQUEST, REQUESTS = 4, 8, 12
SHEETS = 32
SINGLES = 300
FASTER, MOST_MS, MOST_GROWTH, MOST_MAP_LOSS = 3.0, 15.0, 0.02, 0.005
WARM_UP, PREDICTIONS = 2_000, 5_000
TEXTS, SPACY_SHARE = 200, 0.85


def main() -> None:
    """Print every row; `ok` tells whether it is as it must be."""
    given = arguments(__doc__ or "", repeats=5)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="labelloop-benchmark-") as folder:
        for row in measure(Path(folder), given.repeats):
            rows.append(row)
            _tell(f"{row['what']}: {row['ours']} against {row['peer']}")
    if given.json:
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}
        print(
            orjson.dumps(
                {"benchmark": "backends", "machine": machine, "rows": rows}, option=orjson.OPT_INDENT_2
            ).decode()
        )
    else:
        for row in rows:
            verdict = "ok" if row["ok"] else "NOT OK"
            print(f"{row['what']:58} {row['ours']!s:>12} {row['peer']!s:>12} {row['must_be'] or '':>22}  {verdict}")


def measure(scratch: Path, repeats: int) -> Iterator[Row]:
    """The rows, each as soon as it is known."""
    yolo = yolo_version(scratch / "yolo", _tell)
    small = at_size(yolo, scratch / "small" / "yolo-p1-v1", SMALL, engine=True, threads=THREADS)
    plain = at_size(yolo, scratch / "plain" / "yolo-p1-v1", SMALL, engine=False, threads=THREADS)
    large = at_size(yolo, scratch / "large" / "yolo-p1-v1", LARGE, engine=True, threads=THREADS)
    yield accuracy_row(yolo, small, plain)
    for device in devices():
        yield speed_row(yolo, large, scratch / f"speed-{device}", repeats, device)
    yield from single_task_rows(yolo, small, scratch / "single-yolo")
    text = text_version(scratch / "text", "sklearn_text", _tell)
    yield text_latency_row(text, scratch / "single-text")
    yield spacy_row(scratch / "spacy", repeats)


def devices() -> list[str]:
    """The CPU, and a GPU where PyTorch finds one."""
    import torch

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def accuracy_row(trained: Trained, with_engine: Path, without: Path) -> Row:
    """mAP50 of the engine beside PyTorch's, of the same weights on the same held-out images."""
    trainer = backend_module("yolo").trainer()
    ours, peer = (trainer.evaluate(version, trained.dataset) for version in (with_engine, without))
    told = engine_told(with_engine)
    return _row(
        f"yolo mAP50 of the engine, {ours.n} images", round(ours.value, 5), round(peer.value, 5),
        ours.value / peer.value if peer.value else 0.0, f"within {MOST_MAP_LOSS} of the peer",
        abs(ours.value - peer.value) <= MOST_MAP_LOSS, peer_is="the same weights in PyTorch", engine=told,
    )  # fmt: skip


def speed_row(trained: Trained, version: Path, scratch: Path, repeats: int, device: str) -> Row:
    """Images per second through /predict, beside ultralytics' own predict, one file after the other."""
    upload = scratch / "files" / "data" / "upload"
    sheets = montages(trained.dataset.parent / "drawn", upload, SHEETS)
    peer = ultralytics_model(version)
    data = [{"image": f"/data/upload/{sheet.name}"} for sheet in sheets]
    ours_per_s: list[float] = []
    peer_per_s: list[float] = []
    asking: list[float] = []
    ours_cpu: list[float] = []
    peer_cpu: list[float] = []
    with running(
        "yolo", version, trained.config, data, scratch, files=scratch / "files", device=device, threads=THREADS
    ) as backend:
        backend.drive(REQUESTS, PER_REQUEST, CLIENTS)
        _one_by_one(peer, sheets[:4], device)
        for repeat in range(repeats):
            for side in ("ours", "peer") if repeat % 2 == 0 else ("peer", "ours"):
                if side == "ours":
                    used = backend.cpu_s()
                    load = backend.drive(REQUESTS, PER_REQUEST, CLIENTS)
                    ours_cpu.append((backend.cpu_s() - used) / load.tasks)
                    ours_per_s.append(load.per_s)
                    asking.append(load.asking_share)
                else:
                    used = time.process_time()
                    peer_per_s.append(_one_by_one(peer, sheets, device))
                    peer_cpu.append((time.process_time() - used) / len(sheets))
    ratios = [ours / theirs for ours, theirs in zip(ours_per_s, peer_per_s, strict=True)]
    ratio = statistics.median(ratios)
    on_cpu = device == "cpu"
    return _row(
        f"yolo11n at {LARGE} px, {device}: images/s over HTTP", round(statistics.median(ours_per_s), 1),
        round(statistics.median(peer_per_s), 1), ratio, f">= {FASTER}" if on_cpu else None,
        ratio >= FASTER or not on_cpu, peer_is=f"{released('ultralytics')} predict, file by file",
        ratio_low=round(min(ratios), 2), ratio_high=round(max(ratios), 2), clients=CLIENTS,
        tasks_per_request=PER_REQUEST, ours_cpu_ms=round(1000 * statistics.median(ours_cpu), 1),
        peer_cpu_ms=round(1000 * statistics.median(peer_cpu), 1), load_generator_cpu_share=round(statistics.median(asking), 3),
        engine=engine_told(version) if on_cpu else {},
    )  # fmt: skip


def ultralytics_model(version: Path) -> Any:
    """The version's first network as ultralytics' own YOLO object."""
    from backends.yolo.engine import import_ultralytics, load_model

    import_ultralytics()
    from ultralytics import YOLO

    model, spec = load_model(next((version / "model").rglob("model.json")).parent, "cpu")
    peer = YOLO(spec.architecture, task="detect")
    peer.model = model
    return peer


def _one_by_one(peer: Any, files: Sequence[Path], device: str) -> float:
    """Images per second; the peer's own threads, image size and thresholds."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    began = time.perf_counter()
    for file in files:
        peer.predict(str(file), imgsz=LARGE, device=device, verbose=False)
    return len(files) / (time.perf_counter() - began)


def single_task_rows(trained: Trained, version: Path, scratch: Path) -> Iterator[Row]:
    """Latency of one small image over HTTP above the bare call, and the memory after thousands of them."""
    upload = scratch / "files" / "data" / "upload"
    upload.mkdir(parents=True)
    files = sorted((trained.dataset / "media").iterdir())[:100]
    for file in files:
        (upload / file.name).write_bytes(file.read_bytes())
    data = [{"image": f"/data/upload/{file.name}"} for file in files]
    items = [TaskItem(n, each, {each["image"]: file}) for n, (each, file) in enumerate(zip(data, files, strict=True))]
    with running("yolo", version, trained.config, data, scratch, files=scratch / "files", threads=THREADS) as backend:
        yield _latency_row(f"yolo at {SMALL} px", "yolo", version, items, backend)
        yield memory_row(f"yolo at {SMALL} px", backend)


def text_latency_row(trained: Trained, scratch: Path) -> Row:
    """Latency of one short text over HTTP above the bare call."""
    data = [{"text": short_text(number)} for number in range(100)]
    items = [TaskItem(number, each) for number, each in enumerate(data)]
    with running("sklearn_text", trained.version, trained.config, data, scratch, threads=THREADS) as backend:
        return _latency_row("sklearn_text", "sklearn_text", trained.version, items, backend)


def _latency_row(what: str, name: str, version: Path, items: Sequence[TaskItem], backend: Any) -> Row:
    """Requests and bare calls take turns, so that both see the same load of the machine."""
    model = backend_module(name).load(version, device="cpu")
    seconds: dict[str, list[float]] = {"http": [], "bare": []}
    for number in range(SINGLES + 20):
        seconds["http"] += backend.latencies(1)
        began = time.perf_counter()
        model.predict([items[number % len(items)]])
        seconds["bare"].append(time.perf_counter() - began)
    http, bare = (1000 * np.array(seconds[side][20:]) for side in ("http", "bare"))
    above = float(np.quantile(http, 0.95) - np.quantile(bare, 0.95))
    return _row(
        f"{what}: p95 ms of one task over HTTP", round(float(np.quantile(http, 0.95)), 2),
        round(float(np.quantile(bare, 0.95)), 2), above, f"<= {MOST_MS} ms above the peer", above <= MOST_MS,
        peer_is="the bare model call", above_ms=round(above, 2), median_http_ms=round(float(np.median(http)), 2),
        median_bare_ms=round(float(np.median(bare)), 2),
    )  # fmt: skip


def memory_row(what: str, backend: Any) -> Row:
    """Resident memory after PREDICTIONS predictions beside that after WARM_UP."""
    backend.drive(WARM_UP // PER_REQUEST, PER_REQUEST, CLIENTS)
    before = backend.memory_bytes()
    backend.drive(PREDICTIONS // PER_REQUEST, PER_REQUEST, CLIENTS)
    after = backend.memory_bytes()
    growth = after / before - 1
    return _row(
        f"{what}: MB after {PREDICTIONS} predictions", round(after / 1e6, 1), round(before / 1e6, 1), after / before,
        f"growth < {MOST_GROWTH:.0%}", growth < MOST_GROWTH, peer_is="the same process after the warm-up",
        growth=round(growth, 5),
    )  # fmt: skip


def spacy_row(scratch: Path, repeats: int) -> Row:
    """Words per second of spaCy over HTTP, TEXTS texts a request, beside the bare nlp.pipe in this process."""
    trained = spacy_version(scratch / "spacy", _tell)
    texts = [truth.text for truth in generate_ner(TEXTS, seed=9)]
    words = sum(len(text.split()) for text in texts)
    from backends.spacy_nlp.artefact import read_model

    nlp = read_model(trained.version)
    data = [{"text": text} for text in texts]
    ours_s, peer_s = [], []
    with running("spacy_nlp", trained.version, trained.config, data, scratch / "run", threads=THREADS) as backend:
        for repeat in range(2 * repeats + 1):
            load = backend.drive(1, TEXTS, 1)
            began = time.perf_counter()
            for _ in nlp.pipe(texts):
                pass
            if repeat:  # the first of both warms up
                ours_s.append(load.seconds)
                peer_s.append(time.perf_counter() - began)
    ratio = statistics.median(theirs / ours for ours, theirs in zip(ours_s, peer_s, strict=True))
    return _row(
        f"spacy_nlp: words/s over HTTP, {TEXTS} texts a request", round(words / statistics.median(ours_s)),
        round(words / statistics.median(peer_s)), ratio, f">= {SPACY_SHARE}", ratio >= SPACY_SHARE,
        peer_is=f"{released('spacy')} nlp.pipe",
    )  # fmt: skip


def _row(what: str, ours: Any, peer: Any, ratio: float, must_be: str | None, ok: bool, **more: Any) -> Row:
    return {
        "what": what, "ours": ours, "peer": peer, "ratio": round(ratio, 3), "must_be": must_be, "ok": bool(ok), **more,
    }  # fmt: skip


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
