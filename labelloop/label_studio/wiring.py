"""What connects a project to the rest: its webhook, its ML backend and its local files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelloop.label_studio.connection import Connection

SECRET_HEADER = "X-Labelloop-Secret"  # noqa: S105
WEBHOOK_ACTIONS = (
    "ANNOTATION_CREATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
    "TASKS_CREATED",
    "TASKS_DELETED",
)


class Wiring(Connection):
    """Calls that set a project up; each may be repeated and then repairs what differs."""

    def webhooks(self, project_id: int) -> list[dict[str, Any]]:
        """The webhooks of a project."""
        return list(self.request("GET", "/api/webhooks/", params={"project": project_id}))

    def ensure_webhook(self, project_id: int, url: str, secret: str) -> int:
        """Our one webhook on a project, made or set right; its id.

        It sends only the action's name: the receiver asks Label Studio for the truth anyway, and payloads hold tokens.
        """
        self._secrets.add(secret)
        wanted = {
            "project": project_id,
            "url": url,
            "send_payload": False,
            "send_for_all_actions": False,
            "headers": {SECRET_HEADER: secret},
            "is_active": True,
            "actions": list(WEBHOOK_ACTIONS),
        }
        ours = [w for w in self.webhooks(project_id) if w["url"] == url or SECRET_HEADER in (w.get("headers") or {})]
        if not ours:
            return int(self.request("POST", "/api/webhooks/", json=wanted)["id"])
        kept, *doubles = ours
        for double in doubles:
            self.request("DELETE", f"/api/webhooks/{double['id']}/")
        same = set(kept.get("actions") or []) == set(WEBHOOK_ACTIONS)
        if not same or any(kept.get(key) != value for key, value in wanted.items() if key != "actions"):
            self.request("PATCH", f"/api/webhooks/{kept['id']}/", json=wanted)
        return int(kept["id"])

    def ensure_ml_backend(self, project_id: int, url: str, title: str, login: tuple[str, str] | None = None) -> int:
        """Connect an ML backend for live requests; its id. `login` is the user and password that the backend asks for.

        Connecting changes two things that are put back: `project.model_version` (set to the title, which no prediction
        carries: the order would be random) and a webhook to the backend without our secret.
        """
        url = url.rstrip("/")
        before = str(self.request("GET", f"/api/projects/{project_id}/")["model_version"] or "")
        listed = self.request("GET", "/api/ml/", params={"project": project_id})
        found = [b for b in listed if b["url"].rstrip("/") == url]
        body = {"project": project_id, "url": url, "title": title, "is_interactive": False, **self._login_fields(login)}
        if found:
            backend_id = int(found[0]["id"])
            if not _has_login(found[0], login):
                kept = {key: found[0][key] for key in ("title", "is_interactive") if key in found[0]}
                self.request("PATCH", f"/api/ml/{backend_id}", json={**body, **kept})
        else:
            backend_id = int(self.request("POST", "/api/ml/", json=body)["id"])
        self._restore_model_version(project_id, before if before != title else "")
        for webhook in self.webhooks(project_id):
            if webhook["url"].startswith(f"{url}/webhook"):
                self.request("DELETE", f"/api/webhooks/{webhook['id']}/")
        return backend_id

    def _login_fields(self, login: tuple[str, str] | None) -> dict[str, str]:
        if login is None:
            return {"auth_method": "NONE"}
        self._secrets.add(login[1])
        return {"auth_method": "BASIC_AUTH", "basic_auth_user": login[0], "basic_auth_pass": login[1]}

    def _restore_model_version(self, project_id: int, wanted: str) -> None:
        now = self.request("GET", f"/api/projects/{project_id}/")["model_version"] or ""
        if now != wanted:
            self.request("PATCH", f"/api/projects/{project_id}/", json={"model_version": wanted})

    def ensure_local_storage(self, project_id: int, path: str, title: str = "labelloop") -> int:
        """Let a project show files below `path` (a folder inside the server's local files root); the storage's id."""
        listed = self.request("GET", "/api/storages/localfiles/", params={"project": project_id})
        found = [storage for storage in listed if storage["path"].rstrip("/") == path.rstrip("/")]
        if found:
            return int(found[0]["id"])
        body = {"project": project_id, "path": path, "title": title, "use_blob_urls": True}
        return int(self.request("POST", "/api/storages/localfiles/", json=body)["id"])


def _has_login(backend: Mapping[str, Any], login: tuple[str, str] | None) -> bool:
    """Whether an ML backend object asks as it should.

    Label Studio never gives a password back; that it is wrong shows in the state, which listing has just renewed.
    """
    if login is None:
        return bool(backend.get("auth_method", "NONE") == "NONE")
    same = (backend.get("auth_method"), backend.get("basic_auth_user")) == ("BASIC_AUTH", login[0])
    return same and bool(backend.get("state") != "ER")
