"""nodes/origin.py: the workflow that an output belongs to."""

from __future__ import annotations

import pytest

from nodes.origin import of_workflow


def test_the_workflow_that_was_queued_is_named() -> None:
    assert of_workflow({"workflow": {"id": "abc"}}) == {"fastcache_workflow": ["abc"]}


@pytest.mark.parametrize("extra", [None, [], "text", {}, {"workflow": None}, {"workflow": {"id": 7}}])
def test_a_prompt_without_a_workflow_names_none(extra: object) -> None:
    assert of_workflow(extra) == {}
