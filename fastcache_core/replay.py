"""What other thresholds would have skipped: a report's measurements, decided about once more.

The engine's own functions decide (policies.py, significance.py, tokens.py); only what they look at is taken from the
report. At the thresholds of the run the answer is what the run did. At others it is an estimate, because a model that
skips more sees other states, in three ways:

- the error of predicting a site grows with the change as the statistics say, error = d * change^p, and the difficulty d
  of an evaluation in which nothing was measured, since it was predicted, lies between its neighbours';
- the entry state moves from one evaluation to the next as it did;
- the saliency of a token grows with the square of the way that the state has come since the token was computed.

web/lib/whatif.mjs does the same in the browser; a test compares the two.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .config import BlockCacheConfig, TokenSelectorConfig
from .decisions import advance_sites, site_facts
from .policies import Facts, SiteFacts, reasons_to_compute
from .records import SALIENCY_SCALE
from .report import SCHEMA
from .significance import EXPONENT, TINY
from .sites import Site
from .state import Lead
from .thresholds import HIGHEST
from .tokens import choose_active

TOLD = ("significance", "change", "first_block")  # rules that can decide once more by what reports tell
# By so little what was computed comes before what a report says changed as much, or not at all.
TIE, NEXT_TO_NOTHING = 1e-6, 1e-30
ANY = Facts(index=0, ending=0, in_window=True)  # what is forced is known from the report


@dataclass(frozen=True)
class Replayed:
    """computed [evaluations][blocks]: fraction of tokens that would have been computed, and of all work.

    errors: estimated error of every evaluation, relative to the blocks' work, None where it cannot be told. masks
    [samples, tokens] of every evaluation, None without token selector. left: of every evaluation, relative change of
    the tokens that would not have been computed, though their blocks.
    """

    computed: list[list[float]]
    computed_fraction: float
    errors: list[float | None]
    masks: list[Tensor] | None
    left: list[float]


def why_not(report: dict[str, Any]) -> str | None:
    """Why a report cannot be replayed, in a sentence, or None."""
    if report.get("schema") != SCHEMA:
        return f"The report has the schema {report.get('schema')!r}, this reads {SCHEMA!r}."
    if "step" not in report or "token_warmup" not in report["run"]:
        return "This report lacks what is needed: the run did not end, or an older version made it."
    if not sum(report["evaluation_work"]):
        return "The run skipped nothing and measured nothing."
    if report["run"]["views"] > 1:
        return "Parts of the picture (areas, context windows) were decided about apart, which a report does not tell."
    if report["run"]["rule"] not in TOLD:
        rules = f"{', '.join(TOLD[:-1])} and {TOLD[-1]}; this run's was {report['run']['rule']}"
        return f"What other thresholds would have skipped can be told for the rules {rules}."
    if report["run"]["tokens_selected"] and report["tokens"]["saliency"] is None:
        return "The changes of tokens were not recorded, because there are too many of them."
    return None


def replay(
    report: dict[str, Any], block_threshold: float | None = None, token_threshold: float | None = None
) -> Replayed:
    """What these thresholds would have skipped, None for those of the run; ValueError where that cannot be told.

    Factors that a threshold had along the schedule stay what they were.
    """
    problem = why_not(report)
    if problem is None and token_threshold and report["tokens"]["saliency"] is None:
        problem = "No tokens were selected in this run, so that their changes were not recorded."
    if problem is not None:
        raise ValueError(problem)
    return _Replay(report, scaled(report, "block", block_threshold), scaled(report, "token", token_threshold)).run()


def scaled(report: dict[str, Any], kind: str, threshold: float | None) -> list[float]:
    """The thresholds of all evaluations, if the one they follow had been another; None: as they were."""
    then, held = report["run"][f"{kind}_threshold"], report["thresholds"][kind]
    if kind == "token" and report["tokens"]["saliency"] is None:
        return [0.0] * len(held)  # they cannot be selected here
    if threshold is None:
        return [value or 0.0 for value in held]
    factors = [value / then if value and then else float(not then) for value in held]
    return [min(threshold * factor, HIGHEST) for factor in factors]


class _Replay:
    def __init__(self, report: dict[str, Any], block_thresholds: list[float], token_thresholds: list[float]):
        run = report["run"]
        self.report = report
        self.sites = [Site(first, last, ends=False) for first, last in run["sites"]]
        self.alpha, skips = run["alpha"], run["max_consecutive_skips"]
        self.block_cache = [
            BlockCacheConfig(threshold, run["rule"], self.alpha, max_consecutive_skips=skips)
            for threshold in block_thresholds
        ]
        self.own = {block: own for block, own in enumerate(run["own_thresholds"]) if own is not None}
        self.wanted = self.kept = False  # keys and values, from when some token is to rest on
        self.restarts = set(run["restarts"])
        # Reports of earlier versions know no weights.
        self.weights = [
            1.0 if weight is None else weight for weight in report.get("weight", [None] * len(report["step"]))
        ]
        self.difficulty = [self._difficulty(site) for site in self.sites]
        self.sizes = [between([row[site.first] for row in report["size"]]) for site in self.sites]
        self.tokens = _Tokens(report, token_thresholds) if any(token_thresholds) else None

    def run(self) -> Replayed:
        """Evaluation by evaluation, as the engine's loop goes."""
        lead, computed, errors, masks, left = Lead(None, None), [], [], [], []
        for evaluation, (step, forced) in enumerate(zip(self.report["step"], self.report["forced"], strict=True)):
            lead.travelled += step or 0.0
            selected = self.tokens.selected(evaluation, lead.travelled) if self.tokens else None
            if evaluation in self.restarts:  # other sites from here on, with nothing to predict from yet
                lead.sites.clear()
            facts = site_facts(lead, self.sites, step, self.alpha, self.own, self.weights[evaluation])
            predicted = self._predicted(evaluation, facts, forced is not None)
            mask = None if self.tokens is None or self.tokens.whole[evaluation] else selected
            self.wanted |= selected is not None and not bool(selected.all())
            whole = mask is None or not self.kept
            fraction = 1.0 if whole else int(mask.sum(dim=1).amax()) / mask.shape[1]
            advance_sites(lead, evaluation, dict(zip(self.sites, predicted, strict=True)))
            if self.tokens:
                masks.append(self.tokens.advance(evaluation, lead.travelled, mask, all(predicted)))
                left.append(0.0 if all(predicted) or not self.kept else self.tokens.left(masks[-1]))
            self.kept = self.kept or (self.wanted and not all(predicted))
            computed.append(self._row(predicted, fraction))
            errors.append(self._error(evaluation, facts, predicted))
            self._learn(lead, evaluation, facts, predicted)
        return Replayed(computed, self._work(computed), errors, masks or None, left)

    def _predicted(self, evaluation: int, facts: Sequence[SiteFacts], forced: bool) -> list[bool]:
        if forced:
            return [False] * len(facts)
        return [why is None for why in reasons_to_compute(ANY, facts, self.block_cache[evaluation])]

    def _row(self, predicted: Sequence[bool], fraction: float) -> list[float]:
        row = [1.0] * len(self.report["blocks"])
        for site, skipped in zip(self.sites, predicted, strict=True):
            for block in site.blocks:
                row[block] = 0.0 if skipped else fraction
        return row

    def _work(self, computed: list[list[float]]) -> float:
        """Tokens other than the image's are computed where any are."""
        fraction, image = np.array(computed), np.array(self.report["image_share"])
        done = np.where(fraction > 0, 1 - image * (1 - fraction), 0.0) * np.array(self.report["work"])
        return float(done.sum(axis=1) @ np.array(self.report["evaluation_work"]))

    def _error(self, evaluation: int, facts: Sequence[SiteFacts], predicted: Sequence[bool]) -> float | None:
        total = 0.0
        for known, skipped, difficulty in zip(facts, predicted, self.difficulty, strict=True):
            if skipped:
                if difficulty[evaluation] is None:
                    return None
                total += known.share * math.exp(difficulty[evaluation]) * max(known.change, TINY) ** EXPONENT
        return total

    def _learn(self, lead: Lead, evaluation: int, facts: Sequence[SiteFacts], predicted: Sequence[bool]) -> None:
        for i, (site, known) in enumerate(zip(self.sites, facts, strict=True)):
            difficulty = self.difficulty[i][evaluation]
            if not predicted[i] and known.change and difficulty is not None:
                lead.sites[site].size = self.sizes[i][evaluation]
                lead.sites[site].errors.update(math.exp(difficulty) * known.change**EXPONENT, known.change)

    def _difficulty(self, site: Site) -> list[float | None]:
        """log(error / change^p) of every evaluation; None where the site was computed and nothing could be measured."""
        rows = [[row[site.first] for row in self.report[key]] for key in ("error_realised", "change", "computed")]
        known = [
            math.log(max(error, TINY)) - EXPONENT * math.log(change) if error is not None and change else None
            for error, change, _ in zip(*rows, strict=True)
        ]
        pairs = zip(known, between(known), rows[2], strict=True)
        return [guess if value is None and computed < 1 else value for value, guess, computed in pairs]


class _Tokens:
    """The token selector once more: the run's own thresholds tell where the tokens' changes were counted from."""

    def __init__(self, report: dict[str, Any], thresholds: list[float]):
        run, tokens = report["run"], report["tokens"]
        self.whole = [e < run["token_warmup"] or forced is not None for e, forced in enumerate(report["forced"])]
        self.rested = [not any(row) for row in report["computed"]]
        shape, then = (tokens["samples"], math.prod(tokens["grid"])), scaled(report, "token", None)
        rows = zip(tokens["saliency"]["values"], then, tokens["computed"], strict=True)
        self.saliency = [told_apart(unpacked(value, threshold, shape), done) for value, threshold, done in rows]
        bounds = run["min_active"], run["max_active"], run["refresh_interval"]
        self.now, self.then = (
            _Path([TokenSelectorConfig(threshold, *bounds) for threshold in each], shape) for each in (thresholds, then)
        )
        self.changed = torch.zeros(shape)

    def selected(self, evaluation: int, travelled: float) -> Tensor | None:
        """The tokens [samples, tokens] that would be computed if any block is; None where nothing was recorded."""
        then = self.saliency[evaluation]
        if then is None or self.now.configs[evaluation].threshold == 0:
            self.changed = torch.zeros_like(self.changed)
            return None
        way, way_then = travelled - self.now.since, travelled - self.then.since
        self.changed = torch.where(way_then > 0, then * (way / way_then) ** 2, then.double())
        return self.now.choose(evaluation, self.changed)

    def advance(self, evaluation: int, travelled: float, mask: Tensor | None, rested: bool) -> Tensor:
        """Count on, for what would have been done and for what was; returns which tokens would have been computed."""
        saliency = None if self.whole[evaluation] else self.saliency[evaluation]
        mask_then = None if saliency is None else self.then.choose(evaluation, saliency)
        self.then.move(travelled, mask_then, self.rested[evaluation])
        return self.now.move(travelled, mask, rested)

    def left(self, mask: Tensor) -> float:
        """Relative change of the state that stays undone, since these tokens only are computed; worst sample."""
        return float(self.changed.masked_fill(mask, 0).mean(dim=1).sqrt().amax())


class _Path:
    """When each token was computed last, under some settings: evaluations since, and how far the state had come."""

    def __init__(self, configs: list[TokenSelectorConfig], shape: tuple[int, int]):
        self.configs = configs
        self.age = torch.zeros(shape, dtype=torch.int32)
        self.since = torch.zeros(shape, dtype=torch.float64)

    def choose(self, evaluation: int, changed: Tensor) -> Tensor:
        return choose_active(changed, self.age, self.configs[evaluation])

    def move(self, travelled: float, mask: Tensor | None, rested: bool) -> Tensor:
        """Tokens of the mask are computed, all of them if it is None, none if all blocks rest; returns which."""
        moved = torch.full_like(self.age, not rested, dtype=torch.bool) if rested or mask is None else mask
        self.age = torch.where(moved, 0, self.age + 1)
        self.since = torch.where(moved, travelled, self.since)
        return moved


def between(values: Sequence[float | None]) -> list[float | None]:
    """Missing values on the line between their neighbours; beyond the ends as the nearest; all missing stay so."""
    known = [i for i, value in enumerate(values) if value is not None]
    if not known:
        return list(values)
    return np.interp(range(len(values)), known, [values[i] for i in known]).tolist()


def told_apart(saliency: Tensor | None, computed: str) -> Tensor | None:
    """Tokens whose saliencies became the same byte, as the run told them apart; computed: its mask, in bits."""
    if saliency is None:
        return None
    bits = np.unpackbits(np.frombuffer(base64.b64decode(computed), np.uint8), count=saliency.numel())
    done = torch.from_numpy(bits).double().reshape(saliency.shape)
    return torch.where(saliency > 0, saliency * (1 + TIE * done), NEXT_TO_NOTHING * done)


def unpacked(values: str | None, threshold: float, shape: tuple[int, int]) -> Tensor | None:
    """Saliencies from their bytes; the lowest stands for none."""
    if values is None:
        return None
    levels = torch.from_numpy(np.frombuffer(base64.b64decode(values), np.uint8).copy()).reshape(shape)
    saliency = threshold * torch.exp((levels.double() - 127.5) / SALIENCY_SCALE)
    return saliency.masked_fill(levels == 0, 0)
