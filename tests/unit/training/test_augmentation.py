import torch

from grasp_ray.training.augmentation import flip_photos, is_flipped

IDS = [f"V{index:04d}/3" for index in range(4000)]


def test_half_of_the_photos_are_flipped_and_another_half_in_the_next_epoch():
    first = [is_flipped(image_id, seed=0, epoch=1) for image_id in IDS]
    second = [is_flipped(image_id, seed=0, epoch=2) for image_id in IDS]
    both = [a and b for a, b in zip(first, second, strict=True)]
    assert abs(sum(first) - 2000) < 5 * 32  # standard deviation √4000 / 2 ≈ 32
    assert abs(sum(both) - 1000) < 5 * 28


def test_only_the_named_photos_change_and_they_are_mirrored():
    photos = torch.randint(0, 256, (8, 5, 6, 3), dtype=torch.uint8)
    changed = flip_photos(photos, IDS[:8], seed=1, epoch=4)
    flipped = [is_flipped(image_id, seed=1, epoch=4) for image_id in IDS[:8]]
    assert True in flipped and False in flipped
    for photo, result, mirrored in zip(photos, changed, flipped, strict=True):
        torch.testing.assert_close(result, photo.flip(1) if mirrored else photo)


def test_a_photo_changes_alike_whatever_is_beside_it():
    photos = torch.randint(0, 256, (6, 4, 4, 3), dtype=torch.uint8)
    together = flip_photos(photos, IDS[:6], seed=0, epoch=1)
    alone = flip_photos(photos[4:5], IDS[4:5], seed=0, epoch=1)
    torch.testing.assert_close(together[4:5], alone)
