"""News: articles that live for a day, and readers who read what is new in their sections."""

import numpy as np
import pandas as pd

from m6rec.datasets.trades.tastes import FIRST_DAY, draw_tastes

READERS, ARTICLES_A_DAY, DAYS = 300, 60, 6
LIFE_HOURS = 24
_SECTIONS = ("politics", "sport", "economy", "culture", "science", "local")
_SUBJECTS = {
    "politics": ("parliament", "election", "minister", "treaty"),
    "sport": ("cup", "league", "marathon", "coach"),
    "economy": ("bank", "trade", "prices", "factory"),
    "culture": ("opera", "novel", "film", "museum"),
    "science": ("orbit", "genome", "fusion", "climate"),
    "local": ("tram", "school", "bridge", "market"),
}


def news_tables(seed: int = 1) -> dict[str, pd.DataFrame]:
    """Tables reads, articles and live: the articles of the last day."""
    generator = np.random.default_rng(seed)
    articles = ARTICLES_A_DAY * DAYS
    tastes = draw_tastes(generator, READERS, articles, len(_SECTIONS))
    born = np.sort(generator.random(articles)) * 24 * DAYS
    reads = []
    for reader in range(READERS):
        hours = np.sort(generator.random(int(generator.integers(8, 20))) * 24 * DAYS)
        had: set[int] = set()
        for hour in hours:
            age = hour - born
            live = np.flatnonzero((age >= 0) & (age < LIFE_HOURS))
            live = live[~np.isin(live, list(had))]
            for article in tastes.choose(generator, reader, 2, live).tolist():
                had.add(article)
                seconds = int(generator.integers(5, 240))
                reads.append((f"r{reader}", _article(article), seconds, _at(hour)))
    sections = [_SECTIONS[group] for group in tastes.group]
    table = pd.DataFrame(
        {
            "article": [_article(article) for article in range(articles)],
            "headline": [_headline(generator, section) for section in sections],
            "section": sections,
            "published_at": [_at(hour) for hour in born],
        }
    )
    alive = table[born > 24 * DAYS - LIFE_HOURS]
    columns = ["reader", "article", "seconds", "read_at"]
    return {
        "reads": pd.DataFrame(reads, columns=columns),
        "articles": table,
        "live": alive[["article"]],
    }


def _headline(generator: np.random.Generator, section: str) -> str:
    first, second = generator.choice(_SUBJECTS[section], 2, replace=False)
    place = generator.choice(["north", "south", "east", "west"])
    return f"{first} and {second} in the {place} before a hard decision"


def _at(hour: float) -> pd.Timestamp:
    return FIRST_DAY + pd.Timedelta(seconds=int(hour * 3600))


def _article(article: int) -> str:
    return f"a{article:04d}"
