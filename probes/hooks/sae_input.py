"""Finds the factor of an SAE's input, if it was trained on activations of another size than the model has.

`auto` makes the mean length of what it reads sqrt(d_in), which is what SAELens trains on where it normalises at all
(expected_average_only_in); not every published SAE keeps the factor.
"""

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from probes.errors import SubjectError
from probes.hooks.activations import residual
from probes.presets import InputScale
from probes.sae import SAE
from probes.settings import AUTO
from probes.tokenizer.special_tokens import front_ids

PASSAGE = """The harbour was quiet when the first boats came back. Two men unloaded crates of fish while a woman with a
notebook counted them and wrote the numbers down. It had rained for most of the night, and the stones of the quay were
still wet. "Forty-one," she said, "that is six fewer than yesterday." Nobody answered. In the town above, the bakery
had been open since five, and the smell of bread drifted down the narrow street as far as the church. A school bus
stopped at the corner; its driver, who had worked in Norway until 2009, read the newspaper and waited for the last two
children. The article on the front page said that the government would change the tax on fuel again in spring."""
"""Ours; ordinary English."""
_TOKENS = 128
"""Of the passage, and no more: no model reads fewer at a time."""
_DIGITS = 3
"""Of the factor that is found: it is part of a run's identity, and other devices round otherwise."""


def resolve(asked: InputScale | None, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sae: SAE) -> float:
    """The factor that is asked for, found if it is auto, 1 if it is None; one that the SAE's files give is apart.

    Raises SubjectError for a factor that could change nothing, and where none can be found or must be given.
    """
    if asked is None:
        if sae.config.lacks_input_scale:
            raise SubjectError(
                "The SAE was trained on activations times a constant that its files do not tell; give it by "
                "--input-scale, or try --input-scale auto."
            )
        return 1.0
    if sae.config.normalization != "none":
        raise SubjectError(
            f"--input-scale {asked} would change nothing: this SAE brings every input to one size itself "
            f"({sae.config.normalization}); leave it out."
        )
    return fitting_scale(model, tokenizer, sae) if asked == AUTO else float(asked)


@torch.inference_mode()
def fitting_scale(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sae: SAE) -> float:
    """sqrt(d_in) / mean |x|, over what the SAE reads of the passage.

    Its first token is left out: many models keep vectors of a hundred times the length there. Raises SubjectError.
    """
    ids = _ids(tokenizer, sae.config.prepends_bos).to(model.device)
    read = sae.normalised(residual(model, ids, sae.config.hook).float())
    length = float(read[0, 1:].norm(dim=-1).mean())
    if not 0 < length < float("inf"):
        raise SubjectError(
            f"The mean length of activations at {sae.config.hook} is {length}, to which no input scale fits; give "
            "--input-scale a number, or another --dtype."
        )
    return float(f"{sae.config.d_model**0.5 / length:.{_DIGITS}g}")


def _ids(tokenizer: PreTrainedTokenizerBase, prepends_bos: bool | None) -> Int[Tensor, "1 pos"]:
    front = front_ids(tokenizer, prepends_bos)
    return torch.tensor([[*front, *tokenizer.encode(PASSAGE, add_special_tokens=False)][:_TOKENS]])
