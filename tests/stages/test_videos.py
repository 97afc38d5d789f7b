"""Frames of videos at even times, whatever their container tells of their length."""

import io

import av
import numpy as np
import pytest
from PIL import Image

from m6rec.stages.features.videos import decode_video

FRAMES = 600
MIDDLES = np.array([0.125, 0.375, 0.625, 0.875])


def brightening(kind: str, codec: str = "mpeg4", frames: int = FRAMES, **options: str) -> bytes:
    """A small video whose frames go from black to white."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for frame in range(frames):
            grey = np.full((16, 16, 3), 255 * frame // (frames - 1), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def brightness_of(images: list[Image.Image]) -> list[float]:
    return [np.asarray(image).mean() / 255 for image in images]


@pytest.mark.parametrize(
    ("kind", "codec", "options"),
    [
        ("matroska", "mpeg4", {}),
        ("webm", "libvpx", {}),
        ("mpegts", "mpeg2video", {}),
        # Its length is not known before it is read.
        ("matroska", "mpeg4", {"live": "1"}),
        # Seeking in it leads to frames without those that they build on.
        ("mpegts", "mpeg4", {}),
    ],
)
def test_of_a_long_video_without_a_number_of_frames_only_the_chosen_ones_are_converted(
    kind: str, codec: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    video = brightening(kind, codec, **options)
    with av.open(io.BytesIO(video)) as container:
        assert container.streams.video[0].frames == 0
    convert, converted = av.VideoFrame.to_image, []
    monkeypatch.setattr(
        av.VideoFrame, "to_image", lambda frame: converted.append(frame.pts) or convert(frame)
    )
    np.testing.assert_allclose(brightness_of(decode_video(video, 4)), MIDDLES, atol=0.03)
    assert len(converted) <= 8


def test_a_long_video_that_is_cut_short_gives_frames_of_what_is_there() -> None:
    whole = brightening("matroska")
    found = brightness_of(decode_video(whole[: len(whole) // 2], 4))
    np.testing.assert_allclose(found, MIDDLES * found[-1] / MIDDLES[-1], atol=0.03)
    assert len(found) == 4 and found[-1] < 0.6


@pytest.mark.parametrize("kind", ["matroska", "mp4"])
def test_a_short_video_gives_the_frames_in_the_middle_of_equal_parts(kind: str) -> None:
    found = brightness_of(decode_video(brightening(kind, frames=101), 4))
    np.testing.assert_allclose(found, MIDDLES, atol=0.02)
