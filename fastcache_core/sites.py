"""Sites: what is predicted at once. A level says how the model's blocks are cut into sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .config import FastCacheConfig
from .profile import Profile
from .schedule import Schedule

BY_ONE = ("sublayer", "block")  # levels at which every block, or what stands for one, is a site of its own
SPANS = 4  # of a list of like blocks
STEP_DOWN = {"block": "span", "span": "stack"}  # levels that need less memory


@dataclass(frozen=True)
class Site:
    """Blocks first..last. ends: whether nothing but the model's head comes after them.

    The head reads image tokens only, so at such a site nothing else has to be predicted.
    """

    first: int
    last: int
    ends: bool

    @property
    def blocks(self) -> range:
        return range(self.first, self.last + 1)


def is_of_the_whole_model(config: FastCacheConfig, profile: Profile | None) -> bool:
    """Whether the level `auto` is `model_output` where a model can be predicted as a whole.

    It is unless something is said of blocks or tokens: about as good as `stack` where it was measured
    (docs/benchmarks.md), with far less kept. Not where the sampler adds noise, which the host knows.
    """
    settings = config.block_cache
    of_blocks = settings.predictor == "linear" or settings.block_thresholds.strip()
    if settings.level != "auto" or of_blocks or config.token_selector.highest_threshold > 0:
        return False
    if settings.rule == "schedule" and settings.mask == "profile":
        return profile is not None and profile.schedule is not None and profile.schedule.whole
    return settings.rule == "significance" and profile is None


def level_of(config: FastCacheConfig, separate: str | None, mask: Schedule | None = None) -> str:
    """The level of blocks that `auto` stands for, where it is not the whole model.

    separate: why blocks must not be predicted together, or None. mask: what the rule `schedule` follows.
    """
    wanted = config.block_cache.level
    if separate and wanted not in ("model_output", "sublayer"):
        return "block"
    if wanted == "auto":
        apart = config.block_cache.block_thresholds.strip() or (mask is not None and mask.tells_blocks_apart)
        return "block" if apart else "stack"
    return wanted


class Cut:
    """The sites of a model at one level. lists: (first, last) of each list of like blocks; probe: whether the first
    block is a site of its own, computed at every evaluation; joined: whether lists follow each other and then the head,
    without which a stack ends with its list."""

    def __init__(self, lists: Sequence[tuple[int, int]], level: str, probe: bool = False, joined: bool = True):
        self.lists, self.probe, self.joined = list(lists), probe, joined
        self.level = level
        self.sites: list[Site] = []
        self.at: dict[int, Site] = {}
        self.cut(level)

    def cut(self, level: str) -> None:
        """Cut the blocks anew; what was kept for sites that are no more is no longer found."""
        self.level = level
        end = self.lists[-1][1]
        ranges = self._ranges(level)
        if self.probe and ranges[0] != (0, 0):
            ranges = [(0, 0), (1, ranges[0][1]), *ranges[1:]]
        self.sites = [Site(first, last, self.joined and last == end) for first, last in ranges]
        self.at = {block: site for site in self.sites for block in site.blocks}

    def _ranges(self, level: str) -> list[tuple[int, int]]:
        first, end = self.lists[0][0], self.lists[-1][1]
        if level in BY_ONE:
            return [(block, block) for block in range(first, end + 1)]
        if level == "span":
            return [span for block_list in self.lists for span in spans(*block_list)]
        return [(first, end)] if self.joined else list(self.lists)

    def is_probe(self, site: Site) -> bool:
        return self.probe and site == self.sites[0]

    def image_only(self, site: Site) -> bool:
        """Whether text and other tokens beside the image's need not be kept for a site."""
        return site.ends or self.is_probe(site)

    @property
    def predictable(self) -> list[Site]:
        """The sites about which decisions are taken."""
        return self.sites[1:] if self.probe else self.sites


def spans(first: int, last: int) -> list[tuple[int, int]]:
    """The list cut into SPANS parts, as equal as they can be; a shorter list into its blocks."""
    n = last - first + 1
    edges = [first + n * i // min(SPANS, n) for i in range(min(SPANS, n) + 1)]
    return [(a, b - 1) for a, b in zip(edges, edges[1:], strict=False)]
