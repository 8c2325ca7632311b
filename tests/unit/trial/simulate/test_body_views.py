from collections import Counter

from grasp_ray.trial.simulate.body_views import BODY_VIEWS, region_of_slots


def test_there_are_46_distinct_views_of_four_regions() -> None:
    assert len({view.name for view in BODY_VIEWS}) == 46
    assert {view.region for view in BODY_VIEWS} == {"head", "arms", "trunk", "legs"}


def test_46_slots_use_every_view_once() -> None:
    assert Counter(region_of_slots(46)) == Counter(view.region for view in BODY_VIEWS)


def test_six_photos_cover_all_four_regions() -> None:
    assert set(region_of_slots(6)) == {"head", "arms", "trunk", "legs"}
