"""Small videos, made by PyAV."""

import io
from collections.abc import Iterable

import av
from PIL import Image, ImageDraw


def encoded(images: Iterable[Image.Image], size: int) -> bytes:
    """The images one after the other, as an MP4 file."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=6)
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 2_000_000
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_image(image)))
        container.mux(stream.encode())
    return file.getvalue()


def moving_square(frames: int, size: int = 32) -> bytes:
    """A white square on its way from the left to the right."""
    images = []
    for frame in range(frames):
        image = Image.new("RGB", (size, size))
        left = (size - 8) * frame / max(frames - 1, 1)
        ImageDraw.Draw(image).rectangle((left, 12, left + 8, 20), fill="white")
        images.append(image)
    return encoded(images, size)
