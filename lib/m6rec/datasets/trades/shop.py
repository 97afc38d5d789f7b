"""A shop: views, carts, purchases and returns of products with brands, some of them sold out."""

import numpy as np
import pandas as pd

from m6rec.datasets.trades.tastes import draw_tastes, moments
from m6rec.kernels.arrays.rows import Int64

CUSTOMERS, PRODUCTS, DAYS = 300, 120, 60
_CATEGORIES = ("kitchen", "garden", "office", "sport", "toys", "light")
_THINGS = ("bowl", "lamp", "chair", "rope", "brush", "box", "bench", "clock")
_BRANDS = ("Aro", "Belt", "Corvo", "Dune", "Elm", "Fjord", "Gale", "Hilt")
_COUNTRIES = ("at", "ch", "de")


def shop_tables(seed: int = 1) -> dict[str, pd.DataFrame]:
    """Tables events, products, customers and sold_out."""
    generator = np.random.default_rng(seed)
    tastes = draw_tastes(generator, CUSTOMERS, PRODUCTS, len(_CATEGORIES))
    events = [
        event
        for customer in range(CUSTOMERS)
        for at in moments(generator, int(generator.integers(3, 9)), DAYS)
        for event in _visit(generator, customer, tastes.choose(generator, customer, 5), at)
    ]
    products = pd.DataFrame(
        {
            "sku": [_sku(item) for item in range(PRODUCTS)],
            "name": [
                f"{_BRANDS[item % 8]} {_CATEGORIES[item % 6]} {_THINGS[item % 8]} {item}"
                for item in range(PRODUCTS)
            ],
            "brand": [_BRANDS[item % 8] for item in range(PRODUCTS)],
            "categories": [
                [_CATEGORIES[item % 6], "sale" if item % 5 == 0 else "regular"]
                for item in range(PRODUCTS)
            ],
            "price": np.round(5 + 80 * generator.random(PRODUCTS), 2),
        }
    )
    customers = pd.DataFrame(
        {
            "customer": [f"c{customer}" for customer in range(CUSTOMERS)],
            "country": [_COUNTRIES[customer % 3] for customer in range(CUSTOMERS)],
            "age": generator.integers(18, 80, CUSTOMERS),
        }
    )
    sold_out = pd.DataFrame({"sku": [_sku(item) for item in range(3, PRODUCTS, 20)]})
    columns = ["customer", "sku", "event", "device", "occurred_at"]
    return {
        "events": pd.DataFrame(events, columns=columns),
        "products": products,
        "customers": customers,
        "sold_out": sold_out,
    }


def _visit(
    generator: np.random.Generator, customer: int, items: Int64, at: pd.Timestamp
) -> list[tuple[str, str, str, str, pd.Timestamp]]:
    device = "phone" if generator.random() < 0.6 else "desktop"
    events = []
    for place, item in enumerate(items.tolist()):
        steps = [("view", 0)]
        if generator.random() < 0.4:
            steps.append(("cart", 1))
            if generator.random() < 0.6:
                steps.append(("purchase", 2))
                if generator.random() < 0.1:
                    steps.append(("return", 7 * 1440))
        events += [
            (f"c{customer}", _sku(item), kind, device, at + pd.Timedelta(minutes=4 * place + later))
            for kind, later in steps
        ]
    return events


def _sku(item: int) -> str:
    return f"p-{item:04d}"
