"""Prices come from a table that is kept up by others; what is not in it is unknown, and never free."""

import pytest
from genai_prices import types as priced
from genai_prices.data_snapshot import get_snapshot

from agent.llm.base import Usage
from agent.llm.models import DEFAULTS, deprecated_models, known_models, nearest_models
from agent.llm.prices import cost_usd, highest_cost_usd

PROVIDERS = list(DEFAULTS)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_default_is_known_to_its_sdk_not_on_its_way_out_and_priced(provider: str) -> None:
    model = DEFAULTS[provider]
    assert model in known_models(provider)
    assert model not in deprecated_models(provider)
    assert (cost_usd(provider, "", model, Usage(1000, 100)) or 0) > 0


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_sdks_own_lists_are_found(provider: str) -> None:
    assert len(known_models(provider)) > 10
    assert len(deprecated_models(provider)) > 10
    assert nearest_models(provider, DEFAULTS[provider] + "x")[0] == DEFAULTS[provider]
    assert nearest_models(provider, "?") == [DEFAULTS[provider]]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_cost_is_tokens_times_prices_cached_ones_at_their_own(provider: str) -> None:
    _, model = get_snapshot().find_provider_model(DEFAULTS[provider], None, provider, None)
    price = model.prices
    assert isinstance(price, priced.ModelPrice)

    def per_token(name: str) -> float:
        value = getattr(price, name)
        return float(value.base if isinstance(value, priced.TieredPrices) else value) / 1e6

    usage = Usage(input_tokens=10_000, output_tokens=500, cache_read_tokens=6_000, cache_write_tokens=1_000)
    expected = (
        3_000 * per_token("input_mtok")
        + 6_000 * per_token("cache_read_mtok")
        + 1_000 * per_token("cache_write_mtok")
        + 500 * per_token("output_mtok")
    )
    assert cost_usd(provider, "", DEFAULTS[provider], usage) == pytest.approx(expected)


@pytest.mark.parametrize(
    "usage", [Usage(), Usage(input_tokens=10), Usage(output_tokens=10), Usage(10, 10, cache_read_tokens=11)]
)
def test_usage_that_is_unknown_or_contradicts_itself_has_no_cost(usage: Usage) -> None:
    assert cost_usd("openai", "", DEFAULTS["openai"], usage) is None


def test_unknown_models_have_no_cost() -> None:
    assert cost_usd("openai", "", "my-own-model", Usage(10, 10)) is None
    assert highest_cost_usd("openai", "", "my-own-model", 10, 10) is None


def test_another_servers_model_never_has_the_providers_price() -> None:
    model = DEFAULTS["openai"]
    for address in ("http://localhost:8000/v1", "https://api.example.com/v1", "http://api.openai.com.example.org/v1"):
        assert cost_usd("openai", address, model, Usage(10, 10)) is None
    assert cost_usd("openai", "https://openrouter.ai/api/v1", f"openai/{model}", Usage(10, 10)) is not None


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("tokens", [0, 1, 999, 50_000, 100_001, 400_000])
def test_nothing_costs_more_than_the_highest_cost(provider: str, tokens: int) -> None:
    highest = highest_cost_usd(provider, "", DEFAULTS[provider], tokens, 1000)
    assert highest is not None
    for read in (0, tokens // 3, tokens):
        for written in (0, (tokens - read) // 2, tokens - read):
            cost = cost_usd(provider, "", DEFAULTS[provider], Usage(tokens, 1000, read, written))
            assert cost is not None
            assert cost <= highest * (1 + 1e-12)


def test_a_cache_that_is_written_can_be_the_dearest_way() -> None:
    plain = cost_usd("anthropic", "", DEFAULTS["anthropic"], Usage(1000, 0))
    highest = highest_cost_usd("anthropic", "", DEFAULTS["anthropic"], 1000, 0)
    assert plain is not None
    assert highest is not None
    assert highest > plain
