"""Text in pictures by a packaged recognition model, on one thread."""

import io
import logging
import math
import time
import unicodedata
import warnings
from functools import cache
from typing import Any

from baton_packs.customer_experience.reading.pages.layout import Piece, lines_of
from baton_packs.customer_experience.reading.text.charsets import clean
from baton_packs.customer_experience.reading.text.content import Content
from baton_packs.customer_experience.reading.text.limits import BOMB, DAMAGED, LIMITS, ReadingLimits

_SMALL = 40_000  # pixels: logos and tracking dots
_FORMATS = ("PNG", "JPEG", "TIFF")
_LONG_SIDE = 2_900  # pixels that recognition gets at most
_DETECTION_SIDE = 1_170  # pixels in which lines are looked for: A4 at 100 dpi
_LEAST = 0.5  # confidence of a line that counts
_UNSURE = 0.75  # mean confidence below which a page may be upside down
_BASELINE = 0.22  # of a box's height, below which letters have only their tails
LINES = "{} lines not read, there was no time left for OCR"


def area_of(data: bytes) -> int:
    """Pixels of a picture by its header, 0 if it cannot be opened."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            width, height = Image.open(io.BytesIO(data), formats=_FORMATS).size
    except (Image.DecompressionBombError, OSError, ValueError, SyntaxError, EOFError):
        return 0
    return int(width * height)


def text_of(
    data: bytes, limits: ReadingLimits = LIMITS, *, ocr_pages: int | None = None, ocr_tries: int | None = None,
    ocr_until: float = math.inf,
) -> Content:  # fmt: skip
    """Read a PNG, JPEG or TIFF. Never raises for what is in the file; sizes are checked before pixels are decoded.

    Args:
        ocr_pages, ocr_tries, ocr_until: as for a PDF.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    allowed = limits.ocr_pages if ocr_pages is None else ocr_pages
    tries = limits.ocr_tries if ocr_tries is None else ocr_tries
    texts: list[str] = []
    notes, confidences, unread, lines = [], [], 0, 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(data), formats=_FORMATS)
        frames = int(getattr(picture, "n_frames", 1))
        for number in range(frames):
            picture.seek(number)
            width, height = picture.size
            if width * height > limits.pixels:
                return Content("scan", pages=frames, problem=BOMB, notes=(f"picture of {width} x {height} pixels",))
            if width * height < _SMALL:
                notes.append("picture too small to hold text, not read")
                continue
            if sum(map(bool, texts)) >= allowed or len(texts) >= tries or time.process_time() >= ocr_until:
                unread = frames - number
                break
            picture.draft("RGB", (_LONG_SIDE, _LONG_SIDE))
            frame = picture.convert("RGB")
            frame.thumbnail((_LONG_SIDE, _LONG_SIDE))
            text, confidence, missed = text_of_pixels(np.asarray(frame)[:, :, ::-1], ocr_until)
            lines += missed
            texts.append(text)
            confidences.append(confidence)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError, EOFError) as error:
        bomb = isinstance(error, Image.DecompressionBombError)
        return Content("scan", problem=BOMB if bomb else DAMAGED, notes=("picture cannot be read",))
    left = tuple([f"{unread} of {frames} pictures not read"] * bool(unread) + [LINES.format(lines)] * bool(lines))
    if texts:
        notes.append(f"{len(texts)} pictures read by OCR, mean confidence {sum(confidences) / len(texts):.2f}")
    whole = "\n\n".join(text for text in texts if text)
    return Content("scan", whole, frames, sum(map(bool, texts)), len(texts), None, (*notes, *left), left)


def text_of_pixels(pixels: Any, until: float = math.inf) -> tuple[str, float, int]:
    """Lines of a page, the mean confidence (0..1; 0 when nothing is found), and how many lines there was no time for.

    A page that is read with little confidence is tried upside down, too.

    Args:
        pixels: uint8 array (height, width, 3) in the order blue, green, red.
        until: on the clock `time.process_time`; no line is begun after it.
    """
    pieces, confidence, missed = _found(pixels, until)
    if confidence < _UNSURE and time.process_time() < until:
        turned = _found(pixels[::-1, ::-1], until)
        if turned[1] > confidence:
            pieces, confidence, missed = turned
    return lines_of(pieces), confidence, missed


def _found(pixels: Any, until: float) -> tuple[list[Piece], float, int]:
    """Runs of words with their places, the mean confidence, and how many were left.

    Lines are looked for on a small picture and read on the large one: four times as fast as both on one size, and
    more words keep their spaces.
    """
    import cv2
    import numpy as np

    engine = _engine()
    pixels = np.ascontiguousarray(pixels)
    scale = min(1.0, _DETECTION_SIDE / max(pixels.shape[:2]))
    corners, _ = engine.text_det(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    if corners is None or not len(corners):
        return [], 0.0, 0
    boxes = [(np.asarray(one) / scale).astype(np.float32) for one in corners]
    pieces, confidences, missed = [], [], 0
    for number, box in enumerate(boxes):
        if time.process_time() >= until:
            missed = len(boxes) - number
            break
        [(text, confidence)], _ = engine.text_rec(engine.get_crop_img_list(pixels, [box]))
        text = unicodedata.normalize("NFKC", clean(text)).replace("\n", " ").strip()  # wide commas and brackets
        if text and confidence >= _LEAST:
            (left, top), (right, bottom) = box.min(axis=0).tolist(), box.max(axis=0).tolist()
            height = max(bottom - top, 1.0)
            pieces.append(Piece(left, right, bottom - _BASELINE * height, height, text, True))
            confidences.append(float(confidence))
    return pieces, sum(confidences) / len(confidences) if confidences else 0.0, missed


@cache
def _engine() -> Any:
    """The recognition models of the package, loaded once in a process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from rapidocr_onnxruntime import RapidOCR

    engine = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)
    # one line at a time and little padding: a batch is as wide as its widest line, which costs three times as much
    engine.text_rec.rec_batch_num, engine.text_rec.rec_image_shape = 1, [3, 48, 160]
    for name in ("RapidOCR", "OrtInferSession"):  # the package adds its own handler and logs at DEBUG
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return engine
