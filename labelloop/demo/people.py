"""One simulated person: an account, Label Studio's address and a truth file. Imports nothing of labelloop.

It does what the browser's label stream does: takes the next task, looks at the first prediction that came with it,
accepts, corrects or draws, and submits with `parent_prediction` and `lead_time`. Each served task is a line in the log.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import secrets
import struct
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

Regions = list[dict[str, Any]]
ALIKE, SAME_OBJECT = 0.75, 0.3  # IoU from which a suggested box is left as it is, and is about the same object at all


class Trouble(Exception):
    """The person cannot go on; the message says why and what to do."""


class LabelStudio:
    """Label Studio as a signed-in browser session sees it; patient with a server that is away."""

    def __init__(self, url: str, email: str, password: str, patience: float) -> None:
        self.client = httpx.Client(base_url=url.rstrip("/"), timeout=60, follow_redirects=False, trust_env=False)
        self.email, self.password, self.patience = email, password, patience

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request with the session's cookies and CSRF token; only what never reached the server is sent again."""
        until = time.monotonic() + self.patience
        while True:
            token = self.client.cookies.get("csrftoken")
            headers = {"Referer": str(self.client.base_url), **({"X-CSRFToken": token} if token else {})}
            try:
                return self.client.request(method, path, headers=headers, **more)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) or method == "GET"
                if not unsent or time.monotonic() > until or isinstance(error, httpx.UnsupportedProtocol):
                    raise
                time.sleep(0.5)

    def _form(self, page: str) -> bool:
        """Fill in the sign-up or the login page; True when the answer is a signed-in session."""
        shown = self.request("GET", page)
        found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', shown.text)
        if not found:
            return False  # closed to newcomers, or not a form at all
        fields = {"email": self.email, "password": self.password, "allow_newsletters": "false"}
        answer = self.request("POST", page, data={**fields, "csrfmiddlewaretoken": found[1]})
        return answer.status_code == 302 and "sessionid" in self.client.cookies

    def sign_in(self) -> None:
        """Make the account on the sign-up page, or log in where it exists already."""
        if not (self._form("/user/signup/") or self._form("/user/login/")):
            raise Trouble(f"{self.email} could neither sign up nor log in at {self.client.base_url}")

    def projects(self) -> dict[str, int]:
        """Project ids by title."""
        answer = self.api("GET", "/api/projects", params={"page_size": 1000, "include": "id,title"})
        return {project["title"]: project["id"] for project in answer.json()["results"]}

    def api(self, method: str, path: str, **more: Any) -> httpx.Response:
        """An API call; signs in once more when the session has ended. Raises httpx.HTTPStatusError."""
        answer = self.request(method, path, **more)
        if answer.status_code == 401:
            if not self._form("/user/login/"):
                raise Trouble(f"the session of {self.email} ended and its login is refused")
            answer = self.request(method, path, **more)
        return answer.raise_for_status()

    def next_task(self, project: int) -> dict[str, Any] | None:
        """The task that the label stream serves now, or None when it has none for this person."""
        params: dict[str, Any] = {"id": "next_task", "project": project}
        try:
            task: dict[str, Any] = self.api("POST", "/api/dm/actions", params=params, json={"project": project}).json()
        except httpx.HTTPStatusError as error:
            if error.response.status_code == 404:
                return None
            raise
        return task

    def submit(self, project: int, task: int, body: dict[str, Any]) -> int:
        """Submit an annotation and return its id."""
        answer = self.api("POST", f"/api/tasks/{task}/annotations", params={"project": project}, json=body)
        return int(answer.json()["id"])


def image_size(head: bytes) -> tuple[int, int]:
    """Width and height in pixels of a PNG or JPEG file."""
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    at = 2
    while head[:2] == b"\xff\xd8" and at + 9 < len(head):
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(head[at + 5 : at + 7], "big")
        at += 2 + length
    raise Trouble("an image is neither PNG nor JPEG, so its size is not known")


def overlap(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Intersection over union of two boxes in percent."""
    wide = min(one["x"] + one["width"], other["x"] + other["width"]) - max(one["x"], other["x"])
    high = min(one["y"] + one["height"], other["y"] + other["height"]) - max(one["y"], other["y"])
    both = max(wide, 0.0) * max(high, 0.0)
    union = one["width"] * one["height"] + other["width"] * other["height"] - both
    return both / union if union > 0 else 0.0


class Eyes:
    """What a person knows of one project: how its regions look, which labels there are and what is true."""

    def __init__(self, truth: dict[str, Any], rng: random.Random) -> None:
        self.truth, self.rng, self.kind = truth, rng, truth["kind"]
        self.type = {"boxes": "rectanglelabels", "spans": "labels", "choice": "choices"}[self.kind]
        said = [answer for answer in truth["tasks"].values()]
        found = said if self.kind == "choice" else [part["label"] for answer in said for part in answer]
        self.labels = sorted(set(found))

    def answer(self, value: str) -> list[dict[str, Any]]:
        """The true parts of a task, by its text or by the base name of its file."""
        query = parse_qs(urlsplit(value).query).get("d", [""])[0] if self.kind == "boxes" else ""
        name = (query or urlsplit(value).path).rsplit("/", 1)[-1] if self.kind == "boxes" else value
        # Label Studio puts 8 hex digits before an uploaded name, an ingest a dash and 12 behind it.
        for key in (name, re.sub(r"^[0-9a-f]{8}-", "", name), re.sub(r"-[0-9a-f]{12}(?=\.\w+$)", "", name)):
            if key in self.truth["tasks"]:
                true = self.truth["tasks"][key]
                return [{"label": true}] if self.kind == "choice" else list(true)
        raise Trouble(f"the truth file does not know {name[:80]!r}; give the person the truth of this project")

    def jittered(self, box: dict[str, Any], share: float) -> dict[str, Any]:
        """The box with each edge moved by up to `share` of its size, inside the image."""
        slip = [self.rng.uniform(-share, share) for _ in range(4)]
        left, top = box["x"] + slip[0] * box["width"], box["y"] + slip[1] * box["height"]
        right = box["x"] + (1 + slip[2]) * box["width"]
        bottom = box["y"] + (1 + slip[3]) * box["height"]
        left, top, right, bottom = max(left, 0.0), max(top, 0.0), min(right, 100.0), min(bottom, 100.0)
        return {"x": left, "y": top, "width": max(right - left, 0.1), "height": max(bottom - top, 0.1)}

    def value(self, part: dict[str, Any], text: str) -> dict[str, Any]:
        """A region's value as this person marks the true part."""
        if self.kind == "boxes":
            return {**self.jittered(part, 0.015), "rotation": 0, "rectanglelabels": [part["label"]]}
        if self.kind == "spans":
            start, end = part["start"], part["end"]
            return {"start": start, "end": end, "text": text[start:end], "labels": [part["label"]]}
        return {"choices": [part["label"]]}

    def drawn(self, part: dict[str, Any], text: str, size: dict[str, int]) -> dict[str, Any]:
        """A region made by hand."""
        names = {"from_name": self.truth["control"], "to_name": self.truth["to_name"], "type": self.type}
        shape = {"value": self.value(part, text), "origin": "manual", "id": secrets.token_urlsafe(8)[:10]}
        return {**size, **names, **shape}

    def alike(self, region: dict[str, Any], part: dict[str, Any]) -> float:
        """How much a suggested region is about a true part: IoU, or 1 for the same place in a text."""
        value = region["value"]
        if self.kind == "boxes":
            return overlap(value, part)
        if self.kind == "spans":
            same = value["start"] == part["start"] and value["end"] == part["end"]
            return 1.0 if same else 0.5 * (value["start"] < part["end"] and part["start"] < value["end"])
        return 1.0

    def pairs(self, shown: Regions, true: list[dict[str, Any]]) -> dict[int, tuple[int, float]]:
        """Which suggested region is about which true part, best first, each used once: {shown: (true, alike)}."""
        scored = [(self.alike(s, t), i, j) for i, s in enumerate(shown) for j, t in enumerate(true)]
        found: dict[int, tuple[int, float]] = {}
        for score, i, j in sorted(scored, key=lambda one: (-one[0], one[1], one[2])):
            if score >= SAME_OBJECT and i not in found and j not in {used for used, _ in found.values()}:
                found[i] = (j, score)
        return found

    def corrected(
        self, shown: Regions, true: list[dict[str, Any]], text: str, size: dict[str, int]
    ) -> tuple[Regions, bool]:
        """What a careful person submits over these suggestions, and whether anything had to be changed."""
        pairs, out = self.pairs(shown, true), Regions()
        for index, region in enumerate(shown):
            if index not in pairs:
                continue  # a false suggestion is removed
            part, score = true[pairs[index][0]], pairs[index][1]
            if score >= ALIKE and region["value"][self.type] == [part["label"]]:
                out.append({**region, "origin": "prediction"})
            elif score >= ALIKE:
                relabelled = {**region["value"], self.type: [part["label"]]}
                out.append({**region, "value": relabelled, "origin": "prediction-changed"})
            else:
                out.append({**region, "value": self.value(part, text), "origin": "prediction-changed"})
        missed = [part for j, part in enumerate(true) if j not in {used for used, _ in pairs.values()}]
        right = not missed and len(out) == len(shown) and all(region["origin"] == "prediction" for region in out)
        return out + [self.drawn(part, text, size) for part in missed], not right

    def spoiled(self, regions: Regions, text: str) -> bool:
        """Put one human mistake into the regions: a wrong class, a missed object, a slipped edge. False: no way."""
        others = [label for label in self.labels if regions and [label] != regions[0]["value"][self.type]]
        ways = ["class"] * bool(others) + ["missed", "edge"] * (self.kind != "choice")
        if not regions or not ways:
            return False
        index, way = self.rng.randrange(len(regions)), self.rng.choice(ways)
        region = regions[index]
        value = dict(region["value"])
        if way == "missed":
            regions.pop(index)
            return True
        if way == "class":
            value[self.type] = [self.rng.choice([label for label in self.labels if [label] != value[self.type]])]
        elif self.kind == "boxes":
            value.update(self.jittered(value, 0.25))
        else:
            longer = value["end"] < len(text) and (value["end"] - value["start"] < 2 or self.rng.random() < 0.5)
            value["end"] += 1 if longer else -1
            value["text"] = text[value["start"] : value["end"]]
        changed = "manual" if region.get("origin") == "manual" else "prediction-changed"
        regions[index] = {**region, "value": value, "origin": changed}
        return True


class Person:
    """Works through the projects of the truth file in turns until told to stop."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rng = random.Random(f"{options.seed}:{options.email}")
        truth = json.loads(Path(options.truth).read_text(encoding="utf-8"))["projects"]
        self.eyes = {title: Eyes(project, self.rng) for title, project in truth.items()}
        self.site = LabelStudio(options.url, options.email, options.password, options.patience)
        self.log = Path(options.log)
        self.done = self._done_before()
        self.turn, self.failures = 0, 0

    def _done_before(self) -> dict[str, int]:
        """Labels per project that this person's log already tells of, so that quotas hold over restarts."""
        done = dict.fromkeys(self.eyes, 0)
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.is_file() else []
        for row in map(json.loads, lines):
            done[row["project"]] = done.get(row["project"], 0) + (row["annotation_id"] is not None)
        return done

    def control(self) -> dict[str, Any]:
        """What the orchestrator wants just now; an absent or half-written file changes nothing."""
        try:
            told = json.loads(Path(self.options.control).read_text(encoding="utf-8")) if self.options.control else {}
        except (OSError, json.JSONDecodeError):
            told = {}
        return told if isinstance(told, dict) else {}

    def over(self, told: dict[str, Any]) -> bool:
        """Whether the person was told to stop, or has made all labels asked for."""
        if told.get("stop") or (self.options.until_file and Path(self.options.until_file).exists()):
            return True
        if self.options.max_labels is not None and sum(self.done.values()) >= self.options.max_labels:
            return True
        return not self.options.stay and not any(self._wanted(title, told) for title in self.eyes)

    def _wanted(self, title: str, told: dict[str, Any]) -> bool:
        quota = (told.get("quota") or {}).get(title)
        return quota is None or self.done[title] < quota

    def run(self) -> None:
        """Take turns until over; raises Trouble when the person cannot go on."""
        self.site.sign_in()
        empty: set[str] = set()
        ids: dict[str, int] = {}
        while not self.over(told := self.control()):
            titles = list(self.eyes)
            title = titles[self.turn % len(titles)]
            self.turn += 1
            if told.get("pause") or not self._wanted(title, told):
                time.sleep(0.2 if told.get("pause") else 0.02)
                continue
            if title not in ids:
                ids.update({name: number for name, number in self.site.projects().items() if name in self.eyes})
            served = self._one_turn(title, ids[title], told) if title in ids else False
            empty = empty - {title} if served else empty | {title}
            if {name for name in titles if self._wanted(name, told)} <= empty:
                if self.options.leave:
                    return
                time.sleep(0.5)

    def _one_turn(self, title: str, project: int, told: dict[str, Any]) -> bool:
        """Label one task; False when there was none. Gives up after ten failures in a row."""
        try:
            task = self.site.next_task(project)
            if task is None:
                return False
            self._label(title, project, task, told)
            self.failures = 0
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            self.failures += 1
            answer = error.response.text[:200] if isinstance(error, httpx.HTTPStatusError) else ""
            print(f"{title}: {error} {answer}", file=sys.stderr, flush=True)
            if self.failures >= 10:
                raise Trouble(
                    f"ten requests in a row failed at {self.site.client.base_url}; the last: {error}"
                ) from error
            time.sleep(min(0.2 * self.failures, 2.0))
        return True

    def _label(self, title: str, project: int, task: dict[str, Any], told: dict[str, Any]) -> None:
        began = time.monotonic()
        started_at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        shown = (task.get("predictions") or [None])[0]
        result, kind = self._decide(self.eyes[title], task, shown)
        self._think(kind, told)
        seconds = time.monotonic() - began
        parent = shown["id"] if shown else None
        body = {"lead_time": seconds, "result": result, "draft_id": 0, "parent_prediction": parent,
                "parent_annotation": None, "started_at": started_at}  # fmt: skip
        before = (task.get("total_annotations") or 0) + (task.get("cancelled_annotations") or 0)
        row = {"at": started_at, "project": title, "project_id": project, "task_id": task["id"], "annotation_id": None,
               "prediction_id": parent, "model_version": shown["model_version"] if shown else None,
               "seconds": round(seconds, 3), "kind": kind, "first_serving": before == 0}  # fmt: skip
        try:
            row["annotation_id"] = self.site.submit(project, task["id"], body)
            self.done[title] += 1
        except (httpx.TransportError, httpx.HTTPStatusError) as error:
            row["error"] = str(error)[:200]
            raise
        finally:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def _decide(self, eyes: Eyes, task: dict[str, Any], shown: dict[str, Any] | None) -> tuple[Regions, str]:
        """The result to submit, and how it came about."""
        text = str(task["data"][eyes.truth["key"]])
        true, size = eyes.answer(text), self._size(text) if eyes.kind == "boxes" else {}
        suggested: Regions = [region for region in (shown or {}).get("result") or [] if eyes.type in region["value"]]
        result, changed = eyes.corrected(suggested, true, text, size)
        if shown and not changed:
            return result, "accepted"
        if suggested and self.rng.random() < self.options.accept_wrong:
            return [{**region, "origin": "prediction"} for region in suggested], "wrong_accepted"
        if self.rng.random() < self.options.error_rate and eyes.spoiled(result, text):
            return result, "erred"
        return result, "corrected" if suggested else "drawn"

    def _size(self, address: str) -> dict[str, int]:
        """The image's size, as the browser learns it by loading the image."""
        width, height = image_size(self.site.api("GET", address).content)
        return {"original_width": width, "original_height": height, "image_rotation": 0}

    def _think(self, kind: str, told: dict[str, Any]) -> None:
        pace = self.options.pace if told.get("pace") is None else told["pace"]
        time.sleep(float(pace) * (0.5 if kind.endswith("accepted") else 1.2) * self.rng.uniform(0.6, 1.4))


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--url", "--email", "--password", "--truth", "--log"):
        parser.add_argument(name, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pace", type=float, default=0.2, help="mean seconds of looking at one task")
    parser.add_argument("--error-rate", type=float, default=0.03, help="share of own work with one mistake in it")
    parser.add_argument("--accept-wrong", type=float, default=0.05, help="share of wrong suggestions taken as they are")
    parser.add_argument("--max-labels", type=int, help="leave after so many labels")
    parser.add_argument("--until-file", help="leave when this file exists")
    parser.add_argument("--control", help='JSON read before each turn: {"pause", "stop", "quota": {TITLE: n}, "pace"}')
    parser.add_argument("--leave", action="store_true", help="leave when no project has a task; else wait for more")
    parser.add_argument("--stay", action="store_true", help="wait, not leave, when all quotas are reached")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds to wait for a server that is away")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run one person; 0 when told to stop or done, 1 with one line on stderr otherwise."""
    try:
        Person(parsed(arguments)).run()
    except (Trouble, httpx.HTTPError) as error:
        print(f"people: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
