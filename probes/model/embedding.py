"""The geometry of an embedding matrix: its centroid, distances and principal components."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes.errors import SettingsError

_BLOCK_ROWS = 8192


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """The rows of an embedding matrix as stored, before any scaling the model applies; what is derived is kept."""

    rows: Float[Tensor, "vocab d_model"]
    """float32."""

    @cached_property
    def centroid(self) -> Float[Tensor, " d_model"]:
        """c, the mean of all rows."""
        return self.rows.mean(dim=0)

    @cached_property
    def row_norms(self) -> Float[Tensor, " vocab"]:
        norms: Tensor = torch.linalg.vector_norm(self.rows, dim=-1)
        return norms

    @property
    def is_row(self) -> Bool[Tensor, " vocab"]:
        """False for rows of zeros, which have no direction."""
        return self.row_norms > 0

    @cached_property
    def mean_distance(self) -> float:
        """Mean |E_t - c| over rows that are not zero."""
        distances = torch.cat([torch.linalg.vector_norm(block - self.centroid, dim=-1) for block in self._blocks()])
        return float(distances[self.is_row].mean())

    @cached_property
    def centroid_distances(self) -> Float[Tensor, " vocab"]:
        """1 - cos(c, E_t), not below 0; meaningless for rows of zeros."""
        products = self.rows @ self.centroid
        lengths: Tensor = self.row_norms * torch.linalg.vector_norm(self.centroid)
        return (1 - products / lengths.clamp(min=torch.finfo(torch.float32).tiny)).clamp(min=0)

    def components(self, k: int) -> Float[Tensor, "k d_model"]:
        """The k leading principal components of the rows, unit length, each one's largest-magnitude entry positive.

        Raises SettingsError where k is more than d_model.
        """
        if k > self.rows.shape[1]:
            raise SettingsError(f"{k} PCA weights are more than the {self.rows.shape[1]} dimensions of the embedding.")
        return self._components[:k] if k else self.rows[:0]  # the costly part only where it is asked for

    @cached_property
    def _components(self) -> Float[Tensor, "d_model d_model"]:
        # Through the d x d covariance in float64: the same answer every time, whatever the number of rows.
        device = torch.device("cpu") if self.rows.device.type == "mps" else self.rows.device  # MPS has no float64
        centroid = self.centroid.to(device).double()
        covariance = torch.zeros(len(centroid), len(centroid), dtype=torch.float64, device=device)
        for block in self._blocks():
            centred = block.to(device).double() - centroid
            covariance += centred.T @ centred
        vectors: Tensor = torch.linalg.eigh(covariance.cpu()).eigenvectors.T.flip(0)
        largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
        return (vectors * largest.sign()).float().to(self.rows.device)

    def _blocks(self) -> Iterator[Tensor]:
        return iter(torch.split(self.rows, _BLOCK_ROWS))
