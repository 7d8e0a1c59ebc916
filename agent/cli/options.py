"""The options that commands share, in the groups of a settings file.

Every setting's option defaults to None, "not said": its default lives beside its field, from where the help takes it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from agent.cli.grid_options import GRID
from agent.cli.types import GroupedOption, Names, Numbers, Real, Scale, Whole
from agent.config import GROUPS, SETTINGS_FILE, key_of, option_of
from probes.settings import PROMPTS

Function = TypeVar("Function", bound=Callable[..., Any])


def _setting(group: str, field: str, help_text: str, kind: Any = str, **kwargs: Any) -> Callable[[Function], Function]:
    """Makes the option of one field, under its group's heading, with its default in the help."""
    default = GROUPS[group].model_fields[field].default
    said = ",".join(default) if isinstance(default, tuple) else field if default is True else default
    is_said = default is not None and default is not False and default != ()  # 0 is a default like any other
    shown = f"  [default: {said}]" if kwargs.pop("tells_default", True) and is_said else ""
    kwargs.setdefault("metavar", None)
    return click.option(
        kwargs.pop("flag", option_of(field)),
        key_of(field).replace("-", "_"),
        cls=GroupedOption,
        heading=group.capitalize(),
        type=kind,
        default=None,
        help=help_text + shown,
        **kwargs,
    )


_SUBJECT = (
    _setting("subject", "name", "demo, smollm2, or another preset such as gemma-2b/6-res-jb.", metavar="NAME"),
    _setting("subject", "model", "A folder, hub id or [REPO:]FILE.gguf instead; needs --sae.", metavar="PATH_OR_ID"),
    _setting("subject", "sae", "Its SAE: a folder, a file, REPO:SUBFOLDER or saelens:RELEASE/ID.", metavar="PLACE"),
    _setting("subject", "device", "auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE"),
    _setting(
        "subject", "device_map", "auto, balanced or sequential: spread the model over all GPUs instead.", metavar="HOW"
    ),
    _setting("subject", "dtype", "Of the model's weights: auto, float32, bfloat16 or float16.", metavar="DTYPE"),
    _setting(
        "subject", "quantise", "8bit or 4bit: make the model smaller as it is loaded (bitsandbytes).", metavar="BITS"
    ),
    _setting(
        "subject",
        "per_layer",
        "Row of Gemma 3n's and 4's second table that a ghost uses: placeholder (its own), zeros, or a token's id.",
        metavar="WHAT",
    ),
    _setting(
        "subject",
        "input_scale",
        "Factor for the SAE's input; auto matches the length used in training; by default the preset's own, or 1.",
        Scale(),
        metavar="X",
    ),
    _setting(
        "subject",
        "bos",
        "Begin texts that the SAE reads with a BOS, or not; by default as its files, or else the tokenizer, say.",
        bool,
        flag="--bos/--no-bos",
    ),
    _setting(
        "subject",
        "opening",
        r"Between the BOS and a token that is read alone; \n is a line break. By default the preset's own, or none.",
        metavar="TEXT",
    ),
)
_NO_SUBJECT = _setting(
    "subject",
    "name",
    "demo, smollm2, or another preset such as gemma-2b/6-res-jb; none unless given.",
    metavar="NAME",
    tells_default=False,
)
_SUBJECTS = (
    _setting("subject", "name", "A subject by name; may be repeated.", metavar="NAME", multiple=True),
    _SUBJECT[1],
    _setting("subject", "sae", "An SAE; may be repeated, to compare layers.", metavar="PLACE", multiple=True),
    *_SUBJECT[3:],
)
_LAYERS = (
    *_SUBJECT[:2],
    _setting(
        "subject",
        "sae",
        "Its SAE: a folder, a file, REPO:SUBFOLDER or saelens:RELEASE/ID; may be repeated, for other layers, and hold "
        "{layer} where the layer's number stands.",
        metavar="PLACE",
        multiple=True,
    ),
    click.option(
        "--layers",
        metavar="SPEC",
        cls=GroupedOption,
        heading="Subject",
        help="Of which layers, where --sae holds {layer}: 0-25, or 3,8,12.",
    ),
    *_SUBJECT[3:],
)
_VECTOR = (
    _setting(
        "vector",
        "weights",
        "words, vocabulary, encoder, decoder, blend:0.3 or auto: what the vector is made of.",
        metavar="W",
    ),
    _setting(
        "vector",
        "scale",
        "Distance from the centroid, or auto: the best of several; the subject's own unless given.",
        Scale(),
        metavar="X",
    ),
    _setting(
        "vector",
        "centroid",
        "Start from the mean embedding row, or the origin.",
        bool,
        flag="--centroid/--no-centroid",
    ),
    _setting("vector", "pca", "Weight of each leading principal component.", Numbers(), metavar="W[,W2,...]"),
    _setting(
        "vector",
        "ghost_tokens",
        "Maximum tokens in a vector of vocabulary weights, and maximum words of words weights.",
        Whole(),
        metavar="K",
    ),
    _setting("vector", "adapter", "A scale and bias that interpret fit has fitted, instead of these.", metavar="FILE"),
)
_FITTED = _setting(
    "vector",
    "weights",
    "vocabulary, encoder, decoder or blend:0.3: what the vector is made of.  [default: vocabulary]",
    metavar="W",
    tells_default=False,
)
_TREE = (
    _setting(
        "tree", "prompt", f"A base prompt: {', '.join(PROMPTS)}, a text with one {{ghost}}, or auto.", metavar="TEXT"
    ),
    _setting("tree", "cutoff", "Minimum cumulative probability of a node.", Real(), metavar="P"),
    _setting("tree", "top_k", "Most children of a node.", Whole(), metavar="K"),
    _setting(
        "tree",
        "contrast",
        "Minimum probability of a node that is compared with random directions; 0 for all, off for none.",
        metavar="P",
    ),
    _setting("tree", "max_depth", "Most tokens from root to leaf.", Whole(), metavar="D"),
)
_TOKENS = (
    _setting("tokens", "exponent", "Exponent of the distance from the feature's vector.", Real(), metavar="M"),
    _setting("tokens", "top_n", "Tokens in the list.", Whole(), metavar="N"),
    _setting("tokens", "define", "Words of the list that the model defines one by one.", Whole(), metavar="N"),
)
_STEERING = (
    _setting(
        "steering",
        "mode",
        "While the tree grows, add the feature's decoder row where its SAE writes, or clamp the feature: add, clamp.",
        metavar="HOW",
    ),
    _setting("steering", "strength", "How much, in units of its maximum activation.", Real(), metavar="X"),
    _setting("steering", "maximum", "That maximum; by default taken from the log's examples.", Real(), metavar="A"),
    _setting(
        "steering", "at", "ghost: only there; after: where the definition is written; all: everywhere.", metavar="WHERE"
    ),
    _setting(
        "steering",
        "ghost",
        "Keep the ghost in the prompt, or put a pronoun in its place.",
        kind=bool,
        flag="--ghost/--no-ghost",
    ),
    _setting("steering", "pronoun", "The pronoun; it, this or that unless given.", metavar="WORD"),
)
_LLM = (
    _setting(
        "run", "llm", "The explainer: offline (rules), anthropic, openai; none: probe only.", metavar="PROVIDER[:MODEL]"
    ),
    _setting(
        "run", "base_url", "A server that speaks the provider's protocol; by default the provider's own.", metavar="URL"
    ),
    _setting("run", "concurrency", "Most calls in flight at once.", Whole(), metavar="N"),
    _setting("run", "budget_usd", "The most that the run may cost, resumed or not.", Real(), metavar="X"),
    _setting("run", "budget_tokens", "The most tokens that the run may use, resumed or not.", Whole(), metavar="N"),
    _setting("run", "answer_tokens", "Most tokens of one answer, thinking included.", Whole(), metavar="N"),
    _setting(
        "run",
        "timeout",
        "Seconds to wait for an answer; one retry waits twice as long. By default 120, or 600 with --base-url.",
        Real(),
        metavar="SECONDS",
    ),
    _setting("run", "effort", "Reasoning effort of a model that has one: low, medium, high.", metavar="EFFORT"),
    _setting(
        "run",
        "cache",
        "Reuse answers that the log has to identical questions of other runs, or ask again.",
        kind=bool,
        flag="--cache/--no-cache",
    ),
)
_BATCH = (
    _setting("run", "batch", "Ask in the provider's batches: half the price, hours to wait.", is_flag=True, kind=bool),
    _setting("run", "batch_size", "With --batch, most questions in a batch.", Whole(), metavar="N"),
    _setting(
        "run",
        "wait",
        "With --batch, seconds to wait; 0: send and exit, the same command continues later.",
        Real(),
        metavar="SECONDS",
    ),
)
_WORKERS = (
    _setting(
        "run",
        "devices",
        "Use several devices, a process each: cuda:0,cuda:1, or all: every GPU; by default only this process.",
        metavar="NAMES",
    ),
    _setting("run", "ray", "Work on a Ray cluster: its address, auto, or local for one here.", metavar="ADDRESS"),
    _setting(
        "run",
        "gpus_per_worker",
        "With --ray, GPUs of each worker; 1 if there are any, else 0, unless given.",
        Real(),
        metavar="X",
    ),
)
_LOOP = (
    _setting("run", "rounds", "Most rounds of evidence and answer per feature.", Whole(), metavar="N"),
    _setting("run", "least_gain", "No other round that adds less, by the log's history.", Real(), metavar="P"),
    _setting(
        "run",
        "evidence",
        "weights, or examples: activating examples too, the default if the log has any.",
        metavar="KIND",
    ),
    _setting(
        "run",
        "feedback",
        "Check labels on such examples and ask again where they do badly; implies --evidence examples, needs --llm.",
        kind=bool,
        flag="--feedback/--no-feedback",
    ),
    _setting(
        "run",
        "tests",
        "Let the explainer experiment on the model: texts of its own, the nearest features, the feature clamped; a "
        "language model may unless told not to.",
        kind=bool,
        flag="--tests/--no-tests",
    ),
    _setting(
        "run",
        "candidates",
        "Labels that an answer may propose, up to 3, each with four texts; the one that activates most is kept.",
        Whole(),
        metavar="N",
    ),
)
_ESCALATE = (
    _setting(
        "run",
        "escalate",
        "A stronger explainer, asked only about features whose label the first one leaves doubtful.",
        metavar="PROVIDER[:MODEL]",
    ),
    _setting(
        "run",
        "escalate_below",
        "With --escalate, how sure a label has to be to stand; 0.7 unless given.",
        Real(),
        metavar="P",
    ),
)
_AGREEMENT = (
    _setting(
        "run",
        "agreement",
        "Grow small trees of other base prompts too, and measure how far they agree.",
        kind=bool,
        flag="--agreement/--no-agreement",
    ),
)
_RECOMMENDED = (
    _setting(
        "run",
        "recommended",
        "Take what interpret taxonomy recommends for the subject where nothing else is given.",
        kind=bool,
        flag="--recommended/--no-recommended",
    ),
)
_SEED = (_setting("run", "seed", "Seed of everything drawn at random.", Whole(), metavar="N"),)
_EXAMPLES = (
    _setting(
        "examples",
        "corpus",
        "demo, a file or folder (.txt, .jsonl, .parquet), or a dataset: NAME[:CONFIG][:SPLIT].",
        metavar="SOURCE",
    ),
    _setting("examples", "text_key", "The key or column that holds a text.", metavar="KEY"),
    _setting("examples", "tokens", "Most tokens to read.", Whole(), metavar="N"),
    _setting("examples", "context", "Tokens that the model reads at a time.", Whole(), metavar="N"),
    _setting("score", "embedder", "A sentence-transformers model, or minilm, for similar texts.", metavar="MODEL"),
)
_SCORE = (
    _setting(
        "score",
        "scorers",
        "Any of detection, fuzzing, simulation, embedding, clarity, discrimination, output, output_similarity, "
        "responsiveness, purity, intruder.",
        Names(),
        metavar="NAME[,NAME...]",
    ),
    _setting("score", "negatives", "Any of random, similar, neighbour.", Names(), metavar="KIND[,KIND...]"),
    _setting(
        "score",
        "texts",
        "Maximum activating examples per feature, and as many non-activating ones.",
        Whole(),
        metavar="N",
    ),
    _setting(
        "score",
        "embedder",
        "minilm, or a model's name or folder; by default the subject's own embeddings.",
        metavar="MODEL",
    ),
)
_LOG = (_setting("run", "log", "The SQLite file that holds everything.", Path, metavar="FILE"),)
_FILE = (
    click.option(
        "--settings",
        "settings_file",
        type=Path,
        metavar="FILE",
        help=f"Settings you do not want to repeat.  [default: {SETTINGS_FILE}, if there is one]",
    ),
)


def _all_of(*groups: tuple[Callable[[Any], Any], ...]) -> Callable[[Function], Function]:
    def decorate(function: Function) -> Function:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate


run_options = _all_of(
    *(_FILE, _LAYERS, _VECTOR, _TREE, _TOKENS, _STEERING, _WORKERS, _LLM, _BATCH, _LOOP, _ESCALATE),
    *(_AGREEMENT, _RECOMMENDED),
    *(_SEED, _LOG),
)
graph_options = _all_of(
    *(_FILE, _LAYERS, _VECTOR, _TREE, _TOKENS, _STEERING, _LLM, _BATCH, _LOOP, _AGREEMENT, _RECOMMENDED),
    *(_SEED, _LOG),
)
example_options = _all_of(_FILE, _LAYERS, _WORKERS, _EXAMPLES, _SEED, _LOG)
score_options = _all_of(_FILE, _LAYERS, _SCORE, _LLM, _BATCH, _SEED, _LOG)
compare_options = _all_of(_FILE, _SUBJECTS, GRID, _TREE[1:], _STEERING, _SCORE, _LLM, _LOOP, _SEED, _LOG)
fit_options = _all_of(_FILE, _SUBJECT, (_FITTED,), _TREE[:1], _SEED, _LOG)
taxonomy_options = _all_of(_FILE, _SUBJECTS, _SEED, _LOG)
calibrate_options = _all_of(_FILE, _SEED, _LOG)
tree_options = _all_of(_FILE, _SUBJECT, _VECTOR, _TREE, _STEERING, _AGREEMENT, _LOG)
token_options = _all_of(_FILE, _SUBJECT, _VECTOR, _TOKENS)
activation_options = _all_of(_FILE, _SUBJECT, _LOG)
doctor_options = _all_of(_FILE, (_NO_SUBJECT, *_SUBJECT[1:]), _LOG)
serve_options = _all_of(_FILE, (_NO_SUBJECT, *_LAYERS[1:]), _LOG)
log_options = _all_of(_FILE, _LOG)
