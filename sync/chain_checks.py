"""Whether the history in the store is as it was written: its hash chains, and what dataset versions noted of their ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from labelloop.store import ProjectRow, Store
from labelloop.store.classes import schema_versions_of, verify_schema
from labelloop.store.decisions import decisions_end, verify_chain
from labelloop.store.tables import decisions
from sync.dataset_versions import manifests


def verify_history(store: Store, projects: Sequence[ProjectRow], artifacts: str) -> dict[str, Any]:
    """By project what is wrong with its decisions and schema versions; `whole` when nothing is.

    Dataset versions carry the ends that the chains had when they were made: rows that were cut off, or written anew with
    new hashes, are seen by them.
    """
    noted: dict[int, list[Mapping[str, Any]]] = {}
    for manifest in manifests(artifacts):
        noted.setdefault((manifest.get("body") or {}).get("project") or 0, []).append(manifest)
    found = [_verified(store, project, noted.get(project.project_id, ())) for project in projects]
    return {"whole": not any(each["problems"] for each in found), "projects": found}


def verification_text(report: Mapping[str, Any]) -> str:
    """The report for a terminal."""
    lines = []
    for row in report["projects"]:
        state = "as written" if not row["problems"] else f"{len(row['problems'])} problems"
        lines.append(
            f"{row['project']} {row['title']}: {row['decisions']} decisions, {row['schema_versions']} schema versions, "
            f"{row['anchors']} dataset versions noted them: {state}"
        )
        lines += [f"  {problem}" for problem in row["problems"]]
    return "\n".join(lines) or "no projects yet"


def _verified(store: Store, project: ProjectRow, noted: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    project_id = project.project_id
    versions = schema_versions_of(store, project_id)
    schema = {version.number: version.hash for version in versions}
    problems = [*verify_chain(store, project_id), *verify_schema(store, project_id)]
    for manifest in noted:
        problems += [
            f"{manifest['dataset_id']}: {each}" for each in _contradictions(store, project_id, manifest, schema)
        ]
    return {
        "project": project_id,
        "title": project.title,
        "decisions": decisions_end(store, project_id).length,
        "schema_versions": len(versions),
        "anchors": sum(1 for each in noted if each.get("decisions")),
        "problems": problems,
    }


def _contradictions(store: Store, project_id: int, manifest: Mapping[str, Any], schema: Mapping[int, str]) -> list[str]:
    """What a version noted of the chains that is not so."""
    found = []
    end, version = manifest.get("decisions") or {}, manifest.get("class_schema") or {}
    if end.get("length") and _hash_at(store, project_id, int(end["length"])) != end["hash"]:
        found.append(f"decision number {end['length']} was another one when the version was made")
    if version and schema.get(version["number"]) != version["hash"]:
        found.append(f"schema version {version['number']} was another one when the version was made")
    return found


def _hash_at(store: Store, project_id: int, length: int) -> str | None:
    """The hash of the project's decision at that place, counted from 1."""
    c = decisions.c
    query = select(c.hash).where(store.scope(decisions, project_id)).order_by(c.decision_id)
    with store.read() as connection:
        return connection.execute(query.offset(length - 1).limit(1)).scalar()
