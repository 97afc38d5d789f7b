"""The names of the columns that several modules use, and of folds and fits."""

RUN_ID = "run_id"

USER_ID = "user_id"
ITEM_ID = "item_id"
USER_INDEX = "user_index"
ITEM_INDEX = "item_index"
ITEM_NUMBER = "item_number"
# The hash of the user's id, by which rows that belong together are in one partition.
OWNER = "_owner"

EVENT_TIME = "event_time"
EVENT_TYPE = "event_type"
WEIGHT = "weight"
RATING = "rating"
POSITIVE = "positive"
CONTEXT = "context"
DOMAIN = "domain"
OCCASION = "occasion"
CONTEXT_VALUES = "context_values"
REASON = "reason"
SUSPICION = "suspicion"
RAW = "raw"
SOURCE_VERSION = "source_version"

FOLD = "fold"
FIT = "fit"
ITEM_INDICES = "item_indices"
WEIGHTS = "weights"
TIMES = "times"
CONTEXTS = "contexts"
# Items that a user has seen and does not like. What rules exclude is not among them.
EXCLUDED_INDICES = "excluded_indices"

METHOD = "method"
FACTOR = "factor"
PROJECTION = "projection"
SCALE = "scale"
NEIGHBOUR_INDICES = "neighbour_indices"

FEATURES = "features"
CONTENT = "content"
ATTRIBUTES = "attributes"
TERM_INDICES = "term_indices"
TERM_WEIGHTS = "term_weights"
TEXT_HASH = "text_hash"
VECTOR = "vector"

EMBEDDING = "embedding"
INTERACTION_COUNT = "interaction_count"

MODEL = "model"
RANK = "rank"
SCORE = "score"
SCORES = "scores"
PARTS = "parts"
REASONS = "reasons"
SENTENCES = "sentences"
PREDICTED = "predicted"
GENERATED_AT = "generated_at"

METRIC = "metric"
K = "k"
SEGMENT = "segment"
VALUE = "value"
CI_LOW = "ci_low"
CI_HIGH = "ci_high"
USERS = "users"

# Folds of the interactions.
TRAIN = "train"
VALIDATION = "validation"
TEST = "test"

# Fits: `selection` trains on `train` and is scored on `validation`, where every choice is made;
# `final` trains on `train` and `validation` with those choices and is scored on `test`.
SELECTION = "selection"
FINAL = "final"
FITS = (SELECTION, FINAL)
FOLDS_OF_FIT = {SELECTION: (TRAIN,), FINAL: (TRAIN, VALIDATION)}
TARGET_FOLD_OF_FIT = {SELECTION: VALIDATION, FINAL: TEST}
