"""The decoder as a user of PyTorch writes it: a static cache, `scaled_dot_product_attention`, compiled, in a graph."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from gpu_worker import (
    BATCH,
    BATCHES,
    CHECKED,
    HIDDEN,
    LAYERS,
    LENGTH,
    TOKENS,
    WIDTH,
    WINDOWS,
    least,
    must_be_close,
    out_of_memory,
    row,
)  # fmt: skip
from torch import Tensor, nn

HEADS, UNITS = WIDTH // 64, 64


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.norm2 = nn.RMSNorm(WIDTH, eps=1e-6), nn.RMSNorm(WIDTH, eps=1e-6)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 2 * HIDDEN, bias=False), nn.Linear(HIDDEN, WIDTH, bias=False)

    def forward(self, x: Tensor, attend) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, t, 3, HEADS, UNITS).permute(2, 0, 3, 1, 4)
        x = x + self.out(attend(q, k, v).transpose(1, 2).reshape(b, t, WIDTH))
        feature, gate = self.up(self.norm2(x)).chunk(2, dim=-1)
        return x + self.down(feature * F.silu(gate))


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Positions `(time,)` for `(batch, heads, time, units)`."""
    half = UNITS // 2
    frequencies = 1e4 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = positions[:, None].float() * frequencies
    sine, cosine = angles.sin(), angles.cos()
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1).to(x.dtype)


class Decoder(nn.Module):
    def __init__(self, layers: int):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Of whole sequences, with all of the past: what PyTorch has a fused kernel for."""
        positions = torch.arange(x.shape[1], device=x.device)

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            q, k = rotate(q, positions), rotate(k, positions)
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

        for block in self.blocks:
            x = block(x, attend)
        return x


class Step(nn.Module):
    """A token of the decoder. Its caches hold `window` entries; `full` ones need no mask."""

    def __init__(self, decoder: Decoder, batch: int, window: int, full: bool):
        super().__init__()
        self.blocks, self.window, self.full = decoder.blocks, window, full
        for i in range(len(self.blocks)):
            for name in 'kv':
                zeros = torch.zeros(batch, HEADS, window, UNITS, device='cuda', dtype=torch.bfloat16)
                self.register_buffer(f'{name}{i}', zeros)
        self.register_buffer('now', torch.zeros(1, device='cuda', dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        slot = self.now % self.window
        mask = None if self.full else torch.arange(self.window, device=x.device)[None] <= self.now
        for i, block in enumerate(self.blocks):

            def attend(q: Tensor, k: Tensor, v: Tensor, i: int = i) -> Tensor:
                keys, values = getattr(self, f'k{i}'), getattr(self, f'v{i}')
                keys.index_copy_(2, slot, rotate(k, self.now))
                values.index_copy_(2, slot, v)
                return F.scaled_dot_product_attention(rotate(q, self.now), keys, values, attn_mask=mask)

            x = block(x, attend)
        self.now += 1
        return x


class OfPyTorch:
    def versions(self) -> dict:
        return {'library': f'PyTorch {torch.__version__}', 'device': torch.cuda.get_device_name()}

    def _decoder(self, layers: int) -> Decoder:
        torch.manual_seed(0)
        return Decoder(layers).to('cuda', torch.bfloat16)

    @torch.no_grad()
    def check(self, path: Path) -> None:
        decoder = self._decoder(CHECKED['layers'])
        with np.load(path) as stored:
            wanted = {key: stored[key] for key in ('layer', 'step')}
            load(decoder, {key: stored[key] for key in stored if key not in wanted})
        values = np.random.default_rng(0).normal(size=(2, 24, WIDTH))
        x = torch.tensor(values, device='cuda').to(torch.bfloat16)
        step = Step(decoder, 2, CHECKED['window'], full=False)
        steps = [step(x[:, i : i + 1]) for i in range(x.shape[1])]
        must_be_close('pytorch', 'step', torch.cat(steps, 1).float().cpu().numpy(), wanted['step'])
        # As a layer it sees all of the past, so that only the first window is the same.
        first = CHECKED['window']
        must_be_close('pytorch', 'layer', decoder(x).float().cpu().numpy()[:, :first], wanted['layer'][:, :first])

    @torch.no_grad()
    def decode(self) -> None:
        decoder = self._decoder(LAYERS)
        for batch in BATCHES:
            for window in WINDOWS:
                at = {'batch': batch, 'window': window}
                with out_of_memory('decode', 'pytorch', **at):
                    row('decode', 'pytorch', **at, milliseconds=self._decode(decoder, batch, window))
                torch._dynamo.reset()
                torch.cuda.empty_cache()

    def _decode(self, decoder: Decoder, batch: int, window: int) -> float:
        step = torch.compile(Step(decoder, batch, window, full=True), dynamic=False)
        x = torch.randn(batch, 1, WIDTH, device='cuda', dtype=torch.bfloat16)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                step(x)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            x.copy_(step(x))

        def run() -> None:
            for _ in range(TOKENS):
                graph.replay()
            torch.cuda.synchronize()

        return least(run) / TOKENS

    def layer(self) -> None:
        x = torch.randn(BATCH, LENGTH, WIDTH, device='cuda', dtype=torch.bfloat16)
        self._forward_and_gradient('layer', torch.compile(self._decoder(LAYERS)), x, 'compiled, all of the past')

    def mixers(self) -> None:
        x = torch.randn(BATCH, LENGTH, WIDTH, device='cuda')
        lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True).cuda()
        self._forward_and_gradient('mixers', lambda x: lstm(x)[0], x, 'lstm', lstm.parameters())

    def _forward_and_gradient(self, table: str, model, x: Tensor, variant: str, parameters=None) -> None:
        parameters = list(model.parameters() if parameters is None else parameters)

        def forward() -> None:
            with torch.no_grad():
                model(x)
            torch.cuda.synchronize()

        def gradient() -> None:
            torch.autograd.grad((model(x).float() ** 2).mean(), parameters)
            torch.cuda.synchronize()

        for what, run in (('forward', forward), ('gradient', gradient)):
            torch.cuda.reset_peak_memory_stats()
            milliseconds = least(run)
            gigabytes = torch.cuda.max_memory_allocated() / 1e9
            at = {'variant': variant, 'pass': what}
            row(table, 'pytorch', **at, milliseconds=milliseconds, gigabytes=gigabytes)


def load(decoder: Decoder, weights: dict[str, np.ndarray]) -> None:
    """The weights of the other libraries, which stand in stacks, one entry a layer."""

    def find(*parts: str) -> np.ndarray:
        (key,) = [key for key in weights if all(part in key for part in parts)]
        return weights[key]

    def put(linear: nn.Linear, kernel: np.ndarray) -> None:
        linear.weight.copy_(torch.tensor(kernel.reshape(linear.in_features, -1).T))

    attention, feed_forward = names(weights)
    for i, block in enumerate(decoder.blocks):
        block.norm.weight.copy_(torch.tensor(find(attention, 'scale')[i]))
        block.norm2.weight.copy_(torch.tensor(find(feed_forward, 'scale')[i]))
        put(block.qkv, find('query_key_value_projection')[i])
        put(block.out, find(attention, f'{attention}layers_2/kernel')[i])
        put(block.up, find(f'{feed_forward}layers_1/kernel')[i])
        put(block.down, find(f'{feed_forward}layers_3/kernel')[i])


def names(weights: dict) -> tuple[str, str]:
    """Where attention and feed-forward stand in the names of weights."""
    (qkv,) = [key for key in weights if 'query_key_value_projection' in key]
    attention = qkv.split('layers_1/query_key_value_projection')[0]
    return attention, attention.replace('layers_0', 'layers_1')
