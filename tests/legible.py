"""What makes a picture legible, for the tests of the displays."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.text import Text

MOST_INCHES = 11.0  # of height: a page


def _tick_labels(axis):
    low, high = sorted(axis.get_view_interval())
    out = []
    for minor in (False, True):
        places, labels = axis.get_ticklocs(minor=minor), axis.get_ticklabels(minor=minor)
        out += [t for x, t in zip(places, labels, strict=True) if low <= x <= high]
    return out


def texts(figure):
    """All texts that are visible in a figure that was drawn."""
    found = []
    for ax in figure.axes:
        found += [child for child in ax.get_children() if isinstance(child, Text)]
        for axis in (ax.xaxis, ax.yaxis):
            found += [axis.label, *_tick_labels(axis)]
        if ax.get_legend():
            found += [*ax.get_legend().get_texts(), ax.get_legend().get_title()]
    return [text for text in found if text.get_visible() and text.get_text()]


def check_places(figure, most_inches=MOST_INCHES):
    """No two texts overlap, none leaves the figure, and this is no higher than a page."""
    figure.canvas.draw()
    found = texts(figure)
    boxes = [text.get_window_extent() for text in found]
    assert figure.get_figheight() <= most_inches
    for i, box in enumerate(boxes):
        where = f"{found[i].get_text()!r} at {box.extents.round()}"
        assert box.x0 >= figure.bbox.x0 and box.y0 >= figure.bbox.y0, where
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, where
        for other, text in zip(boxes[:i], found, strict=False):
            assert not box.overlaps(other), f"{where} and {text.get_text()!r}"


def _luminance(color):
    color = np.asarray(to_rgb(color))
    linear = np.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(color, other):
    """Contrast of two colours, from 1 to 21."""
    low, high = sorted((_luminance(color), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def check_colors(figure):
    """Texts stand out from the background, with the contrast that large texts should have."""
    back = figure.get_facecolor()
    for text in texts(figure):
        assert contrast(text.get_color(), back) >= 3.0, text.get_text()
        box = text.get_bbox_patch()
        assert box is None or contrast(box.get_facecolor(), back) == 1.0, text.get_text()


def faces(figure):
    """Colours of all points, areas and bars that are not transparent."""
    found = set()
    for ax in figure.axes:
        for part in ax.collections:
            found |= {tuple(color) for color in part.get_facecolor().tolist()}
        found |= {tuple(patch.get_facecolor()) for patch in ax.patches}
    return {color[:3] for color in found if color[3] > 0}
