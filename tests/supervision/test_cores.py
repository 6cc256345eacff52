"""The cores of each worker."""

from service.supervision.cores import shared_out


def test_neighbouring_cores_are_assigned_together() -> None:
    assert shared_out([0, 1, 2, 3], 2) == [(0, 1), (2, 3)]
    assert shared_out([0, 1, 2], 2) == [(0,), (1, 2)]
    assert shared_out([4, 7], 3) == [(4,), (7,), (4,)]
