"""Money: counted in millionths of a USD, and shown in USD."""

from __future__ import annotations

from decimal import Decimal

MICRO_PER_USD = 1_000_000
"""Money is counted in millionths of a dollar, so that sums are exact."""


def usd(micro: int) -> Decimal:
    """Millionths of a dollar as dollars, exactly."""
    return Decimal(micro) / MICRO_PER_USD


def micro_usd(amount: Decimal | float) -> int:
    """Dollars as millionths, rounded down: a limit is never exceeded by what rounding adds."""
    return int(Decimal(str(amount)) * MICRO_PER_USD)


def usd_text(micro: int) -> str:
    """Dollars for people: cents at least, smaller parts where there are any."""
    whole, part = divmod(micro, MICRO_PER_USD)
    decimals = f"{part:06}".rstrip("0").ljust(2, "0")
    return f"{whole:,}.{decimals}"


def dollars(amount_usd: float | None) -> str:
    """Return an amount for a chart: "$2.75", with up to four decimals below a dollar; – for None."""
    if amount_usd is None:
        return "–"
    if 0 < amount_usd < 0.995:
        return f"${amount_usd:.4f}".rstrip("0").ljust(5, "0")
    return f"${amount_usd:,.2f}"


def amount_text(amount_usd: float | None, unpriced: int = 0) -> str | None:
    """Return a sum in dollars for people, with "≥" where `unpriced` requests are not in it.

    None without any price; "?" where only prices that are not known were paid.
    """
    if unpriced and not amount_usd:
        return "?"
    if amount_usd is None:
        return None
    return ("≥ " if unpriced else "") + usd_text(micro_usd(amount_usd))


def cost_text(amount_usd: float | None, unpriced: int = 0, *, sandbox_usd: float = 0.0) -> str:
    """Return what something has cost, in the words that all parts of the program use.

    `sandbox_usd` is the part of it that a sandbox pretended to charge. Returns "" where there is nothing to say.
    """
    text = amount_text(amount_usd, unpriced)
    if text is None:
        return ""
    if text == "?":
        return "price not known"
    if not sandbox_usd:
        return f"{text} USD"
    if sandbox_usd == amount_usd:
        return f"{text} USD of sandbox money"
    return f"{text} USD, {usd_text(micro_usd(sandbox_usd))} of it sandbox money"
