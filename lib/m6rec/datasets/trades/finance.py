"""Finance: few funds, large orders, and clients who may only be offered what suits their risk."""

import numpy as np
import pandas as pd

from m6rec.datasets.trades.tastes import draw_tastes, moments

CLIENTS, FUNDS, DAYS = 300, 40, 360
_ASSETS = ("bonds", "shares", "property", "mixed")


def finance_tables(seed: int = 1) -> dict[str, pd.DataFrame]:
    """Tables orders, clients, funds, approved (may be sold) and unsuitable (pairs)."""
    generator = np.random.default_rng(seed)
    tastes = draw_tastes(generator, CLIENTS, FUNDS, len(_ASSETS), sharpness=4.0)
    fund_class = generator.integers(1, 6, FUNDS)
    client_class = generator.integers(1, 6, CLIENTS)
    orders = []
    for client in range(CLIENTS):
        # Before suitability was asked for, some bought one class too high.
        suitable = np.flatnonzero(fund_class <= client_class[client] + 1)
        chosen = tastes.choose(generator, client, int(generator.integers(3, 9)), suitable)
        for fund, at in zip(chosen.tolist(), moments(generator, len(chosen), DAYS), strict=True):
            amount = float(np.round(np.exp(generator.normal(9.5, 1.2)), -2) + 500)
            orders.append((_client(client), _fund(fund), amount, at))
    clients = pd.DataFrame(
        {
            "client": [_client(client) for client in range(CLIENTS)],
            "risk_class": client_class,
            "age": generator.integers(25, 85, CLIENTS),
            "segment": generator.choice(["private", "wealth", "firm"], CLIENTS),
        }
    )
    funds = pd.DataFrame(
        {
            "fund": [_fund(fund) for fund in range(FUNDS)],
            "name": [f"{_ASSETS[tastes.group[fund]].title()} fund {fund}" for fund in range(FUNDS)],
            "risk_class": fund_class,
            "asset_class": [_ASSETS[group] for group in tastes.group],
            "yearly_fee": np.round(0.1 + 1.8 * generator.random(FUNDS), 2),
        }
    )
    unsuitable = clients.merge(funds, how="cross", suffixes=("_client", "_fund"))
    unsuitable = unsuitable[unsuitable["risk_class_fund"] > unsuitable["risk_class_client"]]
    columns = ["client", "fund", "amount", "ordered_at"]
    return {
        "orders": pd.DataFrame(orders, columns=columns),
        "clients": clients,
        "funds": funds,
        "approved": funds.loc[funds.index % 10 != 7, ["fund"]],
        "unsuitable": unsuitable[["client", "fund"]],
    }


def _client(client: int) -> str:
    return f"client {client}"


def _fund(fund: int) -> str:
    return f"F{fund:02d}"
