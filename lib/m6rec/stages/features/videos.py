"""Take frames of a video at even times, by PyAV."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image


def decode_video(source: bytes | Path, count: int) -> list[Image.Image]:
    """The frames in the middle of `count` equal parts of a video's time.

    A video of fewer frames gives each of them once. The list is empty where the file cannot be
    decoded. Sound is not looked at.
    """
    # It is an extra that only those need who have videos.
    import av  # noqa: PLC0415

    try:
        with av.open(io.BytesIO(source) if isinstance(source, bytes) else source) as container:
            return list(_frames_at_even_times(container, count))
    except (av.FFmpegError, IndexError, ValueError, OSError):
        # A file that is cut short, or without pictures.
        return []


def _frames_at_even_times(container: Any, count: int) -> Iterator[Image.Image]:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    times = _even_times(container, stream, count)
    if times is None:
        decoded = [frame.to_image() for frame in container.decode(stream)]
        chosen = {(2 * part + 1) * len(decoded) // (2 * count) for part in range(count)}
        yield from (decoded[place] for place in sorted(chosen) if place < len(decoded))
        return
    last = None
    for time in times:
        container.seek(time, stream=stream)
        frame = next((one for one in container.decode(stream) if (one.pts or 0) >= time), None)
        if frame is not None and frame.pts != last:
            last = frame.pts
            yield frame.to_image()


def _even_times(container: Any, stream: Any, count: int) -> list[int] | None:
    """The times in the stream's own unit; None where the video is short, or does not tell its time.

    A short video is read through, since to seek in it costs more.
    """
    length = stream.duration
    if length is None and container.duration is not None:
        length = int(container.duration / 1_000_000 / stream.time_base)
    if not length or not stream.frames or stream.frames <= _READ_THROUGH:
        return None
    start = stream.start_time or 0
    return [start + (2 * part + 1) * length // (2 * count) for part in range(count)]


_READ_THROUGH = 250
