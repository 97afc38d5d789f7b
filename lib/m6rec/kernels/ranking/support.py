"""What the scores of a blend are made of: members, and within them the items of the history."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from m6rec.kernels.arrays.rows import Float32, Float64, Int64
from m6rec.kernels.ranking.attribution import Listed, history_shares
from m6rec.kernels.ranking.blending import evidence_bins
from m6rec.kernels.ranking.explanation import Support
from m6rec.kernels.ranking.members import Member, OwnMembers, UserBlock, is_same_for_all
from m6rec.kernels.ranking.scoring import PreparedBlend, RepresentedUsers
from m6rec.rankers import TRANSITIONS

CONTENT_MEMBER = "content"


@dataclass(frozen=True)
class PartOfScore:
    """What one member adds to the scores of listed items.

    Attributes:
        whole: float32 [entries].
        history: float64 [cells]; the part of it that is owed to each history item. These parts add
            up to the whole, except for towers, where a part is owed to features. None where it
            cannot be divided.
        is_same_for_all: whether the member scores an item alike for every user.
    """

    whole: Float32
    history: Float64 | None
    is_same_for_all: bool = False


def parts_of_scores(
    prepared: PreparedBlend,
    members: Mapping[str, Member | OwnMembers],
    users: RepresentedUsers,
    block: UserBlock,
    listed: Listed,
    item_evidence: Int64,
    parts: Mapping[str, Float32],
) -> dict[str, PartOfScore]:
    """What each member of the blend adds, by its name, divided where it can be.

    Args:
        prepared: the blend.
        members: at least the blend's members.
        users, block: the users, as they are represented and as they are.
        listed: the items.
        item_evidence: int64 [items]; as in `prepare_blend`.
        parts: `part_scores` of the listed items.
    """
    factors = factors_of_parts(prepared, users, listed, item_evidence)
    widths = np.diff(listed.cells)
    found: dict[str, PartOfScore] = {}
    for name, whole in parts.items():
        shares = history_shares(members[name], block, users.terms.get(name), listed)
        if shares is not None:
            shares = shares * np.repeat(factors[name], widths)
        found[name] = PartOfScore(whole, shares, is_same_for_all(members[name]))
    return found


def support_of(
    parts: Mapping[str, PartOfScore],
    listed: Listed,
    block: UserBlock,
    item_evidence: Int64,
    are_mixed: bool = False,
) -> Support:
    """What speaks for each listed item, added up over the members.

    Users of whom nothing is known all get the same list. For them, what cannot be divided counts as
    popularity, too. An item of which no member says anything is listed for its popularity alone
    (`kernels.ranking.unscored_items`), if any user has it, and unless lists are mixed.

    Args:
        parts: what each member adds.
        listed: the items.
        block: the users.
        item_evidence: int64 [items]; as in `prepare_blend`.
        are_mixed: whether lists of users of whom something is known are chosen for diversity or by
            the user's mix, so that such an item need not be among the most popular ones.
    """
    unscored = np.ones(len(listed.items), np.bool_)
    history, order = np.zeros(listed.cells[-1]), np.zeros(listed.cells[-1])
    content, popularity, rest = (np.zeros(len(listed.items)) for _ in range(3))
    for name, part in parts.items():
        unscored &= part.whole == 0.0
        if part.history is not None:
            if name == TRANSITIONS:
                order += part.history
            else:
                history += part.history
        elif name == CONTENT_MEMBER:
            content += part.whole
        elif part.is_same_for_all:
            popularity += part.whole
        else:
            rest += part.whole
    unknown = ((block.rows.counts == 0) & ~block.content.any(axis=1))[listed.users]
    popularity[unknown] += rest[unknown]
    rest[unknown] = 0.0
    by_popularity = unscored & (item_evidence[listed.items] > 0)
    popularity[by_popularity & unknown if are_mixed else by_popularity] = 1.0
    return Support(history, order, content, popularity, rest)


def factors_of_parts(
    prepared: PreparedBlend, users: RepresentedUsers, listed: Listed, item_evidence: Int64
) -> dict[str, Float64]:
    """What the blend multiplies each member's score of each listed item by: float64 [entries]."""
    blend = prepared.blend
    item_bins, user_bins = evidence_bins(item_evidence[listed.items]), evidence_bins(users.counts)
    return {
        name: coefficient
        * blend.item_factors_of(name)[item_bins]
        * blend.user_factors_of(name)[user_bins][listed.users]
        for name, coefficient in blend.coefficients().items()
    }
