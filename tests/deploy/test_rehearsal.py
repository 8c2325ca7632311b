"""The month's verdict: what was planted must be named in its week, as what it is; all else is told."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy/rehearsal/month.py"
LAMP = {"where": "site=site-2", "what": "warmth", "sentence": "Photos from site-2 have changed."}
LENIENT = {"where": "reader2", "what": "more lenient", "sentence": "Reader 2 has become more lenient."}
STRICTER = {
    "where": "reader1",
    "what": "stricter",
    "sentence": "Reader 1 has become stricter against Reader 2.",
}


@pytest.fixture
def month(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("month", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "month", loaded)
    spec.loader.exec_module(loaded)
    return loaded


def test_both_named_in_their_week_is_well(month: ModuleType) -> None:
    weeks = [month.Week(2), month.Week(3, alarms=[LAMP, LENIENT]), month.Week(4, alarms=[LAMP])]
    assert month.verdict(weeks) == month.others(weeks) == []


def test_a_late_early_or_wrong_name_is_not(month: ModuleType) -> None:
    weeks = [month.Week(2, alarms=[LAMP]), month.Week(3, alarms=[LAMP, STRICTER])]
    lamp, reader = month.verdict(weeks)
    assert "site-2" in lamp
    assert lamp.endswith("first named in week 2")
    assert reader.endswith("first named in week None")  # its sentence mentions Reader 2, and blames Reader 1
    assert month.others(weeks) == [f"week 3 also named: {STRICTER['sentence']}"]


def test_a_second_start_redoes_neither_ended_weeks_nor_decisions(
    month: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def live(service: object, week: object, standing: str, answered: set[str]) -> None:
        done.append(("live", week.number, standing, sorted(answered)))  # type: ignore[attr-defined]
        week.due = week.number == 4  # type: ignore[attr-defined]

    def audit(service: object, week: object) -> str:
        done.append(("audit", week.number))  # type: ignore[attr-defined]
        return f"audit-{week.number}"  # type: ignore[attr-defined]

    monkeypatch.setattr(month, "live_through", live)
    monkeypatch.setattr(month, "audit", audit)
    known = [{"number": 0, "standing": "a"}, {"number": 1, "standing": "a"}, {"number": 2, "due": True}]
    (tmp_path / "month.json").write_text(json.dumps({"weeks": known, "answered": ["V1"]}))
    weeks = month.month(month.Service(tmp_path, []))
    assert done == [
        ("audit", 2),  # its decisions were in the diary, its audit was not
        ("live", 3, "audit-2", ["V1"]),
        ("live", 4, "audit-2", ["V1"]),
        ("audit", 4),
    ]
    assert [week.standing for week in weeks] == ["a", "a", "audit-2", "audit-2", "audit-4"]
    written = json.loads((tmp_path / "month.json").read_text())
    assert [week["standing"] for week in written["weeks"]] == [week.standing for week in weeks]
