"""What stands in front of a text that the model reads."""

from probes.subject import Subject


def first_ids(subject: Subject) -> list[int]:
    """What stands in front of every text that the SAE reads: a BOS where it was trained with one.

    A tokenizer without a BOS takes its end-of-text token for it, as TransformerLens does, on which SAELens trains.
    """
    tokenizer = subject.tokenizer
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return [bos] if subject.sae.config.prepends_bos and bos is not None else []
