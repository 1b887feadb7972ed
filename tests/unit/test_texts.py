"""Every node, input and output has a tooltip, a help page, and its texts in every language, and nothing else has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.schemas import ENGLISH, ROOT, english, schemas, texts

NODES = {schema.node_id: schema for schema in schemas()}
LANGUAGES = sorted(path.name for path in (ROOT / "locales").iterdir())
PAGES = ROOT / "web/docs"
# Where a tooltip has them for the least and the largest value, so that nobody has to guess which way is faster.
ENDS = ("0: ", "1: ", "higher: ", "lower: ", "Higher: ", "Lower: ")


def locale(language: str) -> dict[str, Any]:
    return json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))


def flat(texts: Any, path: str = "") -> dict[str, str]:
    """Every text by its path, such as FastCache/inputs/model/tooltip."""
    if isinstance(texts, str):
        return {path: texts}
    return {at: text for key, value in texts.items() for at, text in flat(value, f"{path}/{key}").items()}


def test_all_nodes_are_there() -> None:
    settings = ("", "BlockCache", "TokenSelector", "Preset", "Calibrate", "SaveProfile", "LoadProfile")
    assert {f"FastCache{part}" for part in (*settings, "Preview", "Compare")} <= NODES.keys()
    assert {"en", "zh"} <= set(LANGUAGES)


@pytest.mark.parametrize("node", NODES)
def test_everything_has_a_tooltip_that_ends_like_a_sentence(node: str) -> None:
    for path, text in flat(texts(NODES[node])).items():
        assert text, path
        if path.endswith(("tooltip", "description")):
            assert text.endswith("."), path


@pytest.mark.parametrize("node", NODES)
def test_tooltips_of_numbers_tell_what_both_ends_do(node: str) -> None:
    for entry in NODES[node].inputs:
        if entry.type in ("FLOAT", "INT"):
            assert sum(end in entry.tooltip for end in ENDS) >= 2, entry.tooltip


def test_english_is_what_the_schemas_say() -> None:
    assert ENGLISH.read_text(encoding="utf-8") == english(), "Run python3 -m tests.unit.schemas to write it again."


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_same_texts(language: str) -> None:
    there, wanted = flat(locale(language)), flat(locale("en"))
    assert sorted(wanted.keys() - there.keys()) == [], "missing"
    assert sorted(there.keys() - wanted.keys()) == [], "left over"
    for path, text in there.items():
        assert text.strip(), path
        # The frontend would take them for placeholders, links and plurals.
        assert not re.search(r"[{}@|]", text), path


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_translations_keep_numbers_and_the_names_that_messages_use(language: str) -> None:
    english, translated = flat(locale("en")), flat(locale(language))
    for path, text in translated.items():
        assert sorted(numbers(text)) == sorted(numbers(english[path])), path
        _, node, kind, *rest = path.split("/")
        if kind == "inputs" and rest[1] == "tooltip":
            assert text.startswith(rest[0]), f"{path}: the log and the documentation call it {rest[0]}"
            options = getattr(next(entry for entry in NODES[node].inputs if entry.id == rest[0]), "options", [])
            assert all(option in text for option in options), path


def numbers(text: str) -> list[str]:
    return re.findall(r"\d+(?:\.\d+)?", text)


def test_every_node_has_a_page_and_every_page_a_node() -> None:
    assert sorted(path.stem for path in PAGES.glob("*.md")) == sorted(NODES)


@pytest.mark.parametrize("node", NODES)
def test_pages_name_every_input_and_output(node: str) -> None:
    page = page_of(node)
    rows = re.findall(r"^\| `(\w+)`(.*)\|$", page, re.MULTILINE)
    written = texts(NODES[node])
    names = [*written["inputs"], *(output["name"] for output in written["outputs"].values())]
    assert [name for name, _ in rows] == names
    for entry in NODES[node].inputs:
        row = dict(rows)[entry.id]
        assert all(f"`{option}`" in row for option in getattr(entry, "options", [])), (
            f"{entry.id}: an option is missing"
        )
        if hasattr(entry, "default") and entry.default != "":
            assert f"| `{entry.default}` |" in row, f"{entry.id}: the default is {entry.default}"


@pytest.mark.parametrize("node", NODES)
def test_pages_have_their_parts_and_their_pictures(node: str) -> None:
    page = page_of(node)
    assert page.startswith(f"# {NODES[node].display_name}\n")
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == ["Inputs", "Outputs", "Try first", "What goes wrong"]
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", page):
        assert (PAGES / target).is_file(), target


def page_of(node: str) -> str:
    return (PAGES / Path(f"{node}.md")).read_text(encoding="utf-8")
