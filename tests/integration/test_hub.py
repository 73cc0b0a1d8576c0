"""Publishing on the hub: refused, out of reach, and, with a hub of this machine, every file of the export sent."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from labelloop.errors import UsageError

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from row_exports import BOXES, box, exported, task

pytestmark = pytest.mark.integration


@dataclass
class Hub:
    """As much of a hub as a commit of small files needs; `status` is what it answers to a commit."""

    status: int = 200
    made: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str | None] = field(default_factory=set)
    url: str = ""


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub on a free port of loopback."""
    found = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            found.tokens.add(self.headers.get("authorization"))
            status, answer = 200, {}
            if self.path == "/api/repos/create":
                found.made.append(json.loads(body))
                answer = {"url": f"{found.url}/datasets/me/set"}
            elif "/preupload/" in self.path:
                named = json.loads(body)["files"]
                answer = {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in named]}
            elif "/commit/" in self.path:
                status = found.status
                answer = {"commitUrl": f"{found.url}/datasets/me/set/commit/1", "commitOid": "1" * 40, "success": True}
                for line in map(json.loads, body.splitlines()) if status == 200 else ():
                    if line["key"] == "file":
                        found.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_file_is_sent_to_a_private_repository(tmp_path: Path, hub: Hub) -> None:
    out, _ = exported(tmp_path, "huggingface", [task(1, {"image": "a.png"}, [box(1, 2, 3, 4)])], BOXES)
    said = pushed(out, "me/set", {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")})
    assert said.strip() == f"{hub.url}/datasets/me/set"
    assert [(made["name"], made["type"], made["visibility"]) for made in hub.made] == [("set", "dataset", "private")]
    assert hub.tokens == {"Bearer hf_token"}
    there = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert hub.files == there


@pytest.mark.parametrize("status", [200, 403])
def test_the_command_sends_when_it_is_asked_to(tmp_path: Path, hub: Hub, status: int) -> None:
    hub.status = status
    exported(tmp_path, "huggingface", [task(1, {"image": "a.png"}, [box(1, 2, 3, 4)])], BOXES)
    told = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_token"}
    ran = export(tmp_path, "huggingface", told, "--push", "me/set")
    assert (tmp_path / "mine" / "manifest.json").is_file()
    if status == 200:
        assert ran.returncode == 0 and f"sent to {hub.url}/datasets/me/set" in ran.stderr
        assert json.loads(ran.stdout)["items"] == 1 and "manifest.json" in hub.files
    else:
        assert ran.returncode != 0 and "the hub refused me/set" in ran.stderr and "hf_token" not in ran.stderr


def test_the_command_sends_one_format_only_and_nothing_by_itself(tmp_path: Path, hub: Hub) -> None:
    exported(tmp_path, "huggingface", [task(1, {"image": "a.png"}, [box(1, 2, 3, 4)])], BOXES)
    told = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_token"}
    assert export(tmp_path, "huggingface", told).returncode == 0
    ran = export(tmp_path, "coco", told, "--push", "me/set")
    assert ran.returncode != 0 and "--push sends exports of the format huggingface" in ran.stderr
    assert not hub.made and not hub.files


def export(folder: Path, format: str, told: dict[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    """`labelloop export` of the export file in a folder into its folder `mine`."""
    environment = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", **told}
    files = [
        "--file",
        str(folder / "export.json"),
        "--config",
        str(folder / "project.xml"),
        "--out",
        str(folder / "mine"),
    ]
    command = [str(Path(sys.executable).with_name("labelloop")), "export", *files, "--format", format, "--json", *more]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_a_refusal_carries_its_status(tmp_path: Path, hub: Hub) -> None:
    hub.status = 403
    out, _ = exported(tmp_path, "huggingface", [task(1, {"image": "a.png"}, [box(1, 2, 3, 4)])], BOXES)
    said = pushed(out, "me/set", {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")})
    assert said.startswith("ServiceError the hub refused me/set")
    assert "403" in said
    assert "hf_token" not in said


PUSH = """
import sys
from pathlib import Path
from labelloop.errors import LabelloopError
from sync.formats.hub import push_to_hub
try:
    print(push_to_hub(Path(sys.argv[1]), sys.argv[2], "hf_token"))
except LabelloopError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("told", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_without_a_network_the_hub_is_not_reached_and_says_so(tmp_path: Path, told: dict[str, str]) -> None:
    out, _ = exported(tmp_path, "huggingface", [task(1, {"image": "a.png"}, [box(1, 2, 3, 4)])], BOXES)
    said = pushed(out, "me/set", {**told, "HF_HOME": str(tmp_path / "home")})
    assert said.startswith("ServiceDown the hub cannot be reached")
    assert str(out) in said
    assert "hf_token" not in said


def test_what_is_no_export_or_no_name_is_not_sent(tmp_path: Path) -> None:
    from sync.formats.hub import push_to_hub

    with pytest.raises(UsageError, match="no finished export"):
        push_to_hub(tmp_path, "me/set", "hf_token")
    out, _ = exported(tmp_path, "huggingface", [task(1, {"image": "a.png"}, [box(1, 2, 3, 4)])], BOXES)
    assert pushed(out, "a/b/c", {"HF_HOME": str(tmp_path)}).startswith("UsageError expected a repository as owner/name")


def pushed(out: Path, repo_id: str, told: dict[str, str]) -> str:
    environment = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", **told}
    command = [sys.executable, "-c", PUSH, str(out), repo_id]
    root = Path(__file__).parents[2]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, check=True, timeout=120)
    return ran.stdout
