"""A night to go on from, at the cost of one: choices are written down and not searched for."""

from datetime import UTC, datetime

from jobs.nightly import jobs_of_night, plan_of
from jobs.pipeline import for_its_size
from m6rec import columns as c
from m6rec.config.run import Config
from m6rec.fits.choices import Choices
from m6rec.fits.fit import SETTINGS, Fit, model_row
from m6rec.job_records import CHOOSE_SETTINGS, JobRecord
from m6rec.lakehouse import Lakehouse
from m6rec.publication.publishing import publish
from m6rec.runs import Job, run_job, run_jobs


def publish_first_night(lakehouse: Lakehouse, config: Config) -> None:
    """Publish a run that keeps the configuration's own settings, for a ranker without weights."""

    def write(own: Lakehouse, _: Config) -> None:
        settings = {"kind": SETTINGS, **model_row(SETTINGS, {"chosen": {}, "trials": []})}
        own.write_rows("models", [settings], fit=c.SELECTION)

    with for_its_size(lakehouse, config) as tables:
        run_job(tables, config, Job(JobRecord(CHOOSE_SETTINGS.name), write))
        itself = lakehouse.run_id
        choices = Choices(itself, itself, datetime.now(UTC), {})
        jobs = jobs_of_night(plan_of(Fit(tables, config, c.SELECTION), choices))
        run_jobs(tables, config, [("", job) for job in jobs])
        publish(tables, config)
