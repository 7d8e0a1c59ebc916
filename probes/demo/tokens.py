"""The demo's tokenizer, and texts as token ids with the truth of each token beside them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from probes.demo.text import DocumentWriter, MarkedText
from probes.demo.world import World

PAD, EOS, BOS, PLACEHOLDER = "<pad>", "<eos>", "<bos>", "<unused0>"


def train_tokenizer(texts: Iterable[str], vocab: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `vocab` tokens that puts `<bos>` in front; deterministic for the same texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[PAD, EOS, BOS, PLACEHOLDER],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD, clean_up_tokenization_spaces=False
    )


class _Row(NamedTuple):
    ids: list[int]
    senses: list[int]
    words: list[int]


@dataclass(frozen=True)
class Corpus:
    """Rows of `<bos>` and documents, each row starting at a document's start and cut at its own length."""

    ids: Int[np.ndarray, "rows pos"]
    senses: Int[np.ndarray, "rows pos"]
    """Index into `lineages`, or -1 where a token ends no word of the world."""
    words: Int[np.ndarray, "rows pos"]
    """Index into `vocabulary` of the word that the token ends, or -1."""
    lineages: tuple[tuple[str, ...], ...]
    vocabulary: tuple[str, ...]


class CorpusMaker:
    """Turns what a writer writes into rows of tokens with their truth, going on where the last rows ended."""

    def __init__(self, world: World, tokenizer: PreTrainedTokenizerFast, length: int, seed: int) -> None:
        self._tokenizer = tokenizer.backend_tokenizer
        self._bos = tokenizer.bos_token_id
        self._length = length
        self._lineages: dict[tuple[str, ...], int] = {}
        self._words = {word: i for i, word in enumerate(world.concepts_of_word)}
        self._stream = self._rows(DocumentWriter(world, seed))

    def take(self, n_rows: int) -> Corpus:
        """The next `n_rows` rows."""
        ids, senses, words = (np.array(c, dtype=np.int32) for c in zip(*islice(self._stream, n_rows), strict=True))
        return Corpus(ids, senses, words, tuple(self._lineages), tuple(self._words))

    def _rows(self, writer: DocumentWriter) -> Iterator[_Row]:
        row = _Row([self._bos], [-1], [-1])
        for batch in _batches(writer.documents(), 256):
            encodings = self._tokenizer.encode_batch([f"{d.text}\n" for d in batch], add_special_tokens=False)
            for text, encoding in zip(batch, encodings, strict=True):
                senses, words = self._truth(text, encoding.offsets)
                for column, values in zip(row, (encoding.ids, senses, words), strict=True):
                    column.extend(values)
                if len(row.ids) >= self._length:
                    yield _Row(*(column[: self._length] for column in row))
                    row = _Row([self._bos], [-1], [-1])

    def _truth(self, text: MarkedText, offsets: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
        senses, words = [-1] * len(offsets), [-1] * len(offsets)
        last_of = {end: i for i, (_, end) in enumerate(offsets)}
        for mark in text.marks:
            # a token that runs past the word's end (a word and its plural s, say) belongs to no word
            if (i := last_of.get(mark.end)) is not None:
                senses[i] = self._lineages.setdefault(mark.concepts, len(self._lineages))
                words[i] = self._words[text.text[mark.start : mark.end]]
        return senses, words


def _batches(documents: Iterator[MarkedText], size: int) -> Iterator[list[MarkedText]]:
    while batch := list(islice(documents, size)):
        yield batch
