"""Music: tracks that a listener plays again and again, calm ones in the morning."""

import numpy as np
import pandas as pd

from m6rec.datasets.trades.tastes import FIRST_DAY, draw_tastes

LISTENERS, TRACKS, DAYS = 150, 180, 28
_GENRES = ("folk", "house", "jazz", "metal", "opera", "soul")
_CALM = ("folk", "jazz", "opera")


def music_tables(seed: int = 1) -> dict[str, pd.DataFrame]:
    """Tables plays and tracks."""
    generator = np.random.default_rng(seed)
    tastes = draw_tastes(generator, LISTENERS, TRACKS, len(_GENRES))
    plays = []
    for listener in range(LISTENERS):
        favourites = tastes.choose(generator, listener, 12)
        for day in range(DAYS):
            for _ in range(int(generator.integers(0, 6))):
                # Three plays in four are of a favourite, the others of something new.
                again = generator.random() < 0.75
                track = int(
                    generator.choice(favourites)
                    if again
                    else tastes.choose(generator, listener, 1)[0]
                )
                calm = _GENRES[tastes.group[track]] in _CALM
                hour = int(generator.integers(6, 10) if calm else generator.integers(18, 24))
                at = FIRST_DAY + pd.Timedelta(
                    days=day, hours=hour, seconds=int(generator.integers(0, 3600))
                )
                plays.append((f"l{listener}", _track(track), at))
    tracks = pd.DataFrame(
        {
            "track": [_track(track) for track in range(TRACKS)],
            "title": [f"Song {track} of artist {track % 40}" for track in range(TRACKS)],
            "artist": [f"artist {track % 40}" for track in range(TRACKS)],
            "genre": [_GENRES[group] for group in tastes.group],
            "tempo": generator.integers(60, 180, TRACKS),
        }
    )
    return {
        "plays": pd.DataFrame(plays, columns=["listener", "track", "played_at"]),
        "tracks": tracks,
    }


def _track(track: int) -> str:
    return f"t{track:03d}"
