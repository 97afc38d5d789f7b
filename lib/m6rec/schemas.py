"""The schema, key and meaning of every table that M6-Rec writes."""

from dataclasses import dataclass

from pyspark.sql import types as T

from m6rec import columns as c

_INDEX = T.LongType()
_INDICES = T.ArrayType(T.IntegerType())
_FLOATS = T.ArrayType(T.FloatType())
_REASON = T.StructType(
    [
        T.StructField("kind", T.StringType()),
        T.StructField("value", T.StringType()),
        T.StructField("share", T.DoubleType()),
    ]
)


@dataclass(frozen=True)
class TableSchema:
    """A table: its name, columns, key, and what one row means.

    `shared` tables grow across runs and are not replaced by run.
    """

    name: str
    meaning: str
    key: tuple[str, ...]
    schema: T.StructType
    shared: bool = False


def _table(
    name: str,
    meaning: str,
    key: tuple[str, ...],
    fields: dict[str, T.DataType],
    nullable: tuple[str, ...] = (),
    shared: bool = False,
) -> TableSchema:
    columns = [T.StructField(c.RUN_ID, T.StringType(), False)]
    columns += [T.StructField(name, kind, name in nullable) for name, kind in fields.items()]
    return TableSchema(name, meaning, key, T.StructType(columns), shared)


INTERACTIONS_TABLE = _table(
    "interactions",
    "One cleaned event of a user with an item. `weight` is what it counts: the owner's, times that"
    " of its type, decayed up to the latest event and lowered for suspicious users, as the"
    " configuration says. Events that differ in weight or context alone are several.",
    (),
    {
        c.USER_ID: T.StringType(),
        c.ITEM_ID: T.StringType(),
        c.EVENT_TIME: T.TimestampType(),
        c.EVENT_TYPE: T.StringType(),
        c.WEIGHT: T.DoubleType(),
        c.CONTEXT: T.MapType(T.StringType(), T.StringType()),
    },
    nullable=(c.EVENT_TIME, c.EVENT_TYPE, c.CONTEXT),
)

QUARANTINE_TABLE = _table(
    "quarantine",
    "One input row that cleaning refused: the row as it came (JSON, without columns that hold a"
    " geometry or geography) and why.",
    (),
    {c.RAW: T.StringType(), c.REASON: T.StringType(), c.SOURCE_VERSION: T.LongType()},
    nullable=(c.SOURCE_VERSION,),
)

USER_INDEX_TABLE = _table(
    "user_index",
    "A user's outside id and dense index; append-only across runs.",
    (c.USER_ID,),
    {c.USER_ID: T.StringType(), c.USER_INDEX: _INDEX},
    shared=True,
)

ITEM_INDEX_TABLE = _table(
    "item_index",
    "An item's outside id and dense index; append-only across runs.",
    (c.ITEM_ID,),
    {c.ITEM_ID: T.StringType(), c.ITEM_INDEX: _INDEX},
    shared=True,
)

SPLITS_TABLE = _table(
    "splits",
    "A user-item pair, its aggregated weight, and the fold that it belongs to. `rating` is the"
    " combined weight before weighting. `positive` is false where the pair was seen but does not"
    " count as a positive. Where repeats are ranked, a pair has a row in each fold that has one of"
    " its interactions, which combines these with those of the folds before.",
    (c.USER_INDEX, c.ITEM_INDEX, c.FOLD),
    {
        c.USER_INDEX: _INDEX,
        c.ITEM_INDEX: _INDEX,
        c.WEIGHT: T.DoubleType(),
        c.RATING: T.DoubleType(),
        c.EVENT_TIME: T.TimestampType(),
        c.POSITIVE: T.BooleanType(),
        c.FOLD: T.StringType(),
    },
    nullable=(c.EVENT_TIME,),
)

CATALOGUE_TABLE = _table(
    "catalogue",
    "An item that may be recommended in this run, with its title. Where there are domains, its id"
    " starts with `domain` and a slash, here and in all other tables but `recommendations`.",
    (c.ITEM_INDEX,),
    {
        c.ITEM_INDEX: _INDEX,
        c.ITEM_ID: T.StringType(),
        "title": T.StringType(),
        c.DOMAIN: T.StringType(),
    },
    nullable=("title", c.DOMAIN),
)

USER_ITEM_MATRIX_TABLE = _table(
    "user_item_matrix",
    "A row of P for one fit: positives by ascending item_index, their weights and times, and"
    " the items seen but not learned from: those not positive, and those of pairs that a minimum of"
    " interactions leaves out. Users without history have empty arrays.",
    (c.FIT, c.USER_INDEX),
    {
        c.FIT: T.StringType(),
        c.USER_INDEX: _INDEX,
        c.ITEM_INDICES: _INDICES,
        c.WEIGHTS: _FLOATS,
        c.TIMES: T.ArrayType(T.TimestampType()),
        c.EXCLUDED_INDICES: _INDICES,
    },
)

ITEM_FACTORS_TABLE = _table(
    "item_factors",
    "An item's factor; `projection` is its row of the linear map from histories to user factors"
    " (null for least squares); `scale` multiplies its score.",
    (c.FIT, c.METHOD, c.ITEM_INDEX),
    {
        c.FIT: T.StringType(),
        c.METHOD: T.StringType(),
        c.ITEM_INDEX: _INDEX,
        c.FACTOR: _FLOATS,
        c.PROJECTION: _FLOATS,
        c.SCALE: T.FloatType(),
    },
    nullable=(c.PROJECTION,),
)

USER_FACTORS_TABLE = _table(
    "user_factors",
    "A user's factor of a method whose user factors are no projection of the user's row.",
    (c.FIT, c.METHOD, c.USER_INDEX),
    {
        c.FIT: T.StringType(),
        c.METHOD: T.StringType(),
        c.USER_INDEX: _INDEX,
        c.FACTOR: _FLOATS,
    },
)

ITEM_NEIGHBOURS_TABLE = _table(
    "item_neighbours",
    "For a history item, the items that it speaks for and how much.",
    (c.FIT, c.METHOD, c.ITEM_INDEX),
    {
        c.FIT: T.StringType(),
        c.METHOD: T.StringType(),
        c.ITEM_INDEX: _INDEX,
        c.NEIGHBOUR_INDICES: _INDICES,
        c.WEIGHTS: _FLOATS,
    },
)

_FEATURE_COLUMNS: dict[str, T.DataType] = {
    c.FEATURES: _FLOATS,
    c.CONTENT: _FLOATS,
    c.ATTRIBUTES: T.ArrayType(T.StringType()),
    c.TERM_INDICES: _INDICES,
    c.TERM_WEIGHTS: _FLOATS,
}

USER_FEATURES_TABLE = _table(
    "user_features",
    "A user's features (attributes and behaviour), content vector (attributes alone, at most unit"
    " length), attributes in words, and the terms of all attributes with their weights.",
    (c.FIT, c.USER_INDEX),
    {c.FIT: T.StringType(), c.USER_INDEX: _INDEX, **_FEATURE_COLUMNS},
)

ITEM_FEATURES_TABLE = _table(
    "item_features",
    "An item's features (attributes and behaviour), content vector (attributes alone, at most unit"
    " length) and attributes in words.",
    (c.FIT, c.ITEM_INDEX),
    {c.FIT: T.StringType(), c.ITEM_INDEX: _INDEX, **_FEATURE_COLUMNS},
)

TEXT_VECTORS_TABLE = _table(
    "text_vectors",
    "What a sentence encoder, named by a hash of its files in `model`, makes of a text of the"
    " items', so that later runs encode new texts alone; append-only across runs.",
    (c.MODEL, c.TEXT_HASH),
    {c.MODEL: T.StringType(), c.TEXT_HASH: T.StringType(), c.VECTOR: _FLOATS},
    shared=True,
)

ITEM_IMAGES_TABLE = _table(
    "item_images",
    "An item's image, or a frame of its video, as height x width x 3 bytes, scaled to the"
    " configured size. `attribute` is the column that it is from.",
    (c.ITEM_INDEX, "attribute", "frame"),
    {
        c.ITEM_INDEX: _INDEX,
        "attribute": T.StringType(),
        "frame": T.IntegerType(),
        "pixels": T.BinaryType(),
    },
)

USER_EMBEDDINGS_TABLE = _table(
    "user_embeddings",
    "A user's embedding of the fusion model.",
    (c.FIT, c.USER_INDEX),
    {
        c.FIT: T.StringType(),
        c.USER_INDEX: _INDEX,
        c.EMBEDDING: _FLOATS,
        c.INTERACTION_COUNT: T.LongType(),
    },
)

ITEM_EMBEDDINGS_TABLE = _table(
    "item_embeddings",
    "An item's embedding of the fusion model.",
    (c.FIT, c.ITEM_INDEX),
    {
        c.FIT: T.StringType(),
        c.ITEM_INDEX: _INDEX,
        c.EMBEDDING: _FLOATS,
        c.INTERACTION_COUNT: T.LongType(),
    },
)

LISTS_TABLE = _table(
    "lists",
    "A ranker's top-N for a user who is measured, best first, as dense indices, as long as the"
    " largest of `evaluate.ks`; what `evaluate` measures. Where there are domains, each has a"
    " list.",
    (c.FIT, c.MODEL, c.USER_INDEX, c.DOMAIN),
    {
        c.FIT: T.StringType(),
        c.MODEL: T.StringType(),
        c.USER_INDEX: _INDEX,
        c.DOMAIN: T.StringType(),
        c.ITEM_INDICES: _INDICES,
        c.SCORES: _FLOATS,
    },
    nullable=(c.DOMAIN,),
)

RATING_PREDICTIONS_TABLE = _table(
    "rating_predictions",
    "What a model says that a user gives an item, for a pair of the fit's target fold, beside the"
    " rating that the user gave.",
    (c.FIT, c.MODEL, c.USER_INDEX, c.ITEM_INDEX),
    {
        c.FIT: T.StringType(),
        c.MODEL: T.StringType(),
        c.USER_INDEX: _INDEX,
        c.ITEM_INDEX: _INDEX,
        c.RATING: T.DoubleType(),
        c.PREDICTED: T.DoubleType(),
    },
)

RECOMMENDATIONS_TABLE = _table(
    "recommendations",
    "One recommended item of a user's published list. `context` is null in the list itself; the"
    " other lists are those of the contexts that `recommend.contexts` names. Where there are"
    " domains, each has such lists, of items whose ids count within it. A reason is of kind"
    " `history` (an item that the user had), `after` (an item that the user had, which the listed"
    " one often follows), `again` (the listed item itself, which the user had), `attribute` (of the"
    " item, whose content speaks for it), `popular` (with all users, or those of the segment),"
    " `model` (nothing can be named) or `mix` (nothing speaks for the item, which diversity or"
    " calibration chose for the mix of the list). Its share is that of all that speaks for the"
    " item, and no forecast: without the named item the score may fall by less, as others then"
    " speak more. `sentences` says the reasons in the language of `recommend.reasons.language`, and"
    " is null without one. Rows without a user are the list for whoever is unknown, of what is most"
    " popular: with everyone, where `segment` is null, or among the users of a segment.",
    (c.USER_ID, c.SEGMENT, c.CONTEXT, c.DOMAIN, c.RANK),
    {
        c.USER_ID: T.StringType(),
        c.DOMAIN: T.StringType(),
        c.CONTEXT: T.StringType(),
        c.RANK: T.IntegerType(),
        c.ITEM_ID: T.StringType(),
        "title": T.StringType(),
        c.SCORE: T.DoubleType(),
        c.PARTS: T.MapType(T.StringType(), T.DoubleType()),
        c.REASONS: T.ArrayType(_REASON),
        c.SENTENCES: T.ArrayType(T.StringType()),
        c.MODEL: T.StringType(),
        c.GENERATED_AT: T.TimestampType(),
        c.SEGMENT: T.StringType(),
    },
    nullable=("title", c.CONTEXT, c.DOMAIN, c.USER_ID, c.SEGMENT, c.SENTENCES),
)

METRICS_TABLE = _table(
    "metrics",
    "A metric of a ranker over the users of a segment, with a bootstrap confidence interval; `rmse`"
    " and `mae` are of models that predict ratings, over all held-out ratings, with `k` 0. Segments"
    " are `all`; users by what they have in training (`cold_users` nothing, then in thirds"
    " `activity_low`, `activity_middle`, `activity_high`); all users by certain of their held-out"
    " items (`cold_items` without interactions, then by thirds of all interactions"
    " `popularity_head`, `popularity_torso`, `popularity_tail`; where items without interactions"
    " differ in which columns of vectors and pictures they have, such as `cold_items with A and B`"
    " and `cold_items without vectors`); `warm`, users and items with interactions; and `domain:"
    " NAME`.",
    (c.MODEL, c.FOLD, c.SEGMENT, c.METRIC, c.K),
    {
        c.MODEL: T.StringType(),
        c.FOLD: T.StringType(),
        c.SEGMENT: T.StringType(),
        c.METRIC: T.StringType(),
        c.K: T.IntegerType(),
        c.VALUE: T.DoubleType(),
        c.CI_LOW: T.DoubleType(),
        c.CI_HIGH: T.DoubleType(),
        c.USERS: T.LongType(),
    },
    nullable=(c.CI_LOW, c.CI_HIGH),
)

COMPARISONS_TABLE = _table(
    "comparisons",
    "A paired test over users: mean of (model - other_model), its interval and p-value; over all,"
    " and over those of each domain where there are domains."
    " `other_run_id` differs from `run_id` where another run is compared.",
    (c.MODEL, "other_run_id", "other_model", c.FOLD, c.SEGMENT, c.METRIC, c.K),
    {
        c.MODEL: T.StringType(),
        "other_run_id": T.StringType(),
        "other_model": T.StringType(),
        c.FOLD: T.StringType(),
        c.SEGMENT: T.StringType(),
        c.METRIC: T.StringType(),
        c.K: T.IntegerType(),
        "difference": T.DoubleType(),
        c.CI_LOW: T.DoubleType(),
        c.CI_HIGH: T.DoubleType(),
        "p_value": T.DoubleType(),
        c.USERS: T.LongType(),
    },
)

ABLATIONS_TABLE = _table(
    "ablations",
    "NDCG@k of a ranker on validation without one of its parts, its difference from the whole"
    " ranker (negative where the part helps), and a paired test over users. The parts of towers are"
    " those of `towers_on_sets`, the sum of the towers of `towers.inputs`, which is `fusion` where"
    " no towers know order, and of `towers_sequence`, those that do.",
    (c.MODEL, "part"),
    {
        c.MODEL: T.StringType(),
        "part": T.StringType(),
        c.VALUE: T.DoubleType(),
        "difference": T.DoubleType(),
        c.CI_LOW: T.DoubleType(),
        c.CI_HIGH: T.DoubleType(),
        "p_value": T.DoubleType(),
        c.USERS: T.LongType(),
        c.K: T.IntegerType(),
    },
)

MODELS_TABLE = _table(
    "models",
    "What a fit learned besides its tables, by kind and name: parameters as JSON, and the folder"
    " of the saved artifact where there is one.",
    (c.FIT, "kind", "name"),
    {
        c.FIT: T.StringType(),
        "kind": T.StringType(),
        "name": T.StringType(),
        "parameters": T.StringType(),
        "artifact": T.StringType(),
    },
    nullable=("artifact",),
)

GUARD_RESULTS_TABLE = _table(
    "guard_results",
    "What a guard measured before publication: `value` against `limit`. `measured` is the run's own"
    " number and `reference` that of other runs, where `value` compares the two. `profile` is what"
    " a later run compares its features with. `outcome` is `passed`, `warned`, `stopped`,"
    " `not measured` or `off`.",
    ("guard",),
    {
        "guard": T.StringType(),
        "action": T.StringType(),
        "outcome": T.StringType(),
        c.VALUE: T.DoubleType(),
        "bound": T.StringType(),
        "limit": T.DoubleType(),
        "measured": T.DoubleType(),
        "reference": T.DoubleType(),
        "detail": T.StringType(),
        "profile": T.StringType(),
        "checked_at": T.TimestampType(),
    },
    nullable=(c.VALUE, "measured", "reference", "detail", "profile"),
)

_VERSIONS = T.MapType(T.StringType(), T.LongType())
RUNS_TABLE = _table(
    "runs",
    "A job of a run: who ran it when, what it read, with which configuration and code, what it"
    " wrote; `sources` has the versions of the owner's tables that the run reads, by key of the"
    " configuration, and `given` that configuration without defaults. Each time that a run is"
    " published (`publish`, or `rollback` to it) has a row, and the last finished one names the"
    " published run. `status` is `started`, `finished`, `failed`, `removing` once `clean` has begun"
    " to remove the run's rows of other tables, or `removed` when it has. `started_at` of `fold_in`"
    " that goes on is when it last said so.",
    ("job", "started_at"),
    {
        "job": T.StringType(),
        "status": T.StringType(),
        "config": T.StringType(),
        "config_hash": T.StringType(),
        "code_version": T.StringType(),
        "seed": T.LongType(),
        "inputs": _VERSIONS,
        "outputs": _VERSIONS,
        "started_at": T.TimestampType(),
        "finished_at": T.TimestampType(),
        "who": T.StringType(),
        "sources": _VERSIONS,
        "given": T.StringType(),
    },
    nullable=("finished_at", "inputs", "outputs", "who", "sources", "given"),
    shared=True,
)

RECEIPTS_TABLE = _table(
    "receipts",
    "What job `forget` has deleted from a table: how many rows, of how many users it was given whom"
    " the lake knew, and the table's version without them. It holds no id.",
    ("table",),
    {
        "table": T.StringType(),
        "rows": T.LongType(),
        "version": T.LongType(),
        c.USERS: T.LongType(),
        "forgotten_at": T.TimestampType(),
    },
    nullable=("version",),
    shared=True,
)

FOLD_IN_BATCHES_TABLE = _table(
    "fold_in_batches",
    "A batch of events that job `fold_in` has folded into the lists of a published run, which"
    " `run_id` names: events, touched users, and how far these have drifted from the training."
    " `refused` is how many of the events cleaning refuses by what each shows by itself;"
    " `items_without_factors` is the share of the others whose item the run does not know or has"
    " never seen; `distance` the mean cosine distance of the vectors of users who were in training"
    " from what they were then. Batch -1 is the catching up with a run that was newly published.",
    ("query_id", "batch_id", "publication"),
    {
        "query_id": T.StringType(),
        "batch_id": T.LongType(),
        "publication": T.LongType(),
        "events": T.LongType(),
        "refused": T.LongType(),
        c.USERS: T.LongType(),
        "new_users": T.LongType(),
        "items_without_factors": T.DoubleType(),
        "distance": T.DoubleType(),
        "version": T.LongType(),
        "started_at": T.TimestampType(),
        "finished_at": T.TimestampType(),
    },
    nullable=("distance", "items_without_factors"),
)

TABLES: dict[str, TableSchema] = {
    table.name: table
    for table in (
        INTERACTIONS_TABLE,
        QUARANTINE_TABLE,
        USER_INDEX_TABLE,
        ITEM_INDEX_TABLE,
        SPLITS_TABLE,
        CATALOGUE_TABLE,
        USER_ITEM_MATRIX_TABLE,
        ITEM_FACTORS_TABLE,
        USER_FACTORS_TABLE,
        ITEM_NEIGHBOURS_TABLE,
        USER_FEATURES_TABLE,
        ITEM_FEATURES_TABLE,
        TEXT_VECTORS_TABLE,
        ITEM_IMAGES_TABLE,
        USER_EMBEDDINGS_TABLE,
        ITEM_EMBEDDINGS_TABLE,
        LISTS_TABLE,
        RATING_PREDICTIONS_TABLE,
        RECOMMENDATIONS_TABLE,
        METRICS_TABLE,
        COMPARISONS_TABLE,
        ABLATIONS_TABLE,
        MODELS_TABLE,
        GUARD_RESULTS_TABLE,
        RUNS_TABLE,
        RECEIPTS_TABLE,
        FOLD_IN_BATCHES_TABLE,
    )
}
