"""`interpret examples`: activating examples from a corpus, another tool's files or Neuronpedia, stored in the log.

The work is in `eval`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.text import Text

from agent.cli.commands.doctor import subject_words
from agent.cli.commands.examples_screen import (
    Advance,
    ExamplesScreen,
    bars,
    fault_lines,
    pass_lines,
    reading_lines,
    unit_lines,
)
from agent.cli.commands.exit_status import GOES_ON, CommandInterrupt
from agent.cli.commands.pass_workers import pass_workers
from agent.cli.commands.stopping import stoppable
from agent.cli.terminal.display import console, facts
from agent.config import RunConfig
from agent.log.examples import (
    CorpusIdentity,
    add_collected,
    add_corpus,
    begin_corpus,
    features_collected,
    find_corpus,
    note_pass,
)
from agent.log.run_log import RunLog
from agent.maxima import UNIT
from agent.pool.choice import on_first_device
from eval.collect.content import content_of
from eval.collect.corpora import CorpusFaults, content, documents
from eval.collect.corpus_pass import Collection, CollectSettings
from eval.collect.examples import FeatureHarvest, harvest, imported
from eval.collect.similar import Embed
from eval.collect.units import in_own_unit
from eval.embedders import SentenceEmbedder, recorded
from eval.errors import ExamplesError
from eval.readers import ReadResult, read_examples
from eval.readers.base import Unit, Vocabulary
from eval.readers.files import files_in
from eval.readers.neuronpedia_api import BASE_URL, fetch_record
from probes.features import parse_features
from probes.subject import Subject, load_subject
from probes.tokenizer.special_tokens import special_ids

BASE_URL_VARIABLE = "NEURONPEDIA_BASE_URL"
"""Names the address of Neuronpedia's API, where it is not the site's own."""

_NEURONPEDIA = "neuronpedia:"
_STOPPING = "Finishing the batches in hand, then what was read is kept. Press Ctrl-C again to stop at once."
_NOTHING_KEPT = "Stopped before there was anything to keep; the same command begins anew."
_MAX_IN_VAIN = 5
"""Records in a row that cannot be fetched, after which no more are asked for."""


def gather_examples(config: RunConfig, spec: str, imported: str | None, form: str | None) -> int:
    """Reads, stores and prints; returns the exit status, 0. `imported` is a path, or `neuronpedia:MODEL/SOURCE`.

    Raises InterpretError.
    """
    screen = console()
    with RunLog.open(config.log) as log:
        subject = load_subject(on_first_device(config))
        features = parse_features(spec, subject.card.n_features, config.seed)
        screen.print(facts([("subject", subject_words(subject.card)), ("features", f"{len(features):,} ({spec})")]))
        try:
            if imported is None:
                _from_corpus(screen, config, log, subject, features)
            elif imported.startswith(_NEURONPEDIA):
                _from_neuronpedia(screen, config, log, subject, features, imported)
            else:
                _from_files(screen, config, log, subject, features, Path(imported), form)
        except KeyboardInterrupt:  # what had something to keep has caught it
            raise CommandInterrupt(_NOTHING_KEPT) from None
    return 0


def _from_corpus(screen: Console, config: RunConfig, log: RunLog, subject: Subject, features: Sequence[int]) -> None:
    wanted = config.examples
    how = {**wanted.model_dump(mode="json"), "content": content(wanted.corpus), **_similarity(config)}
    identity = _identity(config, subject, wanted.corpus, how)
    todo = _todo(log, identity, features)
    screen.print(facts([("corpus", f"{wanted.corpus}, up to {wanted.tokens:,} tokens"), ("log", str(config.log))]))
    if not todo:
        screen.print(Text(f"Nothing left to do: examples of all {len(features):,} features are in the log."))
        return
    faults = CorpusFaults()
    collection, found, cut_off = _pass(screen, config, subject, features, faults)
    if cut_off:  # a corpus of its own: the same command is to read all that it asks for
        identity = _identity(config, subject, wanted.corpus, {**how, "stopped_after": collection.n_tokens})
    check = collection.check

    def begin() -> int:
        corpus_id = log.write(begin_corpus, identity).result()
        log.write(note_pass, corpus_id, collection.n_tokens, check.l0, check.explained_variance).result()
        return corpus_id

    stored = features if cut_off else todo
    _store(screen, log, begin, found, stored)
    told = replace(collection, features={feature: collection.features[feature] for feature in stored})
    screen.print(facts([*pass_lines(told), *fault_lines(faults.sentences, faults.n)]))
    if cut_off:
        raise CommandInterrupt(
            f"Stopped after {collection.n_tokens:,} of {wanted.tokens:,} tokens. What they gave is in the log, as a "
            "corpus of its own; the same command reads everything anew."
        )
    screen.print(Text(_next_step(config)))


def _pass(
    screen: Console, config: RunConfig, subject: Subject, features: Sequence[int], faults: CorpusFaults
) -> tuple[Collection, Iterator[FeatureHarvest], bool]:
    """Passes over the corpus; returns what was collected, and whether Ctrl-C cut it off.

    It reads for all features that were asked for, those that the log has from an earlier command too: texts on which a
    feature is silent are chosen beside the others, and are to be the same whether the command was cut off or not.
    """
    wanted = config.examples
    settings = CollectSettings(n_tokens=wanted.tokens, context=wanted.context, seed=config.seed)
    embed = _embed(config)
    texts = documents(wanted.corpus, faults, wanted.text_key, config.seed)
    with ExitStack() as stack:
        readers = stack.enter_context(pass_workers(screen, config, subject))
        stops = stack.enter_context(stoppable(lambda: screen.print(Text(_STOPPING))))
        shown = ExamplesScreen(screen, stack.enter_context(bars(screen)), wanted.tokens, stops)
        collection, found = harvest(subject, texts, features, settings, shown, embed, readers)
        if stops() and not collection.n_tokens:
            raise CommandInterrupt(_NOTHING_KEPT)
        return collection, found, stops()


def _from_neuronpedia(
    screen: Console, config: RunConfig, log: RunLog, subject: Subject, features: Sequence[int], name: str
) -> None:
    """Fetches the features' records and reads them like a file; examples of earlier commands are kept."""
    model, _, source = name.removeprefix(_NEURONPEDIA).partition("/")
    if not (model and source):
        raise ExamplesError(
            f"{name} names no source; write neuronpedia:MODEL/SOURCE, as neuronpedia:gemma-2b/6-res-jb."
        )
    _check_source(subject, name)
    identity = _identity(config, subject, name, {"path": name} | _unit("length"))
    todo = _todo(log, identity, features)
    if not todo:
        screen.print(Text(f"Nothing left to do: examples of all {len(features):,} features are in the log."))
        return
    faults: list[str] = []
    with TemporaryDirectory() as folder:
        cut_off = _fetch(screen, Path(folder), model, source, todo, faults)
        if not any(Path(folder).iterdir()):
            if cut_off:
                raise CommandInterrupt(_NOTHING_KEPT)
            raise ExamplesError(f"No record of {name} could be fetched: {faults[-1]}")
        reading = _read(config, subject, todo, Path(folder), "neuronpedia", name)
    reading = replace(reading, faults=(*faults, *reading.faults))
    _keep(screen, config, log, subject, todo, reading, {"path": name})
    if cut_off:
        raise CommandInterrupt(GOES_ON)


def _fetch(screen: Console, folder: Path, model: str, source: str, features: Sequence[int], faults: list[str]) -> bool:
    """Writes the records to a folder and reports the missing ones; returns True if Ctrl-C cut it off."""
    base_url = os.environ.get(BASE_URL_VARIABLE) or BASE_URL
    in_vain = 0
    with bars(screen) as progress:
        advance = Advance(progress, "fetched", len(features))
        for n_done, feature in enumerate(features, start=1):
            try:
                folder.joinpath(f"{feature}.json").write_bytes(fetch_record(model, source, feature, base_url))
                in_vain = 0
            except KeyboardInterrupt:
                return True
            except ExamplesError as error:
                faults.append(str(error))
                in_vain += 1
            advance(1)
            if in_vain == _MAX_IN_VAIN and n_done < len(features):
                left = f"the other {len(features) - n_done:,} were not tried"
                faults.insert(0, f"The last {in_vain} records could not be fetched, so {left}.")
                break
    return False


def _todo(log: RunLog, identity: CorpusIdentity, features: Sequence[int]) -> list[int]:
    """Returns the features that the log does not have from there already."""
    corpus_id = log.read(find_corpus, identity.hash)
    there = frozenset() if corpus_id is None else log.read(features_collected, corpus_id)
    return [feature for feature in features if feature not in there]


def _from_files(
    screen: Console,
    config: RunConfig,
    log: RunLog,
    subject: Subject,
    features: Sequence[int],
    path: Path,
    form: str | None,
) -> None:
    reading = _read(config, subject, features, path, form, str(path))
    how: dict[str, object] = {"path": str(path), "content": content_of(files_in(path, "")), **_similarity(config)}
    _keep(screen, config, log, subject, features, reading, how)


def _read(
    config: RunConfig, subject: Subject, features: Sequence[int], path: Path, form: str | None, called: str
) -> ReadResult:
    """Reads the features' examples from files.

    Raises ExamplesError if there are none, or they are of another subject.
    """
    vocabulary = Vocabulary(subject.card.vocab, subject.text_of, special_ids(subject.tokenizer))
    reading = read_examples(path, form, frozenset(features), vocabulary, config.seed)
    _check_source(subject, reading.source)
    if not reading.features and reading.faults:
        raise ExamplesError(f"{called} holds nothing that can be used: {reading.faults[0]}")
    if not reading.features:
        raise ExamplesError(
            f"{called} holds {reading.n_records:,} records, but none of the {len(features):,} features asked for; "
            "name others with --features."
        )
    return reading


def _keep(
    screen: Console,
    config: RunConfig,
    log: RunLog,
    subject: Subject,
    features: Sequence[int],
    reading: ReadResult,
    how: dict[str, object],
) -> None:
    """Stores what was read, all of it or nothing, and tells of it.

    Texts on which a feature is silent are chosen among those of the others: stored one by one, a command that is cut
    off and run again could choose among fewer.
    """
    identity = _identity(config, subject, reading.source, how | _unit(reading.unit))
    own, unit = in_own_unit(subject, reading.features, reading.unit)
    found = imported(subject, own, config.seed, _embed(config))
    with bars(screen) as progress:
        advance = Advance(progress, "read", len(reading.features))
        kept = []
        for item in found:
            kept.append((item.found, item.splitting))
            advance(1)
    log.write(add_corpus, identity, kept).result()
    said = [*reading_lines(reading, len(features)), *unit_lines(unit)]
    screen.print(facts([*said, *fault_lines(reading.faults, len(reading.faults))]))
    screen.print(Text(_next_step(config)))


def _unit(custom: Unit) -> dict[str, object]:
    """Returns the setting that activations are kept in the SAE's own unit, for sources that mostly have another."""
    return {} if custom == "sae" else {UNIT: "sae"}


def _check_source(subject: Subject, source: str) -> None:
    """Refuses Neuronpedia's examples of another SAE, if the subject's own source there is known."""
    page = subject.card.neuronpedia
    if source.startswith(_NEURONPEDIA) and page and not page.endswith(f"/{source.removeprefix(_NEURONPEDIA)}"):
        raise ExamplesError(
            f"Examples of {source} are not of {subject.card.name}, which is {page}; name their subject with --subject, "
            "or with --model and --sae."
        )


def _similarity(config: RunConfig) -> dict[str, object]:
    """Returns the setting that decides, beside the texts, which non-activating examples are similar ones."""
    return {"embedder": recorded(config.score.embedder)} if config.score.embedder else {}


def _embed(config: RunConfig) -> Embed | None:
    return SentenceEmbedder(config.score.embedder).encode if config.score.embedder else None


def _identity(config: RunConfig, subject: Subject, source: str, settings: dict[str, object]) -> CorpusIdentity:
    return CorpusIdentity(subject=subject.card, source=source, settings=settings, seed=config.seed)


def _store(
    screen: Console, log: RunLog, begin: Callable[[], int], found: Iterable[FeatureHarvest], todo: Sequence[int]
) -> None:
    """Writes the features `todo` one by one; memory holds one of them at a time.

    The corpus is begun with the first: an empty one would pass for the latest that a run can use.
    """
    corpus_id, n, wanted = None, 0, frozenset(todo)
    try:
        with bars(screen) as progress:
            advance = Advance(progress, "stored", len(wanted))
            for item in found:
                if item.found.feature not in wanted:
                    continue
                corpus_id = begin() if corpus_id is None else corpus_id
                log.write(add_collected, corpus_id, item.found, item.splitting).result()
                advance(1)
                n += 1
    except KeyboardInterrupt:
        raise CommandInterrupt(
            f"Stopped: examples of {n:,} of {len(wanted):,} features are in the log; the same command goes on with the "
            "others."
        ) from None


def _next_step(config: RunConfig) -> str:
    return f"Labels of this subject can be scored on them: interpret score --log {config.log}"
