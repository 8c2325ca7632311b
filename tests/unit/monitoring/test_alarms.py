import numpy as np
import pandas as pd

from grasp_ray.monitoring.alarms import (
    ALARM_COLUMNS,
    alarm_table,
    drift_alarms,
    reader_alarms,
    withdrawal_alarm,
)
from grasp_ray.monitoring.readers_over_time import PAIR, MovedReader


def drift(**changes: object) -> pd.DataFrame:
    row = {
        "round": 1, "group": "site=site-2", "statistic": "warmth", "old_median": 0.1, "new_median": 0.6,
        "difference": 0.5, "shift": 4.2, "p_value": 1e-6, "p_holm": 1e-5, "old_patients": 30,
        "new_patients": 8, "named": True, "note": "",
    }  # fmt: skip
    return pd.DataFrame([row | changes])


def test_a_drift_alarm_names_place_statistic_size_and_p() -> None:
    both = pd.concat([drift(statistic="brightness", shift=-1.5, difference=-0.1), drift()])
    (alarm,) = drift_alarms(both)
    assert (alarm["where"], alarm["what"], alarm["size"]) == ("site=site-2", "warmth", 4.2)
    for part in ("Photos from site-2", "warmth up by 0.5", "4.2 robust deviations", "8 patients", "p = 1e"):
        assert part in str(alarm["sentence"])
    assert "Also: brightness down by 0.1" in str(alarm["sentence"])
    assert drift_alarms(drift(named=False)) == []


def test_what_moved_with_it_is_told_as_less_certain() -> None:
    weaker = drift(statistic="saturation", shift=2.0, p_value=0.01, p_holm=0.3, named=False)
    elsewhere = drift(group="device=phone-A", statistic="green_tint", p_value=0.01, named=False)
    (alarm,) = drift_alarms(pd.concat([drift(), weaker, elsewhere]))
    assert "With it, not certain alone: saturation up by 0.5" in str(alarm["sentence"])
    assert "green" not in str(alarm["sentence"])


def test_a_reader_alarm_says_who_and_by_how_much() -> None:
    moved = MovedReader("reader2", True, float(np.log(0.7)), 0.002, 9, "against Reader 1")
    (alarm,) = reader_alarms([moved], on_pasi=True)
    assert alarm["what"] == "more lenient"
    assert "Reader 2 has become more lenient: 1 + PASI about 30 % lower" in str(alarm["sentence"])
    (stricter,) = reader_alarms([MovedReader("reader1", False, 0.4, 0.002, 9, "…")], on_pasi=False)
    assert "Reader 1 has become stricter: classes 0.40 higher" in str(stricter["sentence"])


def test_where_it_cannot_be_told_who_moved_no_reader_is_blamed() -> None:
    moved = MovedReader(PAIR, True, float(np.log(0.7)), 0.002, 9, "too few readings to tell who")
    (alarm,) = reader_alarms([moved], on_pasi=True)
    assert alarm["what"] == "their difference"
    sentence = str(alarm["sentence"])
    assert sentence.startswith(
        "One reader has moved against the other: Reader 2 scores 1 + PASI about 30 % lower"
    )
    assert "too few readings to tell who" in sentence
    assert "has become" not in sentence


def test_an_alarm_remembers_when_it_was_first_raised() -> None:
    first = alarm_table(drift_alarms(drift()), pd.DataFrame(columns=list(ALARM_COLUMNS)), name="week-3")
    again = alarm_table([*drift_alarms(drift()), *withdrawal_alarm(("V1",))], first, name="week-4")
    assert again["since"].tolist() == ["week-3", "week-4"]
    gone = alarm_table([], again, name="week-5")
    assert gone.empty
    assert alarm_table(drift_alarms(drift()), gone, name="week-6")["since"].tolist() == ["week-6"]
