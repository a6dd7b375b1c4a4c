"""Modules for gradients that are clipped sample by sample, and the way by which each gets them."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  # its usual name
from torch import nn

Tensor = torch.Tensor
TOKENS: Final = 7
TOGETHER, AT_ONCE, IN_TURN = "together", "alone_at_once", "alone_in_turn"


class Case(NamedTuple):
    """How to make a module that scores three classes, the shape of a sample, and the way it goes."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    way: str = TOGETHER
    tokens: bool = False
    """Whether samples are whole numbers below `TOKENS`."""


class Composed(nn.Module):
    """Layers, and what is done with them."""

    def __init__(self, forward: Callable[[Any, Tensor], Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layers, x)


class Positions(nn.Module):
    """Has a parameter of its own, outside every layer."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.head = nn.Parameter(torch.randn(5, 6)), nn.Linear(30, 3)

    def forward(self, x: Tensor) -> Any:
        return self.head((x + self.places).flatten(1))


class Tempered(nn.Module):
    """Has a parameter that is a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.temperature = nn.Linear(6, 3), nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Any:
        return self.head(x) / self.temperature


class TiedTable(nn.Module):
    """Looks words up in the table that scores them, too."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.scores = nn.Embedding(TOKENS, 4), nn.Linear(4, TOKENS, bias=False)
        self.scores.weight = self.table.weight

    def forward(self, x: Tensor) -> Any:
        return self.scores(torch.tanh(self.table(x)).mean(1))


def headed(*layers: nn.Module, inputs: int) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs, 3))


def last_state(layer: nn.Module, *, width: int = 4, transposed: bool = False) -> nn.Module:
    def forward(layers: Any, x: Tensor) -> Tensor:
        out = layers[0](x.transpose(0, 1) if transposed else x)[0]
        return layers[1](out[-1] if transposed else out[:, -1])  # type: ignore[no-any-return]  # of a ModuleList

    return Composed(forward, layer, nn.Linear(width, 3))


def masked_attention(layers: Any, x: Tensor) -> Any:
    causal = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
    padding = (x[..., 0] > 0.5) & (torch.arange(5) > 0)
    return layers[1](layers[0](x, x, x, attn_mask=causal, key_padding_mask=padding)[0].flatten(1))


def packed(layers: Any, x: Tensor) -> Any:
    lengths = torch.full((len(x),), 5)
    sequences = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
    return layers[1](layers[0](sequences)[1][0])


def decoder() -> nn.Module:
    layer = nn.TransformerDecoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
    return Composed(lambda m, x: m[1](m[0](x[:, :3], x).mean(1)), nn.TransformerDecoder(layer, 1), nn.Linear(6, 3))


def sequence_first_encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0)
    encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    return Composed(lambda m, x: m[1](m[0](x.transpose(0, 1)).mean(0)), encoder, nn.Linear(6, 3))


ZOO: Final[dict[str, Case]] = {
    "conv1d": Case(
        lambda: headed(nn.Conv1d(4, 6, 3, stride=2, dilation=2, padding=1, groups=2), nn.ReLU(inplace=True), inputs=24),
        (4, 9),
    ),
    "conv2d": Case(
        lambda: headed(
            nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0)),
            nn.ReLU(inplace=True),
            nn.Conv2d(4, 3, 2, padding="same", padding_mode="circular"),
            inputs=36,
        ),
        (2, 6, 5),
    ),
    "depthwise": Case(
        lambda: headed(nn.Conv2d(4, 8, 3, groups=4, bias=False), nn.Conv2d(8, 3, 1), inputs=27), (4, 5, 5)
    ),
    "few positions": Case(
        lambda: headed(nn.Conv2d(1, 16, 2, stride=2), nn.Tanh(), nn.Conv2d(16, 64, 2), inputs=256), (1, 6, 6)
    ),
    "conv3d": Case(lambda: headed(nn.Conv3d(2, 3, 2, padding=1), nn.Tanh(), inputs=240), (2, 3, 3, 4)),
    "norms": Case(
        lambda: headed(
            nn.Conv2d(2, 4, 2),
            nn.InstanceNorm2d(4, affine=True),
            nn.GroupNorm(2, 4),
            nn.LayerNorm((4, 4, 4)),
            inputs=64,
        ),
        (2, 5, 5),
    ),
    "last norms": Case(lambda: headed(nn.Linear(6, 8), nn.LayerNorm(8), nn.RMSNorm(8), inputs=40), (5, 6)),
    "sequence": Case(
        lambda: headed(nn.Linear(6, 99), nn.Tanh(), nn.Linear(99, 90), nn.Linear(90, 2), inputs=10), (5, 6)
    ),
    "called twice": Case(
        lambda: Composed(lambda m, x: m[1](m[0](torch.tanh(m[0](x)))), nn.Linear(6, 6), nn.Linear(6, 3)), (6,)
    ),
    "lstm": Case(
        lambda: last_state(nn.LSTM(6, 4, num_layers=2, bidirectional=True, batch_first=True), width=8), (5, 6)
    ),
    "gru": Case(lambda: last_state(nn.GRU(6, 4, num_layers=2, bias=False, batch_first=True)), (5, 6)),
    "rnn": Case(lambda: last_state(nn.RNN(6, 4, nonlinearity="relu", batch_first=True)), (5, 6)),
    "sequence-first lstm": Case(lambda: last_state(nn.LSTM(6, 4), transposed=True), (5, 6)),
    "masked attention": Case(
        lambda: Composed(masked_attention, nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(30, 3)), (5, 6)
    ),
    "decoder": Case(decoder, (5, 6)),
    "embedding": Case(lambda: headed(nn.Embedding(TOKENS, 4, padding_idx=0), inputs=20), (5,), tokens=True),
    "tied table": Case(TiedTable, (5,), tokens=True),
    "single number": Case(Tempered, (6,), AT_ONCE),
    "own parameter": Case(Positions, (5, 6), AT_ONCE),
    "weight outside its layer": Case(
        lambda: Composed(
            lambda m, x: m[1](F.linear(torch.tanh(m[0](x)), m[0].weight)), nn.Linear(6, 6), nn.Linear(6, 3)
        ),
        (6,),
        AT_ONCE,
    ),
    "weight made anew": Case(
        lambda: headed(nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)), nn.Tanh(), inputs=4), (6,), AT_ONCE
    ),
    "sequence-first encoder": Case(sequence_first_encoder, (5, 6), AT_ONCE),
    "transposed convolution": Case(lambda: headed(nn.ConvTranspose1d(2, 3, 2), inputs=15), (2, 4), AT_ONCE),
    "attention of two widths": Case(
        lambda: Composed(
            lambda m, x: m[1](m[0](x, x[..., :4], x[..., :4])[0].mean(1)),
            nn.MultiheadAttention(6, 2, kdim=4, vdim=4, batch_first=True),
            nn.Linear(6, 3),
        ),
        (5, 6),
        AT_ONCE,
    ),
    "packed": Case(lambda: Composed(packed, nn.GRU(6, 4, batch_first=True), nn.Linear(4, 3)), (5, 6), IN_TURN),
}
