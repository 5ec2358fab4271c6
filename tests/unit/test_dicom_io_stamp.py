"""A line that is inked from a kept stamp has the pixels of a line set anew."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dicom_io.canvas import GREY, INK, Canvas
from dicom_io.typeface import BOLD, REGULAR, Face, face_of, font, stamp


@pytest.mark.parametrize("text", ["Above the threshold", "Ärger, ngày 5 ½", "骨密度", "fjord Qy", "i"])
@pytest.mark.parametrize(
    ("at", "anchor"), [((20, 40), "ls"), ((20.7, 40.25), "ls"), ((200.4, 40.5), "rm"), ((99, 3), "ma")]
)
def test_a_stamped_line_has_the_pixels_of_a_drawn_one(text, at, anchor):
    canvas, plain = Canvas(400, 80), Image.new("RGB", (400, 80), (255, 255, 255))
    canvas.text(at, text, 21, weight=BOLD, colour=GREY, anchor=anchor)
    canvas.text(at, text, 21, weight=BOLD, colour=GREY, anchor=anchor)
    words = canvas.marks[0]
    pen = ImageDraw.Draw(plain)
    for _ in range(2):
        pen.text(words.at, words.text, font=font(words.face, words.size), fill=GREY, anchor="ls")
    assert np.array_equal(np.array(canvas.image), np.array(plain))
    assert np.array(plain).min() < 255


def test_nothing_to_see_is_no_stamp():
    assert stamp(" ", face_of(" ", REGULAR), 20, (0.0, 0.0)) is None
    canvas = Canvas(50, 50)
    assert canvas.text((5, 20), " ", 20, colour=INK) > 0
    assert np.array(canvas.image).min() == 255


def test_stamps_are_kept_in_bounds():
    face: Face = face_of("a", REGULAR)
    for number in range(300):
        stamp(str(number), face, 20, (0.0, 0.0))
    assert stamp.cache_info().currsize <= 256
