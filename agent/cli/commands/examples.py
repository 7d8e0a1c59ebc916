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
from agent.cli.commands.example_shards import assembled, forget, keep_shard, whole_pass
from agent.cli.commands.example_subjects import SubjectFeatures, collect_settings, embed_of, identity_of, similarity
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
from agent.cli.commands.layers import by_layer
from agent.cli.commands.loading import SubjectLoader
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
from agent.log.naming import options_of
from agent.log.run_log import RunLog
from agent.maxima import UNIT
from agent.pool.choice import on_first_device
from agent.shards import Shard
from eval.collect.content import content_of
from eval.collect.corpora import CorpusFaults, documents
from eval.collect.corpus_pass import Collection
from eval.collect.examples import FeatureHarvest, harvest_all, imported
from eval.collect.units import in_own_unit
from eval.errors import ExamplesError
from eval.readers import ReadResult, read_examples
from eval.readers.base import Unit, Vocabulary
from eval.readers.files import files_in
from eval.readers.neuronpedia_api import BASE_URL, BASE_URL_VARIABLE, fetch_record
from probes.errors import SettingsError
from probes.features import parse_addresses, parse_features
from probes.subject import Subject, load_subject
from probes.tokenizer.special_tokens import special_ids

_NEURONPEDIA = "neuronpedia:"
_WORLD = "demo"
"""The subject whose texts are read unless others are named."""
_STOPPING = "Finishing the current batches, then saving what was read. Press Ctrl-C again to stop at once."
_NOTHING_KEPT = "Stopped before there was anything to save; the same command starts over."
_MAX_IN_VAIN = 5
"""Records in a row that cannot be fetched, after which no more are asked for."""


def gather_examples(
    configs: Sequence[RunConfig], spec: str, imported: str | None, form: str | None, shard: Shard | None = None
) -> int:
    """Reads, stores and prints; returns the exit status, 0. `imported` is a path, or `neuronpedia:MODEL/SOURCE`.

    Several configs are of several SAEs of one model, which reads a corpus once for all of them. `shard` is the part of
    a corpus to read. Raises InterpretError.
    """
    screen, config = console(), configs[0]
    if imported is None and config.subject.name != _WORLD and "corpus" not in config.examples.model_fields_set:
        raise SettingsError("Texts of the demo's world are for the demo; name a corpus of your own by --corpus.")
    with RunLog.open(config.log) as log:
        works = _works(configs, spec)
        for work in works:
            card, n = work.subject.card, len(work.features)
            screen.print(facts([("subject", subject_words(card)), ("features", f"{n:,} ({spec})")]))
        subject, features = works[0].subject, works[0].features
        try:
            if imported is None:
                _from_corpus(screen, log, works, shard)
            elif imported.startswith(_NEURONPEDIA):
                _from_neuronpedia(screen, config, log, subject, features, imported)
            else:
                _from_files(screen, config, log, subject, features, Path(imported), form)
        except KeyboardInterrupt:  # what had something to keep has caught it
            raise CommandInterrupt(_NOTHING_KEPT) from None
    return 0


def _works(configs: Sequence[RunConfig], spec: str) -> list[SubjectFeatures]:
    if len(configs) == 1:
        subject = load_subject(on_first_device(configs[0]))
        features = parse_features(spec, subject.card.n_features, configs[0].seed, subject.card.layer)
        return [SubjectFeatures(configs[0], subject, features)]
    saes, load = by_layer(configs), SubjectLoader()
    chosen = parse_addresses(spec, {layer: one.n_features for layer, one in saes.items()}, configs[0].seed)
    return [
        SubjectFeatures(saes[layer].config, load(saes[layer].config.subject), features)
        for layer, features in chosen.items()
    ]


def _from_corpus(screen: Console, log: RunLog, works: Sequence[SubjectFeatures], shard: Shard | None) -> None:
    config, wanted = works[0].config, works[0].config.examples
    todo = {work.subject.card.layer: _todo(log, work.identity, work.features) for work in works}
    screen.print(facts([("corpus", f"{wanted.corpus}, up to {wanted.tokens:,} tokens"), ("log", str(config.log))]))
    n_asked = sum(len(work.features) for work in works)
    works = [work for work in works if todo[work.subject.card.layer]]
    if not works:
        screen.print(Text(f"Nothing left to do: examples of all {n_asked:,} features are in the log."))
        return
    if shard is not None:
        keep_shard(screen, log, works, shard)
        return
    faults, cut_off = CorpusFaults(), False
    sharded = [one for work in works if (one := whole_pass(screen, log, work))]
    if len(sharded) == len(works):
        collected = [assembled(log, work, one) for work, one in zip(works, sharded, strict=True)]
    else:
        collected, cut_off = _pass(screen, works, faults)
    for work, (collection, found) in zip(works, collected, strict=True):
        stored = work.features if cut_off else todo[work.subject.card.layer]
        _store(screen, log, _beginning(log, work, collection, cut_off), found, stored)
        told = replace(collection, features={feature: collection.features[feature] for feature in stored})
        layer = [("layer", str(work.subject.card.layer))] if len(works) > 1 else []
        screen.print(facts([*layer, *pass_lines(told)]))
    for one in sharded:
        forget(log, one)
    screen.print(facts(fault_lines(faults.sentences, faults.n)))
    if cut_off:
        raise CommandInterrupt(
            f"Stopped after {collected[0][0].n_tokens:,} of {wanted.tokens:,} tokens. What they gave is in the log, as "
            "a corpus of its own; the same command reads everything anew."
        )
    screen.print(Text(_next_step(config)))


def _beginning(log: RunLog, work: SubjectFeatures, collection: Collection, cut_off: bool) -> Callable[[], int]:
    """Returns what begins the corpus in the log; one that was cut off is a corpus of its own, since the same command is
    to read all that it asks for."""
    identity = work.identity
    if cut_off:
        settings = {**identity.settings, "stopped_after": collection.n_tokens}
        identity = identity.model_copy(update={"settings": settings})
    check = collection.check

    def begin() -> int:
        corpus_id = log.write(begin_corpus, identity).result()
        log.write(note_pass, corpus_id, collection.n_tokens, check.l0, check.explained_variance).result()
        return corpus_id

    return begin


def _pass(
    screen: Console, works: Sequence[SubjectFeatures], faults: CorpusFaults
) -> tuple[list[tuple[Collection, Iterator[FeatureHarvest]]], bool]:
    """Passes over the corpus; returns what was collected of each SAE, and whether Ctrl-C cut it off.

    It reads for all features that were asked for, those that the log has from an earlier command too: texts on which a
    feature is not active are chosen beside the others, and are to be the same whether the command was cut off or not.
    """
    config = works[0].config
    wanted = config.examples
    settings, embed = collect_settings(config), embed_of(config)
    texts = documents(wanted.corpus, faults, wanted.text_key, config.seed)
    with ExitStack() as stack:
        workers = stack.enter_context(pass_workers(screen, config, works[0].subject)) if len(works) == 1 else None
        stops = stack.enter_context(stoppable(lambda: screen.print(Text(_STOPPING))))
        shown = ExamplesScreen(screen, stack.enter_context(bars(screen)), wanted.tokens, stops)
        read = [(work.subject, work.features) for work in works]
        collected = harvest_all(read, texts, settings, shown, embed, workers)
        if stops() and not collected[0][0].n_tokens:
            raise CommandInterrupt(_NOTHING_KEPT)
        return collected, stops()


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
    identity = identity_of(config, subject, name, {"path": name} | _unit("length"))
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
    how: dict[str, object] = {"path": str(path), "content": content_of(files_in(path, "")), **similarity(config)}
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

    Texts on which a feature is not active are chosen among those of the others: stored one by one, a command that is
    cut off and run again could choose among fewer.
    """
    identity = identity_of(config, subject, reading.source, how | _unit(reading.unit))
    own, unit = in_own_unit(subject, reading.features, reading.unit)
    found = imported(subject, own, config.seed, embed_of(config))
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
    return f"Labels of this subject can be scored on them: interpret score {options_of(config.log, config.subject)}"
