"""Why an item stands where it stands for a user, on the terminal and as a plot."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from m6rec.fits.explaining import Contribution, ItemExplanation
from m6rec.report.plots import explanation, png, shortened
from m6rec.report.wording import model_name

_HISTORY_SHOWN = 10
_BAR = 24
# Less would be printed as 0%.
_LEAST_SHOWN = 0.005


def print_explanation(console: Console, found: ItemExplanation) -> None:
    """Print the item's place, what its score is made of, what it lacks, and what masks it."""
    console.print(
        Text.assemble(
            (found.title, "bold"),
            f" for user {found.user_id} by {model_name(found.ranker)}{_context(found)}",
        )
    )
    console.print(_place(found))
    for words in found.masked_by:
        console.print(Text(f"masked: {words}", "bold red"))
    parts = [Contribution(model_name(part.name), part.value, part.share) for part in found.parts]
    console.print(_table("What the score is made of", "Member", parts, "green"))
    if found.history:
        title = "What is owed to the user's items"
        shown = found.history[:_HISTORY_SHOWN]
        console.print(_table(title, "Item", shown, "cyan"))
    if found.undivided >= _LEAST_SHOWN:
        console.print(f"{found.undivided:.0%} is not owed to single items of the user's")
    if found.behind_in:
        behind = [
            Contribution(model_name(part.name), part.value, part.share) for part in found.behind_in
        ]
        title = f"What it lacks to {found.lowest}, the lowest of the list"
        console.print(_table(title, "Member", behind, "yellow"))


def plot_explanation(found: ItemExplanation) -> bytes:
    """What the tables of `print_explanation` hold, as a picture in PNG."""
    panels = {"What the score is made of": [(model_name(p.name), p.value) for p in found.parts]}
    if found.history:
        shown = found.history[:_HISTORY_SHOWN]
        panels["What is owed to the user's items"] = [(one.name, one.value) for one in shown]
    if found.behind_in:
        title = f"What it lacks to {found.lowest}, the lowest of the list"
        panels[title] = [(model_name(part.name), part.value) for part in found.behind_in]
    title = f"{shortened(found.title)} for user {found.user_id}{_context(found)}"
    lines = [title, _place(found).plain]
    lines += [f"masked: {words}" for words in found.masked_by]
    return png(explanation("\n".join(lines), panels))


def _context(found: ItemExplanation) -> str:
    return "" if found.context is None else f", {found.context}"


def _place(found: ItemExplanation) -> Text:
    rank = f"rank {found.rank} of {found.candidates}, score {found.score:.4f}"
    if found.place is not None:
        return Text(f"in the list at place {found.place} ({rank})", "green")
    if found.was_passed_over:
        return Text(f"not in the list of {found.top_n}, as re-ranking chose others ({rank})", "red")
    return Text(f"not in the list of {found.top_n} ({rank})", "red")


def _table(title: str, name: str, shares: Sequence[Contribution], colour: str) -> Table:
    table = Table(title=escape(title), box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left")
    table.add_column(name, overflow="fold")
    table.add_column("Adds", justify="right", no_wrap=True)
    table.add_column("Share", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for share in shares:
        bar = Text("█" * round(_BAR * share.share), colour)
        style = None if share.value > 0.0 else "red"
        cells = f"{share.value:+.4f}", f"{share.share:.0%}" if share.value > 0.0 else "against"
        table.add_row(escape(share.name), *cells, bar, style=style)
    return table
