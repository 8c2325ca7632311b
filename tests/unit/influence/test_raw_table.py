import pandas as pd
import pytest

from grasp_ray.influence.raw_table import join_raw


def part(epoch, ids, **dots):
    frame = pd.DataFrame({"image_id": ids, "epoch": epoch, "loss": [float(epoch)] * len(ids)})
    return frame.assign(**{f"dot:{name}": values for name, values in dots.items()})


def test_groups_of_queries_and_checkpoints_join_by_image():
    raw = join_raw(
        [
            part(2, ["b", "a"], q2=[4.0, 3.0]),
            part(2, ["a", "b"], q1=[1.0, 2.0]),
            part(1, ["a", "b"], q2=[7.0, 8.0]),
            part(1, ["b", "a"], q1=[6.0, 5.0]),
        ]
    )
    assert list(raw.columns) == ["image_id", "epoch", "loss", "dot:q1", "dot:q2"]
    assert raw.to_numpy().tolist() == [
        ["a", 1, 1.0, 5.0, 7.0],
        ["a", 2, 2.0, 1.0, 3.0],
        ["b", 1, 1.0, 6.0, 8.0],
        ["b", 2, 2.0, 2.0, 4.0],
    ]


def test_parts_of_other_images_are_a_defect():
    with pytest.raises(AssertionError, match="same images"):
        join_raw([part(1, ["a"], q1=[1.0]), part(1, ["b"], q2=[1.0])])
