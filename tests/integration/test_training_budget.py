"""What bounds a training comes from the settings and reaches the trainer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from backends.sklearn_text.training import SklearnTrainer
from labelloop.values import Budget

sys.path.insert(0, str(Path(__file__).parent))
from training_steps import attempts, first_round, opened

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(("minutes", "seconds"), [("1.5", 90.0), (None, None)])
def test_epochs_and_minutes_reach_the_trainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: str | None, seconds: float | None
) -> None:
    seen: list[Budget] = []

    def fit(self: SklearnTrainer, *places: Path, budget: Budget, **more: Any) -> None:
        seen.append(budget)
        raise RuntimeError("that is enough")

    monkeypatch.setattr(SklearnTrainer, "fit", fit)
    said = {"ACTIVE_LEARNING__MAX_TRAINING_MINUTES": minutes} if minutes else {}
    loop = opened(tmp_path, ACTIVE_LEARNING__EPOCHS="7", **said)
    assert first_round(loop) is None
    assert attempts(loop)[-1].outcome == "failed"
    assert [(budget.epochs, budget.seconds) for budget in seen] == [(7, seconds)]
