"""The subject under study: a model, its tokenizer and an SAE, loaded together and checked against each other.

Knows how to get and read them, and nothing of what is done with them.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probes.doors import door
from probes.errors import SubjectError
from probes.hooks import sae_input
from probes.hooks.sites import Carry, into_stream, tap
from probes.model import hub
from probes.model.embedding import EmbeddingTable
from probes.model.fingerprint import fingerprint
from probes.model.folder import ModelFolder, model_folder
from probes.model.loading import devices_of, load_config, load_model, load_tokenizer, stored_rows
from probes.model.substitution import ghosts_at, input_scale, other_tables, rows_at
from probes.presets import NEURONPEDIA, PerLayer, Preset, SubjectCard, SubjectSource, is_embedded
from probes.sae import SAE
from probes.sae_config import Hook, SaeConfig
from probes.sae_formats import SAE_FILES, SAE_SUFFIXES, StoredSAE, read_stored, saelens_package
from probes.tokenizer.placeholder import choose_placeholder, pinned_beside
from probes.tokenizer.special_tokens import front_ids, start_id
from probes.tokenizer.token_text import TokenTexts
from probes.tokenizer.vocabulary_fit import check_vocabulary

_TELLS_OF_SAE = ("config.json", "cfg.json", "config.yaml")
"""Small files beside an SAE's that may tell what it is."""
_HALF = re.compile(r"W_(?:enc|dec)_(\d+\.safetensors)$")
"""One of two files that are one layer of a cross-layer transcoder."""
_TARGET = re.compile(r"(.+)@(\d{1,4})")
"""A place, and the layer of whose decoder is meant, of those that a cross-layer transcoder writes to."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A loaded subject. Nothing in it changes; what is derived from it is computed once."""

    card: SubjectCard
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    sae: SAE
    table: EmbeddingTable
    text_of: TokenTexts
    """`text_of(token_id)` is the token's text inside a sentence."""

    @property
    def embedding(self) -> Float[Tensor, "vocab d_model"]:
        """The input embedding's rows as stored, float32."""
        return self.table.rows

    @property
    def centroid(self) -> Float[Tensor, " d_model"]:
        """The mean of the embedding's rows."""
        return self.table.centroid

    def components(self, k: int) -> Float[Tensor, "k d_model"]:
        """The k leading principal components of the embedding's rows; see `EmbeddingTable.components`."""
        return self.table.components(k)

    def encoder_rows(self, features: Sequence[int]) -> Float[Tensor, "n d_model"]:
        """The features' encoder columns as directions of the residual stream; see `into_stream`."""
        return self._from_input(self.sae.encoder_rows(features))

    def decoder_rows(self, features: Sequence[int]) -> Float[Tensor, "n d_model"]:
        """The features' decoder rows as directions of the residual stream, where a transcoder writes; as above."""
        return self._from_output(self.sae.decoder_rows(features))

    @cached_property
    def _from_input(self) -> Carry:
        return into_stream(self.model, self.sae.config.hook, "encoder")

    @cached_property
    def _from_output(self) -> Carry:
        return into_stream(self.model, self.sae.config.hook_out or self.sae.config.hook, "decoder")

    @property
    def embedder(self) -> nn.Module:
        """The model's own input embedding module."""
        module = self.model.get_input_embeddings()
        assert isinstance(module, nn.Module)
        return module

    @property
    def placeholder_id(self) -> int:
        """The token that stands in a ghost's place."""
        return self.card.placeholder_id

    @cached_property
    def input_scale(self) -> float:
        """Returns the factor of the embedding module's rows; a ghost is multiplied by it too."""
        return input_scale(self.embedder)

    @cached_property
    def _other_tables(self) -> tuple[nn.Module, ...]:
        return other_tables(self.model)

    @contextmanager
    def ghosts_at(self, position: int, vectors: Float[Tensor, "batch d_model"]) -> Iterator[None]:
        """While it lasts, sequence i that the model reads has the ghost `vectors[i]` at `position`.

        The vectors are scaled as `input_scale` says. A second table that the model looks ids up in finds what the
        card's `per_layer` says: what it has for the id that is there, for another one, or zeros.
        """
        fed = self.card.per_layer
        tables = () if fed in (None, "placeholder") else self._other_tables
        with (
            ghosts_at(position, vectors, self.embedder),
            rows_at(position, tables, fed if isinstance(fed, int) else None),
        ):
            yield


def first_ids(subject: Subject) -> list[int]:
    """Returns the ids that begin every text that the SAE reads.

    As the user says, else the SAE's files; where neither does, what the tokenizer itself puts there, which is what
    those who train SAEs get without asking for it.
    """
    return front_ids(subject.tokenizer, subject.sae.config.prepends_bos)


def ids_before_lone_tokens(subject: Subject) -> list[int]:
    """Returns the ids before a token that is read alone: `start_id`, or none if the user wants no BOS, and the opening.

    A model's first position is unlike all others, so something is to stand there even where texts begin with nothing.
    """
    first = front_ids(subject.tokenizer, subject.card.bos is not False)
    return [*first, *subject.tokenizer.encode(subject.card.opening, add_special_tokens=False)]


def read_sae_config(source: SubjectSource) -> SaeConfig:
    """Reads the configuration of the SAE of `source`; no model is loaded. Raises SubjectError."""
    _check_embedded(source)
    folder, target = _sae_folder(source.preset.sae)
    return read_stored(folder.path, target).sae.config


def load_subject(source: SubjectSource, beside: Subject | None = None) -> Subject:
    """The subject that `source` names, from this machine or the hub. Raises SubjectError, early where it can.

    `beside` is a loaded subject of the same model, loaded in the same way: the model is shared with it.
    """
    preset = source.preset
    device = choose_device(source.device)
    _check_embedded(source)
    sae_folder, target = _sae_folder(preset.sae)
    stored = read_stored(sae_folder.path, target)
    found = model_folder(preset)
    with door(SubjectError, f"Model {preset.model} and SAE {preset.sae} cannot be used together: {{cause}}."):
        return _assembled(source, device, found, sae_folder.revision, stored, beside)


def _assembled(
    source: SubjectSource,
    device: torch.device,
    found: ModelFolder,
    sae_revision: str,
    stored: StoredSAE,
    beside: Subject | None,
) -> Subject:
    """Loads what has been found. Raises SubjectError."""
    preset, sae = source.preset, _with_bos(stored.sae, source.bos)
    _check_fit(load_config(found.path), sae.config, preset)
    model, tokenizer, table = (
        _loaded(source, device, found) if beside is None else (beside.model, beside.tokenizer, beside.table)
    )
    _check_sites(model, sae, preset)
    _check_bos(source, tokenizer)
    sae_input_scale = sae_input.resolve(preset.input_scale, model, tokenizer, sae.to(model.device))
    card = SubjectCard(
        **_names(source, sae.config),
        model_revision=found.revision,
        sae_revision=sae_revision,
        hook=sae.config.sites,
        layer=sae.config.hook.layer,
        d_model=table.rows.shape[1],
        vocab=len(table.rows),
        n_features=sae.config.n_features,
        default_scale=preset.default_scale or table.mean_distance,
        sae_input_scale=sae_input_scale,
        bos=source.bos,
        opening=preset.opening,
        placeholder_id=_placeholder(preset, found.path, tokenizer, len(table.rows)),
        per_layer=_per_layer(source, model),
        dtype=" ".join([str(model.dtype).removeprefix("torch."), *([source.quantise] if source.quantise else [])]),
        device=devices_of(model),
        fingerprint=fingerprint(
            {**found.files, **{f"sae/{name}": path for name, path in stored.files.items()}},
            sae_input_scale,
            _front(tokenizer, stored.sae.config, sae.config),
            preset.opening,
            no_bos=source.bos is False,
        ),
    )
    sae = sae.scaled(sae_input_scale).to(model.device)
    return Subject(card, model, tokenizer, sae, table, TokenTexts(tokenizer))


def _loaded(
    source: SubjectSource, device: torch.device, found: ModelFolder
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, EmbeddingTable]:
    """The model with what belongs to it. Raises SubjectError."""
    model = load_model(found.path, device, source.dtype, source.device_map, source.quantise)
    tokenizer = load_tokenizer(found.path)
    check_vocabulary(tokenizer, model.get_input_embeddings().weight.shape[0], found.path)
    table = EmbeddingTable(stored_rows(model))
    if not 0 < table.mean_distance < float("inf"):
        raise SubjectError(
            f"The embeddings of model {source.preset.model} are {table.mean_distance} from their mean on average, so "
            "they cannot be used; download it again."
        )
    return model, tokenizer, table


def _with_bos(sae: SAE, asked: bool | None) -> SAE:
    """The SAE with what is asked for in place of what its files say of a BOS."""
    return sae if asked is None else replace(sae, config=replace(sae.config, prepends_bos=asked))


def _check_bos(source: SubjectSource, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises SubjectError where a BOS is asked for and there is none."""
    if source.bos and start_id(tokenizer) is None:
        raise SubjectError(
            f"--bos asks for a BOS in front of texts, but the tokenizer of {source.preset.model} has neither one nor "
            "an end-of-text token; leave it out."
        )


def _front(tokenizer: PreTrainedTokenizerBase, stored: SaeConfig, used: SaeConfig) -> list[int] | None:
    """Returns the ids that begin texts, if the SAE's own files do not decide them."""
    if stored.prepends_bos is not None and stored.prepends_bos == used.prepends_bos:
        return None
    return front_ids(tokenizer, used.prepends_bos)


def choose_device(name: str) -> torch.device:
    """The device `name` stands for; `auto` is the first of CUDA, MPS and CPU that is there. Raises SubjectError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    n_there = torch.cuda.device_count() if device.type == "cuda" else int(torch.backends.mps.is_available())
    if device.type != "cpu" and not 0 <= (device.index or 0) < n_there:  # a large index wraps around
        raise SubjectError(f"Device {name} is not available here; use auto or cpu.")
    return device


def _sae_folder(place: str) -> tuple[hub.Folder, int | None]:
    """Finds the SAE, a release of SAELens' list, a folder or a file, here or on the hub; and its target layer."""
    if place.startswith(saelens_package.PREFIX):
        return saelens_package.folder_of(place), None
    match = None if _is_here(place) else _TARGET.fullmatch(place)
    base = match[1] if match else place
    half = _HALF.search(base)
    halves = [f"W_enc_{half[1]}", f"W_dec_{half[1]}"] if half else []
    folder = hub.folder_of(base, "SAE", SAE_FILES, SAE_SUFFIXES, (*_TELLS_OF_SAE, *halves))
    return folder, int(match[2]) if match else None


def _is_here(place: str) -> bool:
    with suppress(OSError, RuntimeError, ValueError):  # names that no file can have
        return Path(place).expanduser().exists()
    return False


def _check_embedded(source: SubjectSource) -> None:
    """Raises SubjectError where a part that this package ships is not there."""
    for part in (source.preset.model, source.preset.sae):
        if source.name and is_embedded(part) and not Path(part).is_dir():
            raise SubjectError(f"The embedded subject is missing from this installation: {part} does not exist.")


def _names(source: SubjectSource, config: SaeConfig) -> dict[str, Any]:
    """Returns the card's name of the subject; what this package ships has names that are the same on every machine."""
    preset = source.preset
    page = preset.neuronpedia or config.neuronpedia
    return {
        "name": source.name or f"{_own_name(preset.model)} + {_own_name(preset.sae)}",
        "model": _machine_free(preset.model, source.name),
        "sae": _machine_free(preset.sae, source.name),
        "neuronpedia": f"{NEURONPEDIA}/{page}" if page else None,
    }


def _machine_free(place: str, name: str | None) -> str:
    return f"{name}/{Path(place).name}" if name and is_embedded(place) else place


def _own_name(place: str) -> str:
    """A place's last two names, or a hub id: explainers elsewhere are not told where things lie on this machine."""
    path, match = Path(place).expanduser(), _TARGET.fullmatch(place)
    if not path.exists() and match and (name := _own_name(match[1])) != match[1]:
        return f"{name}@{match[2]}"
    base, _, within = place.partition(":")
    if not path.exists():
        path = Path(base).expanduser() / within
    return "/".join(path.resolve().parts[-2:]) if path.exists() else place


def _check_fit(config: Any, sae: SaeConfig, preset: Preset) -> None:
    text = config.get_text_config(decoder=True)
    if sae.hook.is_residual and text.hidden_size != sae.d_model:
        raise SubjectError(
            f"SAE {preset.sae} reads vectors of {sae.d_model} dimensions, "
            f"but those of model {preset.model} have {text.hidden_size}."
        )
    if max(sae.last_target or 0, *(hook.layer for hook in _hooks(sae))) >= text.num_hidden_layers:
        raise SubjectError(
            f"SAE {preset.sae} reads at {sae.sites}, "
            f"but model {preset.model} has layers 0 to {text.num_hidden_layers - 1}."
        )


def _check_sites(model: PreTrainedModel, sae: SAE, preset: Preset) -> None:
    """Checks that the model has the places where the SAE reads and writes, as wide as it is."""
    widths = (sae.W_enc.shape[0], sae.W_dec.shape[-1])
    for hook, width in zip(_hooks(sae.config), widths, strict=False):
        if (there := tap(model, hook).width) not in (None, width):
            raise SubjectError(
                f"SAE {preset.sae} is made for vectors of {width} dimensions at {hook}, "
                f"but those of model {preset.model} have {there} there."
            )


def _hooks(config: SaeConfig) -> list[Hook]:
    """Returns the hook that it reads, and the hook that it writes if that is another."""
    return [config.hook, *([config.hook_out] if config.hook_out else [])]


def _placeholder(preset: Preset, model_folder: Path, tokenizer: PreTrainedTokenizerBase, vocab: int) -> int:
    """The preset's id, else that of a `subject.json` beside the model's folder, else one chosen from the tokenizer."""
    pinned = preset.placeholder_id
    if pinned is None:
        pinned = pinned_beside(model_folder)
    if pinned is None:
        return choose_placeholder(tokenizer, vocab)
    if not 0 <= pinned < vocab:
        raise SubjectError(f"Placeholder id {pinned} is outside the model's vocabulary of {vocab}.")
    return pinned


def _per_layer(source: SubjectSource, model: PreTrainedModel) -> int | PerLayer | None:
    """Returns the row that a second table finds for a ghost; None if the model has no such table.

    Raises SubjectError.
    """
    tables = other_tables(model)
    if not tables and source.per_layer is not None:
        raise SubjectError(
            f"--per-layer {source.per_layer} has no meaning for {source.preset.model}, a {type(model).__name__}: "
            "it looks token ids up once only; leave it out."
        )
    rows = min((table.num_embeddings for table in tables), default=0)
    if isinstance(source.per_layer, int) and source.per_layer >= rows:
        raise SubjectError(
            f"--per-layer {source.per_layer} is beyond the {rows} rows of the second table; give an id below it."
        )
    if source.per_layer is None and tables:
        return "placeholder"
    return source.per_layer
