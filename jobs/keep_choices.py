"""Take over what the published run has chosen on validation, for a run that only trains anew."""

from pyspark.sql import functions as F

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.errors import DataError
from m6rec.fits.choices import choices_of, members_with_weight, write_choices
from m6rec.fits.fit import Fit
from m6rec.fits.needs import needs_of
from m6rec.job_records import KEEP_CHOICES
from m6rec.lakehouse import Lakehouse
from m6rec.publication.nights import begun_at
from m6rec.publication.publishing import published_run
from m6rec.runs import Job


def run(lakehouse: Lakehouse, config: Config, kept_from: str | None = None) -> None:
    """Copy the choices of a run, the published one unless `kept_from` names another.

    Raises:
        DataError: no run has been published.
    """
    source = kept_from or published_run(lakehouse)
    if source is None:
        raise DataError(
            f"no run has been published in {lakehouse.location}, so there are no choices to keep;"
            " run ./spark-submit.sh pipeline first"
        )
    published = lakehouse.for_run(source)
    selection = Fit(published, config, c.SELECTION)
    choices = choices_of(selection, begun_at(published))
    write_choices(lakehouse, selection, choices)
    members = members_with_weight(selection, config.recommend.ranker)
    carried = needs_of(members, selection.settings).carried
    if carried:
        is_carried = F.col(c.METHOD).isin(*carried)
        # A night whose ranker did without them has none; the run that chose may have.
        runs = (published, lakehouse.for_run(choices.chosen_by))
        found = [run.read("item_neighbours", fit=c.FINAL).where(is_carried) for run in runs]
        rows = found[1] if found[0].isEmpty() else found[0]
        lakehouse.write("item_neighbours", rows, fit=c.FINAL)


JOB = Job(KEEP_CHOICES, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
