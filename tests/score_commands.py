"""What tests of `interpret examples` and `interpret score` share: a tiny subject in folders, labels without a run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from agent.log.examples import corpora_of, features_collected
from agent.log.labels import add_label
from agent.log.run_log import RunLog
from agent.log.runs import RunIdentity
from probes.presets import SubjectSource
from probes.subject import Subject, load_subject
from tests.logged import outcome
from tests.subjects import D_MODEL, sae_config, write_model

N_FEATURES = 6 * D_MODEL
LOG = Path("interpret.db")


def tiny_options(folder: Path) -> list[str]:
    """The options that name a tiny subject from folders: its SAE reads both directions of each axis, and the rest of
    its features never activate."""
    torch.manual_seed(0)
    axes, others = torch.eye(D_MODEL), torch.randn(N_FEATURES - 2 * D_MODEL, D_MODEL)
    rows = torch.cat([axes, -axes, others])
    never = torch.zeros(N_FEATURES)
    never[2 * D_MODEL :] = -1e6
    tensors = {"W_enc": rows.T.contiguous(), "W_dec": rows, "b_enc": never, "b_dec": torch.zeros(D_MODEL)}
    (folder / "sae").mkdir()
    (folder / "sae" / "cfg.json").write_text(json.dumps(sae_config(d_sae=N_FEATURES)))
    save_file(tensors, folder / "sae" / "sae_weights.safetensors")
    return ["--model", str(write_model(folder / "model")), "--sae", str(folder / "sae"), "--device", "cpu"]


def named(options: list[str]) -> Subject:
    """The subject that the options name."""
    return load_subject(SubjectSource(model=options[1], sae=options[3], device="cpu"))


def label(subject: Subject, labels: Mapping[int, str], settings: Mapping[str, Any] | None = None) -> None:
    """A run with these labels, without any probing."""
    identity = RunIdentity(subject=subject.card, settings={**(settings or {})}, explainer="by hand", templates={})
    with RunLog.open(LOG) as log:
        run_id = log.begin_run(identity, sorted(labels), new=True).run_id
        for feature, words in labels.items():
            log.write(add_label, run_id, outcome(feature, label=words, explanation="")).result()


def stored() -> dict[str, list[int]]:
    """The features of each corpus in the log, by its source."""
    with RunLog.open(LOG) as log:
        return {
            corpus.source: sorted(log.read(features_collected, corpus.corpus_id)) for corpus in log.read(corpora_of)
        }


def said(text: str) -> str:
    """On one line."""
    return " ".join(text.split())
