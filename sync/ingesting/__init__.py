"""Brings items into a project once each: checked, without duplicates, with a role and a number of people.

Label Studio is asked what is there already (each task carries its content hash in `meta`), so an import may be
repeated, also after it was cut off half-way: nothing is added twice and what was left undone is done.
"""

from __future__ import annotations

from sync.ingesting.examining import Limits
from sync.ingesting.grouping import NearOptions
from sync.ingesting.items import REJECT_REASONS
from sync.ingesting.labelled import LabelOptions
from sync.ingesting.marks import mark_of, policy_of, task_record
from sync.ingesting.metadata import MetadataOptions
from sync.ingesting.report import IngestReport, LabelReport
from sync.ingesting.running import IngestOptions, IngestTarget, ingest
from sync.ingesting.sources import SourceOptions
from sync.ingesting.staging import LocalFiles
from sync.ingesting.tables import is_table

__all__ = [
    "REJECT_REASONS",
    "IngestOptions",
    "IngestReport",
    "IngestTarget",
    "LabelOptions",
    "LabelReport",
    "Limits",
    "LocalFiles",
    "MetadataOptions",
    "NearOptions",
    "SourceOptions",
    "ingest",
    "is_table",
    "mark_of",
    "policy_of",
    "task_record",
]
