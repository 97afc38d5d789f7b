"""Short videos: how much of each a viewer watched, vectors of their frames, and new uploads."""

import numpy as np
import pandas as pd

from m6rec.datasets.trades.tastes import draw_tastes, moments

VIEWERS, CLIPS, DAYS = 300, 160, 30
NEW_CLIPS = 16
_TOPICS = ("cooking", "football", "travel", "music", "science", "comedy", "pets", "news")
_FRAMES, _NUMBERS = 4, 12


def video_tables(seed: int = 1) -> dict[str, pd.DataFrame]:
    """Tables views and clips; nobody has yet watched the last clips."""
    generator = np.random.default_rng(seed)
    tastes = draw_tastes(generator, VIEWERS, CLIPS, len(_TOPICS))
    watched = np.arange(CLIPS - NEW_CLIPS)
    views = []
    for viewer in range(VIEWERS):
        liked = tastes.of_group(viewer)
        chosen = tastes.choose(generator, viewer, int(generator.integers(12, 30)), watched)
        generator.shuffle(chosen)
        for clip, at in zip(chosen.tolist(), moments(generator, len(chosen), DAYS), strict=True):
            # Most of what is not of the viewer's genre is skipped after some seconds.
            likes = tastes.group[clip] == liked or generator.random() < 0.2
            share = generator.beta(6, 2) if likes else generator.beta(1, 8)
            device = "tv" if at.hour >= 19 else "phone"
            views.append((f"v{viewer}", _clip(clip), round(float(share), 3), device, at))
    centres = 2 * generator.standard_normal((len(_TOPICS), _NUMBERS))
    frames = centres[tastes.group][:, None] + generator.standard_normal((CLIPS, _FRAMES, _NUMBERS))
    clips = pd.DataFrame(
        {
            "clip": [_clip(clip) for clip in range(CLIPS)],
            "title": [
                f"{_TOPICS[tastes.group[clip]]} number {clip} of channel {clip % 11}"
                for clip in range(CLIPS)
            ],
            "genre": [_TOPICS[group] for group in tastes.group],
            "seconds": generator.integers(8, 180, CLIPS),
            "frames": [one.round(4).tolist() for one in frames],
        }
    )
    columns = ["viewer", "clip", "watched_share", "device", "watched_at"]
    return {"views": pd.DataFrame(views, columns=columns), "clips": clips}


def _clip(clip: int) -> str:
    return f"clip-{clip:03d}"
