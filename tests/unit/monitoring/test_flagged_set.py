import pandas as pd

from grasp_ray.monitoring.flagged_set import FLAG_COLUMNS, compare_flags, flagged_photos


def influence(**scores: tuple[float, float]) -> pd.DataFrame:
    rows = [
        {
            "image_id": name,
            "visit_id": name[0],
            "orientation": "positive=helpful",
            "score:q1": a,
            "score:q2": b,
        }
        for name, (a, b) in scores.items()
    ]
    return pd.DataFrame(rows)


BEFORE = influence(a1=(-3, 1), b1=(-2, -1), c1=(1, 2))


def test_the_union_of_the_lists() -> None:
    found = flagged_photos(BEFORE, "opponents", deepest_rank=1)
    assert found[["image_id", "visit_id", "best_rank", "query_ids"]].to_numpy().tolist() == [
        ["a1", "a", 1, "q1"], ["b1", "b", 1, "q2"],
    ]  # fmt: skip


def test_who_entered_left_and_stayed_and_why() -> None:
    now = influence(b1=(-2, -1), c1=(-5, 2), d1=(1, -9))  # a withdrawn, c now harmful, d new
    before = flagged_photos(BEFORE, "opponents", deepest_rank=1)
    after = flagged_photos(now, "opponents", deepest_rank=1)
    table = compare_flags(before, after, set(BEFORE["image_id"]), set(now["image_id"]))
    assert table[["image_id", "status", "why"]].to_numpy().tolist() == [
        ["c1", "entered", "listed now"],
        ["d1", "entered", "new photo"],
        ["a1", "left", "withdrawn or changed"],
        ["b1", "left", "no longer listed"],
    ]
    same = compare_flags(before, before, set("a"), set("a"))
    assert set(same["status"]) == {"stayed"}


def test_nothing_traced_gives_empty_tables() -> None:
    none = flagged_photos(BEFORE.drop(columns=["score:q1", "score:q2"]), "opponents", deepest_rank=1)
    assert none.empty
    assert list(compare_flags(none, none, set(), set())) == FLAG_COLUMNS
