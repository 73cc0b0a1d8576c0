"""The store of labelloop: one relational database, SQLite or PostgreSQL."""

from labelloop.store.rows import LabelRow, Place, ProjectRow, PromotionStep, Served, TaskRow, TrainingRow
from labelloop.store.store import Store, open_store

__all__ = [
    "LabelRow",
    "Place",
    "ProjectRow",
    "PromotionStep",
    "Served",
    "Store",
    "TaskRow",
    "TrainingRow",
    "open_store",
]
