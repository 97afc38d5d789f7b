"""Choose the few settings that matter most, by validation, before any model is trained.

The job tries exponents and penalties of the ridge, scales of recency, and for ALS its rank and the
weights that it gives to the items' attributes and to what was not observed. The later jobs use what
is chosen. A key that the config sets keeps its value, except for the ranks that
`settings.als_ranks` names. The number of trials follows from `settings.seconds` and the size of the
data, not from the clock, so that a run can be repeated.
"""

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.fits.fit import SETTINGS, Fit, model_row
from m6rec.fits.settings_search import Search, Values, search_settings
from m6rec.job_records import CHOOSE_SETTINGS
from m6rec.lakehouse import Lakehouse
from m6rec.runs import Job


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Try values in turn on a sample of validation users, and record the best."""
    fit = Fit(lakehouse, config, c.SELECTION)
    search = Search(config.settings.seconds)
    if search.seconds > 0.0:
        search_settings(fit, search)
    for key, value in search.chosen.items():
        print(f"settings: {key} = {value}", flush=True)
    _say_not_tried(search.left_out, f"settings.seconds is {config.settings.seconds:g}")
    _say_not_tried(search.skipped_without_attributes, "the items' attributes have no weight in ALS")
    parameters = {"chosen": search.chosen, "trials": search.trials}
    fit.write_models(SETTINGS, [model_row(SETTINGS, parameters)])


def _say_not_tried(values: list[Values], why: str) -> None:
    if values:
        named = [f"{key} = {value:g}" for one in values for key, value in one.items()]
        print(f"settings: {', '.join(named)} not tried, because {why}", flush=True)


JOB = Job(CHOOSE_SETTINGS, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
