"""Says when two requests give a feature the same evidence, so that nothing is probed twice. Runs nothing."""

import json

from probes.settings import PROMPTS, VOCABULARY, ProbeKind, ProbeSettings, Value


def essence_of(kind: ProbeKind, settings: ProbeSettings) -> str:
    """Returns the settings that a feature's evidence depends on, and no others: equal essence gives equal evidence.

    A list of vocabulary weights hangs on no vector, unless its words are defined; a tree grown without a ghost on the
    steering alone; an adapter is what is in its file, wherever that lies; a base prompt is its text, whatever its name.
    """
    vector = _json(settings.vector)
    if settings.vector.adapter is not None:
        vector["adapter"] = settings.vector.adapter.sha256
    tree = _json(settings.tree)
    tree["prompt"] = PROMPTS.get(settings.tree.prompt, settings.tree.prompt)
    parts: dict[str, object] = {"vector": vector}
    match kind:
        case "tree":
            parts["tree"] = tree
            if settings.steering.on:
                parts["steering"] = _json(settings.steering)
                if not settings.steering.ghost:
                    del parts["vector"]
        case "tokens" if settings.vector.is_vocabulary:
            parts = {"weights": VOCABULARY, "top_n": settings.tokens.top_n}
            if settings.tokens.define:
                placed = {name: value for name, value in vector.items() if name not in ("weights", "ghost_tokens")}
                parts |= {"define": settings.tokens.define, "prompt": tree["prompt"], "vector": placed}
        case "tokens":
            parts["tokens"] = _json(settings.tokens)
        case "sweep":
            parts["prompt"] = tree["prompt"]
    return json.dumps([kind, parts], sort_keys=True)


def _json(value: Value) -> dict[str, object]:
    return value.model_dump(mode="json")
