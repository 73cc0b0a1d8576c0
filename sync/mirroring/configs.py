"""The label config as Label Studio has it now: changed there, it is followed here."""

from __future__ import annotations

import logging
from dataclasses import replace

from sqlalchemy import select

from labelloop.errors import DataError
from labelloop.label_studio import LabelStudio
from labelloop.logs import error_fields
from labelloop.revisions import config_hash
from labelloop.store import ProjectRow, Store
from labelloop.store.classes import class_table
from labelloop.store.leases import HeldLease
from labelloop.store.tables import configs
from labelloop.store.types import utc_now

log = logging.getLogger(__name__)


def follow_config(store: Store, client: LabelStudio, project: ProjectRow, lease: HeldLease) -> ProjectRow:
    """The project with its present label config, which the store knows from then on."""
    xml = client.label_config(project.project_id)
    name = config_hash(xml)
    if xml == project.label_config and _is_known(store, project.project_id, name):
        return project
    followed = replace(project, label_config=xml)
    # The classes first: if this process ends in between, the config is still not known and is followed again.
    try:
        class_table(store, followed)
    except DataError as error:
        # Labels are read all the same; what needs the classes will say so.
        log.warning("label config without classes", extra={"project": project.project_id, **error_fields(error)})
    entry = {"project_id": project.project_id, "config_hash": name, "seen_at": utc_now(), "xml": xml}
    with lease.writing() as connection:
        store.insert_missing(connection, configs, [entry])
        store.set_label_config(connection, project.project_id, xml)
    if xml != project.label_config:
        log.info("label config changed", extra={"project": project.project_id, "config_hash": name})
    return followed


def _is_known(store: Store, project_id: int, name: str) -> bool:
    where = store.scope(configs, project_id) & (configs.c.config_hash == name)
    with store.read() as connection:
        return connection.execute(select(configs.c.config_hash).where(where)).first() is not None
