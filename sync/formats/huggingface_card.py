"""The dataset card of a Hugging Face dataset: README.md with the YAML that `datasets` and the hub read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from sync.formats.hf_features import card_features
from sync.formats.huggingface_plan import TASKS, Details


@dataclass(frozen=True)
class Split:
    """A split with its rows, and their bytes in memory."""

    name: str
    rows: int
    size: int


def dataset_card(details: Details, splits: Sequence[Split], stored: int) -> str:
    """The card; `stored` is the size of all files. The licence is left to whoever publishes the dataset."""
    told = {
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": split.name, "path": f"data/{split.name}-*"} for split in splits],
            }
        ],
        "dataset_info": {
            "features": card_features(details.features),
            "splits": [{"name": each.name, "num_bytes": each.size, "num_examples": each.rows} for each in splits],
            "download_size": stored,
            "dataset_size": sum(split.size for split in splits),
        },
        "task_categories": [TASKS[details.task]],
    }
    head = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=10_000)
    rows = "\n".join(f"| {split.name} | {split.rows} |" for split in splits)
    columns = ", ".join(f"`{name}`" for name in details.features)
    return f"""---
# license: name yours here before you publish
{head}---

# Dataset

Labels for {TASKS[details.task].replace("-", " ")}, exported by labelloop.

| split | rows |
|---|---|
{rows}

Columns: {columns}. `task_id` is the task in Label Studio; `data` is what else its data says, as JSON.
`provenance.parquet` tells of each label who made it, when, and what was shown; `manifest.json` names the dataset version.

```python
from datasets import load_dataset

dataset = load_dataset("path/to/this/folder")
```
"""
