"""How the towers and the content profile enter the hybrid: as user encoders of its members."""

from dataclasses import dataclass

from m6rec.kernels.content import ContentEncoder
from m6rec.kernels.members import UserBlock
from m6rec.kernels.rows import Float32
from m6rec.towers.encoder import TowerEncoder


@dataclass(frozen=True)
class TowerUserEncoder:
    """User embeddings of one pair of towers."""

    towers: TowerEncoder

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, rank + 1]."""
        features = block.features if block.features.shape[1] else None
        return self.towers.encode_users(block.rows, features)


@dataclass(frozen=True)
class ContentUserEncoder:
    """Users' profiles of the content of their items."""

    content: ContentEncoder

    def encode(self, block: UserBlock) -> Float32:
        """float32 [n, content]."""
        return self.content.encode(block.rows, block.content if block.content.shape[1] else None)
