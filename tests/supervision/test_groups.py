"""Workers that share the port change together, a worker of one model alone."""

from service.supervision.groups import Groups


def test_each_worker_of_one_model_is_a_group() -> None:
    groups = Groups(2, ["a", "b"])
    assert groups.own == {"a": 2, "b": 3}
    assert groups.of_worker(0) is groups.of_worker(1) is groups.of_model("other")
    assert groups.of_worker(2) is groups.of_model("a")
    assert groups.of_worker(3) is groups.of_model("b")
    assert len({id(groups.of_worker(each)) for each in range(4)}) == 3
