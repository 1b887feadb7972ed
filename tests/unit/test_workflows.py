"""The shipped workflows as files: links, models, notes, seeds, the comparison that is switched off, thumbnails."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.schemas import schemas
from tests.unit.workflow_files import DEMO, NOTES, WORKFLOWS, comparison, nodes_in, read

ROOT = Path(__file__).resolve().parents[2]
MUTED = 2
OPTIONAL = 7  # the shape of an input's socket
LOADERS = {"UNETLoader", "CLIPLoader", "DualCLIPLoader", "VAELoader", "CheckpointLoaderSimple"}
WIDGETS = ("FLOAT", "INT", "STRING", "BOOLEAN", "COMBO")
SAMPLERS = {"KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"}
SCHEMAS = {schema.node_id: schema for schema in schemas()}
VERSION = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]

every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
every_model = pytest.mark.parametrize("path", [path for path in WORKFLOWS if path != DEMO], ids=lambda path: path.stem)


def test_there_is_one_for_every_model() -> None:
    models = "demo flux_dev flux_kontext hunyuan_video_15_t2v ltxv_t2v qwen_image sd35_large wan22_t2v z_image"
    assert [path.stem for path in WORKFLOWS] == [f"fastcache_{what}" for what in ("calibrate", *models.split())]


@every_workflow
def test_links_are_known_at_both_ends_and_types_agree(path: Path) -> None:
    graph = read(path)
    nodes = {node["id"]: node for node in graph["nodes"]}
    for link, source, slot, target, place, kind in graph["links"]:
        assert link in nodes[source]["outputs"][slot]["links"]
        assert nodes[target]["inputs"][place]["link"] == link
        # A link to an input of several types carries them all.
        assert nodes[source]["outputs"][slot]["type"] in kind.split(",")
        taken = nodes[target]["inputs"][place]["type"]
        assert taken == "*" or set(kind.split(",")) <= set(taken.split(","))
    numbers = {link[0] for link in graph["links"]}
    assert {entry["link"] for node in nodes.values() for entry in node.get("inputs", [])} - {None} == numbers
    outputs = [entry for node in nodes.values() for entry in node.get("outputs", [])]
    assert {number for entry in outputs for number in entry["links"] or []} == numbers


@every_workflow
def test_it_is_saved_as_official_templates_are(path: Path) -> None:
    graph = read(path)
    assert graph["version"] == 0.4
    # Without a view, frontend 1.32 moves nodes off their groups when it draws them as elements.
    assert graph["extra"]["ds"].keys() == {"scale", "offset"}
    for node in graph["nodes"]:
        kind, properties = node["type"], node["properties"]
        if kind.startswith("FastCacheDemo") or kind in NOTES:
            continue
        ours = kind.startswith("FastCache")
        assert properties["cnr_id"] == ("fastcache" if ours else "comfy-core")
        assert properties["ver"] == VERSION if ours else properties["ver"]


@every_workflow
def test_our_nodes_have_the_inputs_and_outputs_of_their_schemas(path: Path) -> None:
    """Sockets first, then widgets, as the frontend saves them."""
    for node in read(path)["nodes"]:
        if node["properties"].get("cnr_id") != "fastcache":
            continue
        schema = SCHEMAS[node["type"]]
        sockets = [entry.id for entry in schema.inputs if entry.type not in WIDGETS]
        widgets = [entry.id for entry in schema.inputs if entry.type in WIDGETS]
        assert [entry["name"] for entry in node["inputs"]] == sockets + widgets
        assert [entry["name"] for entry in node["inputs"] if "widget" in entry] == widgets
        optional = {entry.id for entry in schema.inputs if entry.optional and entry.id in sockets}
        assert {entry["name"] for entry in node["inputs"] if entry.get("shape") == OPTIONAL} == optional
        outputs = [output.display_name or output.type for output in schema.outputs]
        assert [entry["name"] for entry in node["outputs"]] == outputs


@every_workflow
def test_schedules_are_those_of_the_model_that_is_sampled(path: Path) -> None:
    """A scheduler in front of a node that shifts the schedule would give another one."""
    graph = read(path)
    sources = {(target, place): source for _, source, _, target, place, _ in graph["links"]}
    guided = {sources[node["id"], 0] for node in nodes_in(graph, "CFGGuider")}
    assert {sources[node["id"], 0] for node in nodes_in(graph, "BasicScheduler")} <= guided


@every_workflow
def test_fastcache_is_first_behind_the_model_and_its_preview_behind_the_sampler(path: Path) -> None:
    graph = read(path)
    nodes = {node["id"]: node for node in graph["nodes"]}
    pictured = 0
    for preview in nodes_in(graph, "FastCachePreview"):
        ends = {nodes[target]["inputs"][place]["name"]: nodes[source] for _, source, _, target, place, _ in
                graph["links"] if target == preview["id"]}  # fmt: skip
        assert ends["model"]["type"] == "FastCache"
        assert ends["after_sample"]["type"] in SAMPLERS
        pictured += "image" in ends and ends["image"]["type"] == "VAEDecode"
    assert pictured == 1  # of Wan's two previews the one behind its second model
    for cache in nodes_in(graph, "FastCache"):
        before = next(nodes[source] for _, source, _, target, place, _ in graph["links"] if target == cache["id"])
        assert before["type"] in LOADERS or path == DEMO
    assert len(nodes_in(graph, "FastCachePreview")) == len(nodes_in(graph, "FastCache")) > 0


@every_workflow
def test_seeds_are_fixed(path: Path) -> None:
    samplers = [node for node in read(path)["nodes"] if {"RandomNoise"} & {node["type"]} or node["type"] in SAMPLERS]
    assert any("fixed" in node["widgets_values"] for node in samplers)
    assert not any("randomize" in node["widgets_values"] for node in samplers)


@every_workflow
def test_calibration_has_the_samplers_settings_and_its_profile_is_saved_and_used(path: Path) -> None:
    graph = read(path)
    nodes = {node["id"]: node for node in graph["nodes"]}
    for calibrate in nodes_in(graph, "FastCacheCalibrate"):
        sampler = next(node for node in nodes_in(graph, "KSampler") if node["mode"] == 0)
        assert calibrate["widgets_values"][1:6] == sampler["widgets_values"][2:]
        ((save, use),) = [
            (nodes[target], nodes[after])
            for _, source, slot, target, *_ in graph["links"]
            for _, between, _, after, *_ in graph["links"]
            if source == calibrate["id"] and slot == 0 and between == target
        ]
        assert (save["type"], use["type"]) == ("FastCacheSaveProfile", "FastCache")


@every_workflow
def test_a_note_explains_it(path: Path) -> None:
    graph = read(path)
    (note,) = nodes_in(graph, "MarkdownNote")
    text = note["widgets_values"][0]
    assert "FastCache" in text and "**block_threshold**" in text
    for model in (model for node in graph["nodes"] for model in node["properties"].get("models", [])):
        assert f"[{model['name']}]({model['url']})" in text and f"**models/{model['directory']}**" in text


@every_model
def test_loaders_tell_where_their_models_come_from(path: Path) -> None:
    for node in nodes_in(read(path), *LOADERS):
        models = node["properties"]["models"]
        files = [value for value in node["widgets_values"] if str(value).endswith(".safetensors")]
        assert [model["name"] for model in models] == files
        for model in models:
            assert re.fullmatch(r"https://huggingface\.co/.+/resolve/main/.+", model["url"])
            assert model["url"].endswith(f"/{model['name']}")
            assert model["directory"] in ("checkpoints", "diffusion_models", "text_encoders", "vae")


@every_model
def test_comparison_without_fastcache_is_switched_off(path: Path) -> None:
    graph = read(path)
    compared = comparison(graph)
    assert {node["id"] for node in graph["nodes"] if node["mode"] != 0} == {node["id"] for node in compared}
    assert all(node["mode"] == MUTED for node in compared)
    assert [node["type"] for node in compared].count("FastCacheCompare") == 1
    # The second sampler differs from the first in nothing but its model.
    for other in (node for node in compared if node["type"] in SAMPLERS | {"CFGGuider"} or "Sampling" in node["type"]):
        twins = [node for node in graph["nodes"] if node["type"] == other["type"] and node["mode"] == 0]
        assert other["widgets_values"] in [node["widgets_values"] for node in twins]


@every_workflow
def test_thumbnail_opens(path: Path) -> None:
    with Image.open(path.with_suffix(".jpg")) as picture:
        picture.load()
        assert picture.format == "JPEG" and 400 <= picture.width <= 500 and picture.height >= 250
    assert path.with_suffix(".jpg").stat().st_size < 60_000


def test_nothing_else_lies_beside_them() -> None:
    assert {path.suffix for path in (ROOT / "workflows").iterdir()} == {".json", ".jpg"}
    assert len(list((ROOT / "workflows").iterdir())) == 2 * len(WORKFLOWS)
    assert all(json.loads(path.read_text(encoding="utf-8"))["id"] for path in WORKFLOWS)
