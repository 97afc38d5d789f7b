"""Rank: lists of every evaluated ranker for users with held-out items, and the published lists."""

import datetime
from concurrent.futures import ThreadPoolExecutor

from m6rec import columns as c
from m6rec.command_line import command_line
from m6rec.config.run import Config
from m6rec.config.sentences import read_sentences
from m6rec.fits.fit import Fit, fits_of
from m6rec.fits.members import member_inputs, member_names, read_blends, read_members
from m6rec.fits.reranking import read_criteria, read_reranking
from m6rec.fits.rules import excluded_pairs, items_outside_lists
from m6rec.job_records import RECOMMEND
from m6rec.kernels.ranking.blending import Blend
from m6rec.kernels.ranking.members import DotMember, Member
from m6rec.kernels.ranking.reranking import Reranking
from m6rec.kernels.ranking.scoring import knows_contexts
from m6rec.lakehouse import Lakehouse
from m6rec.rankers import FUSION
from m6rec.runs import Job
from m6rec.stages.pairs.catalogue import catalogue_words
from m6rec.stages.ranking.embeddings import item_embeddings, user_embeddings
from m6rec.stages.ranking.lists import make_scoring, rank
from m6rec.stages.ranking.recommendations import Explaining, recommend


def run(lakehouse: Lakehouse, config: Config) -> None:
    """Write the lists that `evaluate` measures, then the lists that are published."""
    selection, final = fits_of(lakehouse, config)
    evaluated = config.usable(config.evaluate.rankers)
    rankers = tuple(dict.fromkeys((*evaluated, config.recommend.ranker)))
    with ThreadPoolExecutor(1) as beside:
        explaining = beside.submit(read_explaining, final)
        blends = read_blends(final, rankers)
        rank_for_evaluation(selection, blends, reranking_of(selection))
        reranking = reranking_of(final)
        members = rank_for_evaluation(final, blends, reranking)
        write_recommendations(final, members, blends, explaining.result(), reranking)
    embed(final, members)


def reranking_of(fit: Fit) -> Reranking | None:
    """How the fit's lists are chosen from each user's best items, measured and published alike."""
    return read_reranking(fit, read_criteria(fit)) if fit.config.recommend.reranks else None


def rank_for_evaluation(
    fit: Fit, blends: tuple[Blend, ...], reranking: Reranking | None = None
) -> dict[str, Member]:
    """Lists of all evaluated rankers for the users with items in the fit's target fold.

    Returns:
        The members of all `blends`.
    """
    evaluate = fit.config.evaluate
    names = tuple(dict.fromkeys(name for blend in blends for name in blend.members))
    members = read_members(fit, names)
    scoring = make_scoring(
        members,
        tuple(blend for blend in blends if blend.name in evaluate.rankers),
        fit.item_counts,
        masked_items=fit.masked_items,
        mask_seen=not fit.config.ranks_repeats,
        n=max(evaluate.ks),
        reranking=reranking,
    )
    measured = fit.measured_users.select(c.USER_INDEX)
    users = member_inputs(fit, names).join(measured, c.USER_INDEX, how="left_semi")
    fit.write("lists", rank(users, scoring))
    return members


def read_explaining(fit: Fit) -> Explaining:
    """What published lists say beside their scores."""
    settings = fit.config.recommend.reasons
    words = catalogue_words(fit.lakehouse.read("catalogue"), fit.item_features, fit.n_items)
    return Explaining(
        attributes=words.attributes,
        attribute_names=words.attribute_names,
        item_ids=words.item_ids,
        titles=words.titles,
        reasons=settings.count,
        generated_at=datetime.datetime.now(datetime.UTC),
        sentences=(
            None if settings.language is None else read_sentences(settings.language, settings.file)
        ),
    )


def write_recommendations(
    fit: Fit,
    members: dict[str, Member],
    blends: tuple[Blend, ...],
    explaining: Explaining,
    reranking: Reranking | None = None,
) -> None:
    """Write the explained lists of the configured ranker for every user, under the rules."""
    lakehouse, settings = fit.lakehouse, fit.config.recommend
    rules = settings.rules
    blend = next(one for one in blends if one.name == settings.ranker)
    scoring = make_scoring(
        members,
        (blend,),
        fit.item_counts,
        masked_items=items_outside_lists(fit),
        mask_seen=not fit.config.ranks_repeats,
        n=settings.top_n,
        mask_disliked=rules.masks_disliked,
        reranking=reranking,
    )
    if settings.contexts and not any(map(knows_contexts, scoring.members.values())):
        print(
            f"recommend: {blend.name} gives the towers that know contexts no weight, so that a"
            " user's lists are the same in all of recommend.contexts",
            flush=True,
        )
    users = member_inputs(fit, tuple(blend.coefficients()), excluded_pairs(fit))
    user_ids = lakehouse.read("user_index").select(c.USER_INDEX, c.USER_ID)
    lists = recommend(users, user_ids, scoring, explaining, settings.contexts)
    lakehouse.write("recommendations", lists)


def embed(fit: Fit, members: dict[str, Member]) -> None:
    """The embeddings of the fusion model, those of users only where the config asks for them."""
    if not set(member_names(FUSION, fit.config)) <= members.keys():
        return
    [fusion] = read_blends(fit, (FUSION,))
    names, coefficients = zip(*fusion.coefficients().items(), strict=True)
    towers = [member for name in names if isinstance(member := members[name], DotMember)]
    items = item_embeddings(fit.spark, towers, coefficients, fit.item_counts)
    fit.write("item_embeddings", items)
    if fit.config.outputs.embeddings:
        fit.write("user_embeddings", user_embeddings(member_inputs(fit, names), towers))


JOB = Job(RECOMMEND, run)

if __name__ == "__main__":
    command_line(JOB, __doc__)
