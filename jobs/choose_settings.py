"""Choose the few settings that matter most, by validation, before any model is trained.

Tried are the ridge's exponents and penalty, the scale of recency, the weights that ALS gives to
the items' attributes and to what was not observed, and its rank. Reads user_item_matrix,
item_features and splits; writes models of kind `settings`, which the later jobs follow. What the
config sets stays as it is set, but for ranks that `settings.als_ranks` names. How many trials there
are follows from `settings.seconds` and the size of the data, not from the clock, so that a run can
be repeated.
"""

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.fits.models import SETTINGS, model_row
from m6rec.fits.settings_search import Search, _validation_users, try_all
from m6rec.lakehouse import Lakehouse


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Try values by turns on a sample of validation users, and record the best."""
    search = Search(config.settings.seconds)
    if search.seconds > 0.0:
        users = _validation_users(lakehouse, config)
        if users is not None:
            try_all(lakehouse, config, users, search)
    for key, value in search.chosen.items():
        print(f"settings: {key} = {value}", flush=True)
    parameters = {"chosen": search.chosen, "trials": search.trials}
    row = model_row(SETTINGS, parameters)
    lakehouse.write_rows("models", [row], fit=c.SELECTION, kind=SETTINGS, name=SETTINGS)


if __name__ == "__main__":
    command_line("choose_settings", run, __doc__)
