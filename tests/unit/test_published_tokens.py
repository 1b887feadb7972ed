"""Methods that compute some of the tokens, against loops written as their papers have them."""

import torch

from fastcache_core.presets import PRESETS
from fastcache_core.tokens import clusters

from . import published as p
from . import toys

XS = p.states(speed=0.03)
ALONE = {"context": "active_tokens"}  # toy blocks without attention: a token is the same whoever else is computed


def run_some(name, xs, **options):
    outputs, computed = p.run(name, xs, **options, **ALONE)
    return outputs, [row[0] for row in computed]


def sample(chosen_at):
    """Blocks run on the chosen tokens; what the others add goes on along its last difference (or stays, order 0)."""
    outputs, fractions = [], []
    tokens = XS[0].shape[1]
    anchors = [[] for _ in range(tokens)]  # of every token: (sigma, what each block added), the newest last
    for e, (x, sigma) in enumerate(zip(XS, p.SIGMAS, strict=False)):
        chosen, order = chosen_at(e, x)
        y = x.clone()
        for t in range(tokens):
            h, parts = x[:, t : t + 1], []
            if chosen[t]:
                for f in p.F:
                    parts.append(f(h, sigma))
                    h = h + parts[-1]
                anchors[t].append((sigma, parts))
            else:
                (s_a, last), (s_b, before) = anchors[t][-1], anchors[t][-2] if len(anchors[t]) > 1 else anchors[t][-1]
                k = order * min((sigma - s_a) / (s_a - s_b), 4.0) if s_a != s_b else 0.0
                for a, b in zip(last, before, strict=True):
                    h = h + a + k * (a - b)
            y[:, t : t + 1] = h
        outputs.append(y)
        fractions.append(sum(chosen) / tokens)
    return outputs, fractions


def assert_same(found, wanted):
    assert [round(fraction, 4) for fraction in found[1]] == [round(fraction, 4) for fraction in wanted[1]]
    for ours, theirs in zip(found[0], wanted[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert 0 < min(wanted[1]) < 1


def test_clusca_computes_one_token_of_each_cluster_between_full_steps():
    """Every fifth step in full; between, one token of each of K clusters, here the one that waited most."""
    preset = PRESETS["ClusCa"]
    warmup, waited, anchor = 3, None, None
    state = {"full": 0}

    def chosen_at(e, x):
        nonlocal waited, anchor
        if e < warmup or e == p.LAST or e - state["full"] == 5:
            state["full"], waited, anchor = e, torch.zeros(x.shape[1]), x[0].clone()
            return [True] * x.shape[1], 1
        groups = clusters(x, 4)[0]
        moved = (x[0] - anchor).square().sum(dim=1) / anchor.square().sum(dim=1).mean()
        chosen = [False] * x.shape[1]
        for group in set(groups.tolist()):
            members = [t for t in range(x.shape[1]) if groups[t] == group]
            chosen[max(members, key=lambda t: (waited[t].item(), moved[t].item()))] = True
        for t, computed in enumerate(chosen):
            waited[t] = 0 if computed else waited[t] + 1
            anchor[t] = x[0, t] if computed else anchor[t]
        return chosen, 1

    assert preset.published == 4  # evaluations without a token, so that the fifth is full
    assert_same(run_some("ClusCa", XS, clusters=4), sample(chosen_at))


def test_tokencache_refreshes_tokens_in_turns():
    """One token in four at each step, each in its turn."""
    warmup, order = 3, [t for turn in range(4) for t in range(turn, 12, 4)]
    place = {"at": 0}

    def chosen_at(e, x):
        if e < warmup or e == p.LAST:
            return [True] * x.shape[1], 0
        turn = order[place["at"] : place["at"] + 3]
        place["at"] = (place["at"] + 3) % 12
        return [t in turn for t in range(x.shape[1])], 0

    assert_same(run_some("TokenCache", XS), sample(chosen_at))


def test_fastcache_as_published_leaves_out_tokens_that_rest():
    """S_t(i) = |x_t,i - x_t-1,i|^2 above tau is motion; with tokens that rest or move, and nothing in between."""
    start = toys.trajectory(1, tokens=12, width=p.WIDTH)[0]
    moving = torch.arange(12) % 3 == 0
    xs = [start + e * moving[:, None] for e in range(p.EVALUATIONS)]
    blocks = [toys.add(1.0)] * p.DEPTH
    _, computed = p.run("FastCache (paper)", xs, strength=0.9, blocks=blocks)
    assert all(row == [1.0] * p.DEPTH for row in computed[:2])
    assert {round(row[0], 4) for row in computed[2:-1]} <= {0.0, round(4 / 12, 4)}
