"""Tabs of the Data Manager that select tasks by a marker prediction, and which tasks carry a marker."""

from __future__ import annotations

from typing import Any

from labelloop.label_studio.listing import Filter, Listing

#: Tasks of one page, ids only.
_PAGE = 1000


def marked_by(marker: str) -> Filter:
    """The condition for tasks with a prediction of this version.

    The value is a list: Label Studio ignores a plain text. Never `in_list`: the page knows no such operator and stays blank.
    """
    return {
        "filter": "filter:tasks:predictions_model_versions",
        "operator": "contains",
        "type": "List",
        "value": [marker],
    }


class Views(Listing):
    """Calls about tabs."""

    def views(self, project_id: int) -> list[dict[str, Any]]:
        """The tabs of a project: `id` and `data` (title, filters, ...)."""
        return list(self.request("GET", "/api/dm/views/", params={"project": project_id}))

    def ensure_marked_view(self, project_id: int, title: str, marker: str) -> int:
        """Our one tab of a marker, made or set right; its id. What people changed in it besides title and filter stays."""
        wanted = {"conjunction": "and", "items": [marked_by(marker)]}
        ours = [view for view in self.views(project_id) if selects(view, marker)]
        if not ours:
            data = {"title": title, "filters": wanted, "ordering": []}
            made = self.request("POST", "/api/dm/views/", json={"project": project_id, "data": data})
            return int(made["id"])
        kept, *doubles = sorted(ours, key=lambda view: int(view["id"]))
        for double in doubles:
            self.delete_view(int(double["id"]))
        data = dict(kept.get("data") or {})
        if data.get("title") != title or not selects(kept, marker, alone=True):
            body = {"project": project_id, "data": {**data, "title": title, "filters": wanted}}
            self.request("PATCH", f"/api/dm/views/{kept['id']}/", json=body)
        return int(kept["id"])

    def delete_view(self, view_id: int) -> None:
        """Delete one tab; its tasks stay."""
        self.request("DELETE", f"/api/dm/views/{view_id}/")

    def marked_tasks(self, project_id: int, marker: str) -> set[int]:
        """Ids of the tasks with a prediction of this version, as the tab of the marker lists them."""
        spans = self._spans(project_id, _PAGE, filters=[marked_by(marker)], include="id", full=False)
        return {int(raw["id"]) for span in spans for raw in span.rows}


def selects(view: dict[str, Any], marker: str, *, alone: bool = False) -> bool:
    """Whether a tab selects the tasks of a marker (`alone`: and by nothing else)."""
    items = ((view.get("data") or {}).get("filters") or {}).get("items") or []
    found = [item.get("filter") == marked_by(marker)["filter"] and item.get("value") == [marker] for item in items]
    return any(found) and (not alone or len(found) == 1)
