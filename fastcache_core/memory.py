"""What is remembered of computed blocks, and predicting from it, for the branches that one model call is made of.

Streams come with the branches in equal parts along their rows; every branch keeps its own. Nothing that is handed out
is kept, nothing that was given is written into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .calls import BlockCall, Streams
from .config import FastCacheConfig
from .linear import LinearMap
from .predictors import Forecast, History, LinearHistory, Offset
from .profile import Profile
from .sites import Cut, Site
from .state import Branch, KeysValues
from .store import Store

IMAGE = "image"  # the stream that is kept where only image tokens matter
MEASURED_TOKENS = 1024  # of a sample: an error is a mean over so many numbers that more would not make it better


class Memory:
    """Keeps residuals and predicts. cut: the sites; device: where residuals are kept, None for where they are computed;
    profile: linear maps that were calibrated, or None."""

    def __init__(self, config: FastCacheConfig, cut: Cut, device: torch.device | None, profile: Profile | None = None):
        self.config, self.cut, self.device, self.profile = config, cut, device, profile
        self.store = Store(device)
        self._maps: dict[tuple[Site, str], LinearMap | None] = {}

    @property
    def predictor(self) -> str:
        """What `auto` stands for."""
        wanted = self.config.block_cache.predictor
        if wanted == "auto":
            calibrated = self.profile is not None and self.profile.linear and self.cut.level != "sublayer"
            return "linear" if calibrated else "extrapolate"
        return wanted

    @property
    def order(self) -> int:
        """How many differences of residuals are kept."""
        settings, schedule = self.config.block_cache, self.profile and self.profile.schedule
        fixed = settings.fixed_forecast
        if fixed is not None and self.predictor != "aligned":
            return 2 if fixed.second else int(fixed.first != 0)
        followed = settings.rule == "schedule" and settings.mask == "profile" and schedule
        return 2 if followed and any(second for _, second in schedule.factors or ()) else 1

    @property
    def serves(self) -> bool:
        """Whether static tokens serve as keys and values for the active ones."""
        return self.config.token_selector.context == "all_tokens"

    def kept(self, site: Site, call: BlockCall, streams: Streams) -> Streams:
        """The parts of a block's streams that are kept for this site, as views; a stream may have no tokens at all."""
        if not self.cut.image_only(site):
            return {name: h for name, h in streams.items() if h.numel()}
        name, span = call.image
        return {IMAGE: streams[name][:, span.start : span.stop]}

    def fits(self, branches: Sequence[Branch], site: Site, streams: Streams, anchor: int) -> bool:
        """Whether all branches have residuals that can be added to these (kept) streams, none older than the anchor."""
        if any(branch.computed_at.get(site, -1) < max(anchor, 0) for branch in branches):
            return False
        parts = {name: h.chunk(len(branches)) for name, h in streams.items()}
        pairs = [(branch.histories.get((site, name)), part[i])
                 for name, part in parts.items() for i, branch in enumerate(branches)]  # fmt: skip
        return all(history is not None and history.fits(h) for history, h in pairs)

    def predict(
        self, branches: Sequence[Branch], site: Site, streams: Streams, place: float, forecast: Forecast
    ) -> Streams:
        """What the site's last block would hand on, for (kept) streams that enter its first: new tensors."""
        return {name: self._predict(branches, site, name, h, place, forecast) for name, h in streams.items()}

    def _predict(
        self, branches: Sequence[Branch], site: Site, name: str, h: Tensor, place: float, forecast: Forecast
    ) -> Tensor:
        y, n = torch.empty_like(h, memory_format=torch.contiguous_format), len(branches)
        forecasts = of_each(forecast, n, len(h))
        for branch, part, each, out in zip(branches, h.chunk(n), forecasts, y.chunk(n), strict=True):
            branch.histories[site, name].predict(part, place, each, out)
        return y

    def offsets(
        self,
        branches: Sequence[Branch],
        site: Site,
        call: BlockCall,
        residuals: Streams,
        entries: Streams,
        place: float,
        forecast: Forecast,
    ) -> list[Offset]:
        """By how much predicting image tokens would have been off, for every branch, whose histories must fit.

        None of them where the image's size changed.
        """
        name, span = (IMAGE, None) if self.cut.image_only(site) else call.image
        if name not in residuals:
            return []
        tokens = call.tokens.shape[1]
        start, stop = (span.start, span.stop) if span else (0, tokens)
        rows = slice(start, stop, -(-tokens // MEASURED_TOKENS))
        n, whole = len(branches), residuals[name]
        parts = zip(branches, whole.chunk(n), entries[name].chunk(n), of_each(forecast, n, len(whole)), strict=True)
        return [
            branch.histories[site, name].offset(r, h, place, each, rows, call.parts) for branch, r, h, each in parts
        ]

    def offsets_of_rows(
        self,
        branches: Sequence[Branch],
        site: Site,
        name: str,
        rows: Tensor,
        residual: Tensor,
        entries: Tensor,
        counted: Tensor,
        place: float,
        forecast: Forecast,
    ) -> list[Offset]:
        """The same where some tokens were computed: rows [samples, k], residual and entries [samples, k, width], of
        which those count that `counted` [samples, k, 1] says."""
        n = len(branches)
        parts = zip(*(part.chunk(n) for part in (rows, residual, entries, counted)), strict=True)
        return [
            branch.histories[site, name].offset_of_rows(*part, place, each)
            for branch, part, each in zip(branches, parts, of_each(forecast, n, len(rows)), strict=True)
        ]

    def remember(
        self,
        branches: Sequence[Branch],
        site: Site,
        residuals: Streams,
        entries: Streams,
        place: float,
        evaluation: int,
    ) -> None:
        """Make these residuals the branches' newest. Takes the tensors over."""
        n = len(branches)
        for name, whole in residuals.items():
            for branch, residual, h in zip(branches, whole.chunk(n), entries[name].chunk(n), strict=True):
                branch.computed_at[site] = evaluation
                known = branch.histories.get((site, name))
                if known is not None and known.fits(residual):
                    known.remember(residual, place, h)
                else:
                    branch.histories[site, name] = self._history(site, name, residual, h, place)

    def _history(self, site: Site, name: str, residual: Tensor, h: Tensor, place: float) -> History:
        order = 0 if self.cut.is_probe(site) else self.order
        linear = None if self.cut.is_probe(site) else self._linear(site, name, h)
        if linear is None and (self.cut.is_probe(site) or not self._fits(site, name)):
            return History(residual, place, order, self.store)
        return LinearHistory(residual, place, order, self.store, h, linear)

    def _fits(self, site: Site, name: str) -> bool:
        """Whether a map is fitted while sampling, which takes the anchor's state; where calibration found that none
        explains anything, only if one is asked for."""
        return self.config.block_cache.predictor == "linear" and self._calibrated(site, name) is None

    def _calibrated(self, site: Site, name: str) -> LinearMap | None:
        used = self.profile is not None and self.predictor == "linear"
        return self.profile.linear.get((site.first, site.last, name)) if used else None

    def _linear(self, site: Site, name: str, h: Tensor) -> LinearMap | None:
        """The profile's map for this site, where h is."""
        if (site, name) not in self._maps:
            linear = self._calibrated(site, name)
            self._maps[site, name] = None if linear is None else linear.to(h.device, h.dtype)
        return self._maps[site, name]

    def remember_rows(
        self,
        branches: Sequence[Branch],
        site: Site,
        name: str,
        rows: Tensor,
        residual: Tensor,
        entries: Tensor,
        place: float,
        evaluation: int,
    ) -> None:
        """The same for some tokens: rows [samples, k], residual and entries [samples, k, width]."""
        parts = (part.chunk(len(branches)) for part in (rows, residual, entries))
        for branch, r, part, h in zip(branches, *parts, strict=True):
            branch.computed_at[site] = evaluation
            branch.histories[site, name].remember_rows(r, part, place, h)

    def keeps(self, branches: Sequence[Branch], call: BlockCall) -> bool:
        """Whether there are keys and values of all tokens of this block, if static ones serve as such."""
        return not self.serves or all((call.index, call.own_attention[0]) in branch.keys_values for branch in branches)

    def keeper(
        self, branches: Sequence[Branch], index: int, place: float
    ) -> Callable[[int, Tensor, Tensor, Tensor | None], None]:
        """A function that keeps the keys and values of all tokens of a block's attention call."""

        def keep(number: int, keys: Tensor, values: Tensor, mask: Tensor | None) -> None:
            n = len(branches)
            masks = [mask] * n if mask is None or len(mask) == 1 else mask.chunk(n)
            for branch, k, v, m in zip(branches, keys.chunk(n), values.chunk(n), masks, strict=True):
                known = branch.keys_values.get((index, number))
                if known is not None and known.fits(k, v):
                    known.remember(k, v, place, m)
                else:
                    branch.keys_values[index, number] = KeysValues(k, v, place, m, min(self.order, 1), self.store)

        return keep

    def server(
        self, branches: Sequence[Branch], call: BlockCall, rows: dict[str, Tensor], place: float, forecast: Forecast
    ) -> Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor, Tensor | None]]:
        """A function that puts the keys and values of some tokens in place and returns those of all."""

        def serve(number: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
            n = len(branches)
            kept = [branch.keys_values[call.index, number] for branch in branches]
            parts = (part.chunk(n) for part in (rows[call.attends[number]], keys, values))
            for table, r, k, v in zip(kept, *parts, strict=True):
                table.remember_rows(r, k, v, place)
            forecasts = of_each(forecast, n, len(keys))
            served = [table.at(place, each, keys.device) for table, each in zip(kept, forecasts, strict=True)]
            whole = served[0] if n == 1 else [torch.cat(parts) for parts in zip(*served, strict=True)]
            masks = [table.mask for table in kept]
            samples = len(keys) // n
            kept_too = all(mask is not None for mask in masks)
            mask = torch.cat([mask.expand(samples, -1, -1, -1) for mask in masks]) if kept_too else None
            return whole[0], whole[1], mask

        return serve

    def planned_bytes(self, call: BlockCall, branches: int, selecting: bool) -> int:
        """What will be kept for one conditioning at the present level; `call` is one of `branches` conditionings."""
        names = {site: (IMAGE,) if self.cut.image_only(site) else call.streams for site in self.cut.sites}
        anchors = any(self._fits(site, name) for site, streams in names.items() for name in streams)
        copies = 1 + self.order + anchors
        whole = sum(h.nbytes for h in call.streams.values()) // branches
        tokens = call.tokens
        image = tokens.numel() * tokens.element_size() // branches
        image_only = 1 + self.cut.probe
        residuals = copies * (image_only * image + max(0, len(self.cut.sites) - image_only) * whole)
        if not selecting or not self.serves:
            return residuals
        attentions = len(self.cut.at) * len(call.own_attention)
        return residuals + 2 * (1 + min(self.order, 1)) * image // tokens.shape[1] * call.sequence.length * attentions


def of_each(forecast: Forecast, branches: int, rows: int) -> list[Forecast]:
    """A call's forecast for each of its branches, whose first factor may be for every sample, or for every row."""
    first = forecast.first
    if branches == 1 or not isinstance(first, Tensor) or len(first) < rows:
        return [forecast] * branches
    return [forecast._replace(first=part) for part in first.chunk(branches)]
