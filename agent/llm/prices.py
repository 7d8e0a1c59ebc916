"""Costs of exchanges and their upper bounds, by the price table that ships with genai-prices. Uses no network.

A server at another address has its own prices: it is looked up by that address, never by a model's name alone.
"""

from dataclasses import replace

from genai_prices import calc_price
from genai_prices import types as priced

from agent.llm.base import Usage


def cost_usd(provider: str, address: str, model: str, usage: Usage) -> float | None:
    """Returns the price of `usage` in US dollars; None if the model's price or the usage is unknown."""
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    tokens = priced.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    try:
        if address:
            price = calc_price(tokens, model, provider_api_url=address)
        else:
            price = calc_price(tokens, model, provider_id=provider)
    except (LookupError, ValueError):  # not in the table; or figures that contradict each other
        return None
    known = price.model_price.input_mtok is not None and price.model_price.output_mtok is not None
    return float(price.total_price) if known else None


def highest_cost_usd(provider: str, address: str, model: str, input_tokens: int, output_tokens: int) -> float | None:
    """Bounds the cost of so many tokens: nothing read from a cache, and all or nothing written to one."""
    plain = Usage(input_tokens, output_tokens)
    written = replace(plain, cache_write_tokens=input_tokens)
    costs = [cost_usd(provider, address, model, usage) for usage in (plain, written)]
    return max((cost for cost in costs if cost is not None), default=None)
