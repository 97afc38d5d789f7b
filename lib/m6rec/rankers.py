"""The only list of rankers: what each is called, what it needs, and which job trains it.

A ranker puts all items in an order for each user. A new one is a row of RANKERS, a kernel that
computes its model or its scores, and its member in `fits/members.py`. A trained one also needs a
row of NEIGHBOUR_TRAINERS or FACTOR_TRAINERS and its hyperparameters; see CONTRIBUTING.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

HYBRID = "hybrid"
FUSION = "fusion"
MLLIB_ALS = "mllib_als"
POPULARITY = "popularity"
REPEATS = "repeats"
# The name of the model of the towers that know order.
SEQUENCE = "sequence"
TOWERS_ON_ORDER = "towers_sequence"
# The sum of the towers that do not know order: no ranker, but what is measured without its parts.
TOWERS_ON_SETS = "towers_on_sets"
TRANSITIONS = "transitions"
# The names of the models of towers that are trained in addition to those of `fusion`.
BAGGED = "bagged"
BOOSTED = "boosted"

Need = Literal["times", "item_attributes", "repeats", "domains", "bagging", "boosting"]
UserInput = Literal["features", "factors"]
Role = Literal["member", "part", "blend", "reference"]


@dataclass(frozen=True)
class Ranker:
    """One ranker.

    Attributes:
        name: what the configuration and the tables call it.
        label: what reports call it.
        role: a `member` can be part of the hybrid; a `part` is one of the pairs of towers, whose
            scores `fusion` adds up, and is no ranker of its own in the configuration; the `blend`
            is the hybrid itself; a `reference` is only measured.
        trained_by: the job that trains its model; None where its scores follow from other tables.
        model: the name of its trained model in the tables `item_factors`, `item_neighbours` and
            `models`; rankers may share one.
        needs: what it cannot do without; it is left out where the data does not have it, or where
            lists may not hold what users have (`repeats`), or where the configuration does not
            ask for it (`bagging`, `boosting`).
        user_inputs: what it looks at besides the user's row of the matrix: the table
            `user_features` or `user_factors`.
        groups: the parts of the ablation that it is taken out with.
    """

    name: str
    label: str
    role: Role = "member"
    trained_by: str | None = None
    model: str | None = None
    needs: frozenset[Need] = frozenset()
    user_inputs: frozenset[UserInput] = frozenset()
    groups: tuple[str, ...] = ()


_TIMES: frozenset[Need] = frozenset({"times"})
_ITEM_ATTRIBUTES: frozenset[Need] = frozenset({"item_attributes"})
_REPEATS: frozenset[Need] = frozenset({"repeats"})
_DOMAINS: frozenset[Need] = frozenset({"domains"})
_BAGGING: frozenset[Need] = frozenset({"bagging"})
_BOOSTING: frozenset[Need] = frozenset({"boosting"})
_FEATURES: frozenset[UserInput] = frozenset({"features"})
_FACTORS: frozenset[UserInput] = frozenset({"factors"})

RANKERS: tuple[Ranker, ...] = (
    Ranker(HYBRID, "Hybrid", role="blend", trained_by="train_hybrid"),
    Ranker(FUSION, "Fusion", trained_by="train_towers"),
    Ranker(
        "towers_svd",
        "Towers on SVD",
        role="part",
        trained_by="train_towers",
        model="svd",
        user_inputs=_FEATURES,
        groups=("factors", "towers"),
    ),
    Ranker(
        "towers_als",
        "Towers on ALS",
        role="part",
        trained_by="train_towers",
        model="als",
        user_inputs=_FEATURES,
        groups=("factors", "towers"),
    ),
    Ranker(
        TOWERS_ON_ORDER,
        "Towers on order",
        role="part",
        trained_by="train_towers",
        model=SEQUENCE,
        needs=_TIMES,
        groups=("towers", "recency"),
    ),
    Ranker("svd", "SVD", trained_by="train_factors", model="svd", groups=("factors",)),
    Ranker("als", "ALS", trained_by="train_factors", model="als", groups=("factors",)),
    Ranker(
        "als_cosine",
        "ALS by cosine",
        trained_by="train_factors",
        model="als",
        needs=_ITEM_ATTRIBUTES,
        groups=("factors",),
    ),
    Ranker(
        "own_als",
        "ALS of the domain alone",
        trained_by="train_factors",
        model="own_als",
        needs=_DOMAINS,
        groups=("factors", "own"),
    ),
    Ranker(
        "ridge", "Local ridge", trained_by="train_neighbours", model="ridge", groups=("neighbours",)
    ),
    Ranker(
        "recent_ridge",
        "Recent ridge",
        trained_by="train_neighbours",
        model="ridge",
        needs=_TIMES,
        groups=("neighbours", "recency"),
    ),
    Ranker(
        "own_ridge",
        "Local ridge of the domain alone",
        trained_by="train_neighbours",
        model="own_ridge",
        needs=_DOMAINS,
        groups=("neighbours", "own"),
    ),
    Ranker(
        "item_neighbours",
        "Item neighbours",
        trained_by="train_neighbours",
        model="item_neighbours",
        groups=("neighbours",),
    ),
    Ranker(
        "recent_item_neighbours",
        "Recent item neighbours",
        trained_by="train_neighbours",
        model="item_neighbours",
        needs=_TIMES,
        groups=("neighbours", "recency"),
    ),
    Ranker(
        TRANSITIONS,
        "Transitions",
        trained_by="train_neighbours",
        model="transitions",
        needs=_TIMES,
        groups=("neighbours", "recency"),
    ),
    Ranker(REPEATS, "Repeats", needs=_REPEATS),
    Ranker("user_neighbours", "User neighbours", groups=("neighbours",)),
    Ranker(
        "content",
        "Content",
        trained_by="build_features",
        needs=_ITEM_ATTRIBUTES,
        user_inputs=_FEATURES,
        groups=("features",),
    ),
    Ranker(
        "content_neighbours",
        "Content neighbours",
        trained_by="train_neighbours",
        model="content_neighbours",
        needs=_ITEM_ATTRIBUTES,
        groups=("features",),
    ),
    Ranker(
        "bagged_towers",
        "Bagged towers",
        trained_by="train_towers",
        model=BAGGED,
        needs=_BAGGING,
        user_inputs=_FEATURES,
        groups=("factors", "towers"),
    ),
    Ranker(
        "boosted_towers",
        "Boosted towers",
        trained_by="train_towers",
        model=BOOSTED,
        needs=_BOOSTING,
        user_inputs=_FEATURES,
        groups=("factors", "towers"),
    ),
    Ranker(POPULARITY, "Popularity"),
    Ranker(
        MLLIB_ALS,
        "MLlib ALS",
        role="reference",
        trained_by="train_factors",
        model=MLLIB_ALS,
        user_inputs=_FACTORS,
    ),
)

# In the order in which groups appear in the ablation.
GROUPS = ("factors", "towers", "neighbours", "features", "recency", "own")

_BY_NAME: Mapping[str, Ranker] = {ranker.name: ranker for ranker in RANKERS}

# What the configuration may name, and what the hybrid may be made of.
RANKER_NAMES = tuple(ranker.name for ranker in RANKERS if ranker.role != "part")
MEMBER_NAMES = tuple(ranker.name for ranker in RANKERS if ranker.role == "member")


def ranker_named(name: str) -> Ranker:
    """The ranker of that name.

    Raises:
        KeyError: there is none.
    """
    return _BY_NAME[name]


def members_of_group(group: str) -> frozenset[str]:
    """The names of the rankers that the ablation takes out together under this name."""
    return frozenset(ranker.name for ranker in RANKERS if group in ranker.groups)


def models_trained_by(job: str, names: Iterable[str]) -> tuple[str, ...]:
    """The models that a job has to train for the named rankers, each once, in the list's order."""
    wanted = set(names)
    models = (
        ranker.model
        for ranker in RANKERS
        if ranker.name in wanted and ranker.trained_by == job and ranker.model is not None
    )
    return tuple(dict.fromkeys(models))


def label_of(name: str) -> str:
    """What reports call a ranker; another name is written with spaces and a capital letter."""
    ranker = _BY_NAME.get(name)
    return name.replace("_", " ").capitalize() if ranker is None else ranker.label
