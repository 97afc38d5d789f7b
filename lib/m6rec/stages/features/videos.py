"""Take frames of a video at even times, by PyAV."""

import io
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from PIL import Image

# A video of so many frames is read through, since to seek in it costs more.
_READ_THROUGH = 250
_MICROSECONDS = 1_000_000


def decode_video(source: bytes | Path, count: int) -> list[Image.Image]:
    """The frames in the middle of `count` equal parts of a video's time.

    A video of fewer frames gives each of them once. The list is empty where the file cannot be
    decoded. Sound is not looked at.
    """
    # It is an extra that only those need who have videos.
    import av  # noqa: PLC0415

    def opened() -> Any:
        return av.open(io.BytesIO(source) if isinstance(source, bytes) else source)

    try:
        with suppress(av.FFmpegError), opened() as container:
            sought = list(_sought_frames(container, count))
            if len(sought) == count:
                return sought
        # It is short, does not tell how long it is, or not all of it can be sought.
        with opened() as container:
            frames = sum(1 for _ in container.decode(_video_stream(container)))
        chosen = {(2 * part + 1) * frames // (2 * count) for part in range(count)}
        # A second pass costs less memory than to keep the frames of the first, and less time than
        # to convert them all.
        with opened() as container:
            numbered = enumerate(container.decode(_video_stream(container)))
            return [frame.to_image() for number, frame in numbered if number in chosen]
    except (av.FFmpegError, IndexError, ValueError, OSError):
        # A file that is cut short, or without pictures.
        return []


def _video_stream(container: Any) -> Any:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return stream


def _sought_frames(container: Any, count: int) -> Iterator[Image.Image]:
    stream = _video_stream(container)
    last = None
    for time in _even_times(container, stream, count):
        container.seek(time, stream=stream)
        frame = _first_from(time, container.decode(stream))
        if frame is not None and frame.pts != last:
            last = frame.pts
            yield frame.to_image()


def _first_from(time: int, frames: Iterator[Any]) -> Any:
    """The first frame at the time or later; None where there is none that can be relied on."""
    first = next(frames, None)
    # MPEG-TS may be sought to a frame that lacks those of which it tells the difference.
    if first is None or not first.key_frame:
        return None
    return next((one for one in chain([first], frames) if (one.pts or 0) >= time), None)


def _even_times(container: Any, stream: Any, count: int) -> list[int]:
    """The times in the stream's own unit; none where the video is short, or does not tell."""
    length = stream.duration
    if length is None and container.duration is not None:
        length = int(container.duration / _MICROSECONDS / stream.time_base)
    if not length:
        return []
    rate = stream.average_rate or stream.guessed_rate or 0
    # Matroska, WebM and MPEG-TS do not store how many frames there are.
    frames = stream.frames or length * stream.time_base * rate
    if frames <= _READ_THROUGH:
        return []
    start = stream.start_time or 0
    return [start + (2 * part + 1) * length // (2 * count) for part in range(count)]
