"""Rank: lists of every evaluated ranker for users with held-out items, and the published lists."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.fits.fit import Fit, fits_of
from m6rec.fits.listing import (
    lists_for_unknown,
    published_scoring,
    read_explaining,
)
from m6rec.fits.members import (
    measured_scoring,
    member_inputs,
    member_names,
    member_names_of,
    read_blends,
    read_members,
)
from m6rec.fits.needs import Needs
from m6rec.fits.reranking import reranking_of
from m6rec.fits.rules import (
    excluded_pairs,
    items_outside_lists,
    warn_of_nameless_items,
)
from m6rec.job_records import RECOMMEND
from m6rec.kernels.arrays.domains import Domain
from m6rec.kernels.ranking.members import DotMember, Member, OwnMembers
from m6rec.kernels.ranking.reranking import Reranking
from m6rec.kernels.ranking.scoring import knows_contexts
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import FUSION
from m6rec.runs import Job
from m6rec.stages.ranking.embeddings import item_embeddings, user_embeddings
from m6rec.stages.ranking.lists import rank
from m6rec.stages.ranking.recommendations import Explaining, recommend


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Write the lists that `evaluate` measures, then the lists that are published."""
    selection, final = fits_of(lakehouse, config)
    evaluated = config.usable(config.evaluate.rankers)
    rankers = tuple(dict.fromkeys((*evaluated, config.recommend.ranker)))
    ranked = [partial(_rank_selection, selection, rankers), partial(_rank_final, final, rankers)]
    list(lakehouse.run_calls(ranked))


def _rank_selection(fit: Fit, rankers: tuple[str, ...]) -> None:
    rank_for_evaluation(fit, rankers, reranking_of(fit))


def _rank_final(fit: Fit, rankers: tuple[str, ...]) -> None:
    with ThreadPoolExecutor(1) as background:
        explaining = background.submit(read_explaining, fit)
        reranking = reranking_of(fit)
        members = rank_for_evaluation(fit, rankers, reranking)
        write_recommendations(fit, members, explaining.result(), reranking)
    embed(fit, members)


def run_final(lakehouse: Lakehouse, config: Config, needs: Needs) -> None:
    """Write the published lists alone, by the members of which a final fit has the models."""
    fit = Fit(lakehouse, config, c.FINAL)
    with ThreadPoolExecutor(1) as background:
        explaining = background.submit(read_explaining, fit)
        members = read_members(fit, needs.members)
        write_recommendations(fit, members, explaining.result(), reranking_of(fit))
    embed(fit, members)


def rank_for_evaluation(
    fit: Fit, rankers: tuple[str, ...], reranking: Reranking | None = None
) -> dict[str, Member | OwnMembers]:
    """Lists of those rankers that are evaluated for the users with items in the fit's target fold.

    Returns:
        The members of all `rankers`.
    """
    evaluate = fit.config.evaluate
    names = member_names_of(rankers, fit.config)
    members = read_members(fit, names)
    measured = fit.measured_users.select(c.USER_INDEX)
    users = member_inputs(fit, names).join(measured, c.USER_INDEX, how="left_semi")
    evaluated = tuple(name for name in rankers if name in evaluate.rankers)
    lists = []
    for domain in fit.ranked_domains:
        blends = read_blends(fit, evaluated, domain)
        scoring = measured_scoring(fit, members, blends, max(evaluate.ks), domain, reranking)
        lists.append(rank(users, scoring))
    fit.write_made("lists", lists)
    return members


def write_recommendations(
    fit: Fit,
    members: dict[str, Member | OwnMembers],
    explaining: Explaining,
    reranking: Reranking | None = None,
) -> None:
    """Write the explained lists of the configured ranker for every user, under the rules.

    Rows without a user are the list for whoever is unknown.
    """
    settings, pairs = fit.config.recommend, excluded_pairs(fit)
    user_ids = fit.lakehouse.read("user_index").select(c.USER_INDEX, c.USER_ID)
    warn_of_nameless_items(fit)
    masked_items, made, for_unknown = items_outside_lists(fit), [], []
    unaware: list[Domain | None] = []
    for domain in fit.ranked_domains:
        [blend] = read_blends(fit, (settings.ranker,), domain)
        scoring = published_scoring(fit, members, blend, masked_items, reranking, domain)
        if settings.contexts and not any(map(knows_contexts, scoring.members.values())):
            unaware.append(domain)
        users = member_inputs(fit, tuple(blend.coefficients()), pairs)
        made.append(recommend(users, user_ids, scoring, explaining, settings.contexts))
        for_unknown.append(lists_for_unknown(fit, explaining, masked_items, domain))
    _say_that_contexts_are_alike(settings.ranker, unaware)
    fit.lakehouse.write_made("recommendations", made, for_unknown)


def _say_that_contexts_are_alike(ranker: str, domains: Sequence[Domain | None]) -> None:
    if domains:
        named = [domain.name for domain in domains if domain is not None]
        where = f" in {', '.join(named)}" if named else ""
        print(
            f"recommend: {ranker} gives the towers that know contexts no weight{where}, so that a"
            " user's lists are the same in all of recommend.contexts",
            flush=True,
        )


def embed(fit: Fit, members: dict[str, Member | OwnMembers]) -> None:
    """The embeddings of the fusion model, those of users only where the config asks for them."""
    of_fusion = set(member_names(FUSION, fit.config)) & members.keys()
    weighted = read_blends(fit, (FUSION,))[0].coefficients() if of_fusion else {}
    if not weighted or not weighted.keys() <= members.keys():
        # A night trains what has a weight in its lists.
        if fit.config.outputs.embeddings:
            print("recommend: no embeddings, as lists need none of fusion's towers", flush=True)
        return
    names, coefficients = zip(*weighted.items(), strict=True)
    towers = [member for name in names if isinstance(member := members[name], DotMember)]
    items = item_embeddings(fit.spark, towers, coefficients, fit.item_counts)
    fit.write("item_embeddings", items)
    if fit.config.outputs.embeddings:
        fit.write("user_embeddings", user_embeddings(member_inputs(fit, names), towers))


JOB = Job(RECOMMEND, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
