"""A social network: members follow members, so users are items, and some block each other."""

import numpy as np
import pandas as pd

from m6rec.datasets.trades.tastes import draw_tastes, moments

MEMBERS, DAYS = 300, 90
_INTERESTS = ("chess", "climbing", "gardens", "trains", "poetry", "robots", "sailing", "yoga")
_CITIES = ("Graz", "Lyon", "Porto", "Turku")


def social_tables(seed: int = 1) -> dict[str, pd.DataFrame]:
    """Tables follows, members and never: whom no list of a member may hold, the member first."""
    generator = np.random.default_rng(seed)
    tastes = draw_tastes(generator, MEMBERS, MEMBERS, len(_INTERESTS))
    follows, never = [], []
    for member in range(MEMBERS):
        others = np.delete(np.arange(MEMBERS), member)
        blocked = set(generator.choice(others, 2, replace=False).tolist())
        open_ones = others[~np.isin(others, list(blocked))]
        chosen = tastes.choose(generator, member, int(generator.integers(8, 25)), open_ones)
        generator.shuffle(chosen)
        follows += [
            (_name(member), _name(other), at)
            for other, at in zip(
                chosen.tolist(), moments(generator, len(chosen), DAYS), strict=True
            )
        ]
        never += [(_name(member), _name(other)) for other in (member, *sorted(blocked))]
    members = pd.DataFrame(
        {
            "member": [_name(member) for member in range(MEMBERS)],
            "interests": [
                [_INTERESTS[tastes.group[member]], str(generator.choice(_INTERESTS))]
                for member in range(MEMBERS)
            ],
            "city": generator.choice(_CITIES, MEMBERS),
        }
    )
    return {
        "follows": pd.DataFrame(follows, columns=["follower", "followed", "at"]),
        "members": members,
        "never": pd.DataFrame(never, columns=["member", "other"]),
    }


def _name(member: int) -> str:
    return f"member{member}"
