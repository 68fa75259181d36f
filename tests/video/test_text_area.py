"""Text area: unions, what is a line, which frames are asked, and the real detector on drawn words."""
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from dclm_nb.core.errors import UserError
from dclm_nb.video.text_area import TextConfig, covered, lines_of, rapidocr_detector, stroke_density, text_area

pytest.importorskip("cv2")


def box(x, y, w, h): return np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float32)


def written(words: str = "Follow us today") -> np.ndarray:
    picture = Image.new("RGB", (320, 240), (70, 80, 100))
    font = ImageFont.load_default(size=28)
    ImageDraw.Draw(picture).text((160, 200), words, fill=(255, 255, 255), font=font, anchor="mm")
    return np.asarray(picture)


def test_what_two_boxes_share_counts_once():
    assert covered(np.stack([box(0, 0, 49, 9), box(0, 0, 49, 9)]), (100, 100)) == pytest.approx(0.05)
    assert covered(np.stack([box(0, 0, 49, 9), box(0, 20, 49, 9)]), (100, 100)) == pytest.approx(0.1)
    assert covered(np.zeros((0, 4, 2)), (100, 100)) == 0


def test_a_box_outside_the_picture_covers_nothing():
    assert covered(box(200, 200, 10, 10)[None], (100, 100)) == 0
    assert covered(box(-1000, -1000, 3000, 3000)[None], (100, 100)) == 1


def test_a_high_box_is_no_line():
    boxes = np.stack([box(0, 0, 90, 10), box(0, 0, 90, 60), box(0, 0, 10, 90)])
    assert len(lines_of(boxes, (100, 100))) == 2 and len(lines_of(boxes, (100, 100), tallest=1)) == 3


def test_only_three_frames_are_looked_at_and_only_those_with_strokes():
    asked = []
    detector = lambda frame: asked.append(frame.mean()) or box(0, 200, 319, 23)[None]
    bare, text = np.full((240, 320, 3), 90, np.uint8), written()
    film = np.stack([bare, text, bare, bare, text])
    found = text_area(film, detector)
    assert len(asked) == found.asked == 1 and found.share == pytest.approx(0.1)         # first and middle are bare
    assert text_area(film, detector, TextConfig(strokes=0)).asked == 3
    assert text_area(bare[None], detector).share == 0


def test_strokes():
    assert stroke_density(written()) > TextConfig().strokes > stroke_density(np.full((240, 320, 3), 90, np.uint8))


def test_the_real_detector_finds_words():
    pytest.importorskip("rapidocr")
    film = np.stack([written(), written("Thank you"), written()])
    assert 0.02 < text_area(film, rapidocr_detector()).share < 0.2
    assert text_area(np.full((3, 240, 320, 3), 90, np.uint8), rapidocr_detector(), TextConfig(strokes=0)).share == 0


@pytest.mark.parametrize("call", [
    lambda: text_area(np.zeros((0, 8, 8, 3), np.uint8), None), lambda: text_area(np.zeros((2, 8, 8, 3)), None),
    lambda: TextConfig(tallest=0), lambda: TextConfig(strokes=2),
])
def test_errors_are_one_line(call):
    with pytest.raises(UserError) as error: call()
    assert "\n" not in str(error.value)
