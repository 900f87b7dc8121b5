"""Source prompts that nobody gave: the model's own captions, or a network that writes them."""

import json
import random

import numpy as np
import pytest
import torch
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration
from typer.testing import CliRunner

import noisespace as ns
from noisespace.cli import app
from noisespace.errors import InputError
from noisespace.models.judges.captioning import Pattern, Vocabulary, vocabulary_of
from noisespace.train.draw import random_scene
from tiny import tiny_sd

IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def scenes():
    return ns.load("scenes", device="cpu")


def held_out(count, objects=1):
    rng = random.Random("captioning")
    return [random_scene(rng, held_out=True, objects=objects) for _ in range(count)]


def test_scenes_are_said_as_they_are(scenes):
    some = held_out(8)
    assert ns.caption(scenes, some) == [scene.caption for scene in some]
    assert ns.caption(scenes, some[0]) == some[0].caption  # one image, one text
    assert ns.caption(scenes, some[0]) != ns.caption(scenes, 255 - some[0].render())


def test_two_objects_are_seen_as_two(scenes):
    found = ns.caption(scenes, held_out(4, objects=2))
    assert all(any(r in text for r in ("left of", "right of", "above", "below")) for text in found)


def test_a_climb_finds_what_a_search_finds():
    """Scores that are sums over the slots have one peak, which both must reach."""
    rng = random.Random(0)
    slots = {f"s{i}": [f"w{i}{j}" for j in range(6)] for i in range(5)}
    worth = {word: rng.random() for words in slots.values() for word in words}
    pattern = Pattern(" ".join("{" + name + "}" for name in slots), slots)

    def score(texts):
        return torch.tensor([sum(worth[w] for w in text.split()) for text in texts])

    best = " ".join(max(words, key=worth.get) for words in slots.values())
    assert len(pattern) == 6**5
    assert pattern.best(score)[1] == best
    few = Pattern("{s0} {s1}", {k: slots[k] for k in ("s0", "s1")})
    assert few.best(score)[1] == " ".join(best.split()[:2])


def test_a_code_tells_who_wrote_its_prompt(scenes, tmp_path):
    scene = held_out(1)[0]
    code = ns.invert(scenes, scene, None, steps=4)
    assert code.info.prompts == (scene.caption,)
    assert code.info.captioner == "Vocabulary('scenes')"
    given = ns.invert(scenes, scene, scene.caption, steps=4)
    assert given.info.captioner == ""
    assert torch.equal(given.path, code.path)
    code.save(tmp_path / "a.safetensors")
    assert ns.Code.load(tmp_path / "a.safetensors").info.captioner == code.info.captioner
    record = ns.edit(scenes, code, "a plain red star on a blue background").record
    assert record["source"]["captioner"] == code.info.captioner
    assert "captioner" not in ns.edit(scenes, given, "a plain red star").record["source"]


def test_a_function_serves_as_captioner(scenes):
    code = ns.invert(scenes, IMAGE, None, steps=2, captioner=lambda pixels: ["a red cat"])
    assert code.info.prompts == ("a red cat",)


@pytest.mark.parametrize("command", ["edit", "invert", "reconstruct", "compare", "attention"])
def test_the_commands_say_the_source(scenes, command, tmp_path):
    from PIL import Image

    scene, path = held_out(1)[0], tmp_path / "a.png"
    Image.fromarray(scene.render()).save(path)
    out = tmp_path / ("b.safetensors" if command == "invert" else "b.png")
    args = [command, str(path), "--source", "auto", "--out", str(out), "--steps", "2", "--json"]
    if command in ("edit", "compare"):
        args += ["--target", "a plain red star on a blue background"]
    if command == "compare":
        args += ["--method", "ddim"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    assert f"source: {scene.caption}" in done.stderr
    document = json.loads(done.stdout)
    if command == "edit":
        source = document["pictures"][0]["record"]["source"]
        assert source["prompt"] == [scene.caption]
        assert source["captioner"] == "Vocabulary('scenes')"


def test_a_captioner_needs_source_auto(tmp_path):
    from PIL import Image

    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    args = ["invert", str(tmp_path / "a.png"), "--out", str(tmp_path / "b.safetensors")]
    done = CliRunner().invoke(app, [*args, "--source", "a cat", "--captioner", "blip"])
    assert done.exit_code == 2
    assert "--source auto" in done.stderr


# ---- a network that writes


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat", "dog", "on", "grass"]


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "blip"
    torch.manual_seed(0)
    common = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    common["num_attention_heads"] = 2
    text = {**common, "vocab_size": len(WORDS), "encoder_hidden_size": 16, "projection_dim": 8}
    text |= {"bos_token_id": 2, "sep_token_id": 3, "pad_token_id": 0, "eos_token_id": 3}
    vision = {**common, "image_size": 32, "patch_size": 8}
    module = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision))
    module.save_pretrained(folder)
    vocab = folder / "words.txt"
    vocab.write_text("\n".join(WORDS))
    BertTokenizer(vocab=str(vocab)).save_pretrained(folder)
    notes = {"size": {"height": 32, "width": 32}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(notes))
    return folder


def test_a_blip_writes_captions(blip, scenes):
    writer = ns.load_captioner(blip, "cpu")
    pixels = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    texts = writer(pixels)
    assert len(texts) == 3
    assert all(set(text.split()) <= set(WORDS) for text in texts)
    assert writer(pixels) == texts
    # what the network sees is what its own preprocessing would give: [0, 1] minus .5 over .5
    ids = writer.module.generate(
        pixel_values=pixels, max_new_tokens=32, num_beams=3, do_sample=False
    )
    assert writer.tokenizer.batch_decode(ids, skip_special_tokens=True) == texts
    code = ns.invert(scenes, IMAGE, None, steps=2, captioner=blip)
    assert code.info.captioner == "Writer('blip')"
    assert ns.caption(scenes, [IMAGE], blip) == list(code.info.prompts)


def test_sizes_in_every_form():
    from noisespace.models.judges.captioning import sides

    assert sides({"height": 3, "width": 4}, "a") == (3, 4)
    assert sides({"shortest_edge": 5}, "a") == sides(5, "a") == (5, 5)
    with pytest.raises(InputError, match="no size of pictures"):
        sides({"height": "x"}, "a")


def test_what_cannot_caption_is_said(blip, scenes, tmp_path, monkeypatch):
    bare = ns.from_pipeline(tiny_sd())
    with pytest.raises(InputError, match="brings no captions of its own"):
        ns.invert(bare, IMAGE, None, steps=2)
    with pytest.raises(InputError, match="leave one of them out"):
        ns.invert(scenes, IMAGE, "a cat", steps=2, captioner=blip)
    with pytest.raises(InputError, match="latents cannot be captioned"):
        ns.invert(scenes, torch.zeros(1, 4, 16, 16), None, steps=2)
    with pytest.raises(InputError, match="is not known"):
        ns.load_captioner("nothing here")
    with pytest.raises(InputError, match="no captioner"):
        ns.load_captioner(tmp_path)
    config = json.loads((blip / "config.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({**config, "architectures": ["GPT2LMHeadModel"]}))
    with pytest.raises(InputError, match="GPT2LMHeadModel is no captioner"):
        ns.load_captioner(other)
    (other / "config.json").write_text(json.dumps(config))
    (other / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="only as a pickle"):
        ns.load_captioner(other)


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "{}",
        '{"patterns": 3}',
        '{"patterns": []}',
        '{"patterns": [["a {b}", 1]]}',
        '{"patterns": [["a {b}", {"c": ["d"]}]]}',
    ],
)
def test_damaged_captions_are_said(scenes, text, tmp_path):
    from dataclasses import replace

    (tmp_path / "captions.json").write_text(text)
    with pytest.raises(InputError, match=r"captions\.json"):
        vocabulary_of(replace(scenes, alignment_folder=tmp_path / "alignment"))


def test_a_vocabulary_embeds_each_caption_once(scenes):
    own = vocabulary_of(scenes)
    assert isinstance(own, Vocabulary)
    own(torch.zeros(1, 3, 64, 64))
    known = len(own.embedded)
    own(torch.zeros(1, 3, 64, 64))
    assert len(own.embedded) == known > 0
