"""A plot is an SVG with a polyline for each line; its points correspond to the values."""

from xml.etree import ElementTree

from service.commands.line_plot import Line, svg


def test_each_line_is_drawn_with_its_points_and_name() -> None:
    text = svg("a < b", "rows", "rows/s", [Line("one", [1, 2]), Line("two & more", [4, 0])])
    root = ElementTree.fromstring(text)
    points = [
        [float(part.split(",")[1]) for part in line.get("points", "").split()]
        for line in root.findall("{*}polyline")
    ]
    assert len(points) == 2 and all(len(each) == 2 for each in points)
    assert points[0][0] > points[0][1], "a larger value lies higher"
    assert points[1][0] < points[0][1] < points[1][1]
    words = [each.text for each in root.findall("{*}text")]
    assert {"a < b", "rows", "rows/s", "one", "two & more"} <= set(words)
