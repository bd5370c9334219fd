"""Settings that cannot both be meant are refused in one sentence that names both."""

from __future__ import annotations

from typing import Any

import pytest

from agent.policy.sane import check
from agent.settings import Settings
from agent.types import InvalidInput


@pytest.mark.parametrize(
    ("tree", "named"),
    [
        ({"policy": {"quiet_hours": ["22:00-06:00"]}}, ("policy.quiet_hours", "policy.time_zone")),
        (
            {"policy": {"quiet_hours": ["00:00-24:00"], "time_zone": "UTC"}},
            ("policy.quiet_hours", "policy.fresh_exchanges"),
        ),
        ({"policy": {"truth_labels": 301}}, ("policy.truth_labels 301", "quality.window_exchanges 300")),
        ({"quality": {"floor": 0.99}}, ("quality.floor 0.99", "policy.recovery 0.02")),
        (
            {"policy": {"judge_money": 5}, "quality": {"judge_model": "j"}},
            ("policy.judge_money", "policy.judge_price"),
        ),
        ({"policy": {"judge_money": 5, "judge_price": 1}}, ("policy.judge_money", "quality.judge_model")),
        (
            {"policy": {"judge_money": 5, "judge_price": 1, "budget_days": 31}, "quality": {"judge_model": "j"}},
            ("policy.budget_days 31", "capture.keep_days 30"),
        ),
        ({"policy": {"time_zone": "Mars/Olympus"}}, ("policy.time_zone 'Mars/Olympus'", "Europe/Berlin")),
        ({"policy": {"time_zone": "../../etc/passwd"}}, ("policy.time_zone", "no time zone")),
        ({"policy": {"quiet_hours": ["at night"], "time_zone": "UTC"}}, ("policy.quiet_hours 'at night'", "22:00")),
    ],
)
def test_contradictions_name_both(tree: dict[str, Any], named: tuple[str, str]) -> None:
    """Whoever reads it must know which two lines to look at."""
    with pytest.raises(InvalidInput) as refused:
        check(Settings.model_validate(tree))
    assert all(name in str(refused.value) for name in named), refused.value
    assert "\n" not in str(refused.value)


def test_what_fits_together_passes() -> None:
    """The defaults, and everything set at once."""
    check(Settings())
    policy = {
        "quiet_hours": ["mon-fri 08:00-20:00"], "time_zone": "Europe/Berlin", "judge_money": 5, "judge_price": 1,
        "gpu_hours": 3, "confirm_s": 60,
    }  # fmt: skip
    check(Settings.model_validate({"policy": policy, "quality": {"judge_model": "j"}}))
