"""A tiny model with an SAE at each of its layers, in folders; and the options that name them."""

from pathlib import Path

import torch

from tests.subjects import D_MODEL, LAYERS, sae_config, write_model, write_sae

N_FEATURES = 6 * D_MODEL


def layered_options(folder: Path) -> list[str]:
    """The options of a command for the SAEs of all layers; `--layers` is left to the test."""
    for layer in range(LAYERS):
        write_layer(folder / f"sae-{layer}", layer)
    return ["--model", str(write_model(folder / "model")), "--device", "cpu", "--sae", str(folder / "sae-{layer}")]


def write_layer(folder: Path, layer: int, width: int = D_MODEL) -> Path:
    """An SAE that reads both directions of each axis, with a threshold of its own; the others never activate."""
    torch.manual_seed(0)
    axes, n_never = torch.eye(width), 4 * width
    rows = torch.cat([axes, -axes, torch.randn(n_never, width)])
    metadata = {"model_name": "tiny", "hook_name": f"blocks.{layer}.hook_resid_post", "prepend_bos": True}
    return write_sae(
        folder,
        sae_config(d_in=width, d_sae=len(rows), metadata=metadata),
        W_enc=rows.T.contiguous(),
        W_dec=rows,
        b_enc=torch.cat([torch.full((2 * width,), -0.01 * layer), torch.full((n_never,), -1e6)]),
        b_dec=torch.zeros(width),
    )
