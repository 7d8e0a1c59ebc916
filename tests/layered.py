"""A tiny model with an SAE at each of its layers, in folders; and the options that name them."""

from pathlib import Path

import torch

from tests.subjects import D_MODEL, LAYERS, sae_config, write_model, write_sae

N_FEATURES = 6 * D_MODEL


def layered_options(folder: Path) -> list[str]:
    """Each SAE reads both directions of each axis, with a threshold of its own; its other features never fire."""
    torch.manual_seed(0)
    axes = torch.eye(D_MODEL)
    rows = torch.cat([axes, -axes, torch.randn(N_FEATURES - 2 * D_MODEL, D_MODEL)])
    for layer in range(LAYERS):
        metadata = {"model_name": "tiny", "hook_name": f"blocks.{layer}.hook_resid_post", "prepend_bos": True}
        write_sae(
            folder / f"sae-{layer}",
            sae_config(d_sae=N_FEATURES, metadata=metadata),
            W_enc=rows.T.contiguous(),
            W_dec=rows,
            b_enc=torch.cat([torch.full((2 * D_MODEL,), -0.01 * layer), torch.full((4 * D_MODEL,), -1e6)]),
            b_dec=torch.zeros(D_MODEL),
        )
    return ["--model", str(write_model(folder / "model")), "--device", "cpu", "--sae", str(folder / "sae-{layer}")]
