"""Recipes: what is read, what is refused, and how the refusal is worded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from cxreport.errors import UserError
from cxreport.model_options import ModelOptions
from cxreport.options import DecodingOptions
from cxreport.recipe import Recipe, with_decoding

GENERATORS = sorted(
    options.model_fields["generator"].default for options in get_args(get_args(ModelOptions)[0])
)
SHIPPED = Path(__file__).resolve().parents[1] / "recipes"
RECIPES = sorted([*SHIPPED.glob("*.yaml"), *SHIPPED.glob("mambaxray/stage3*.yaml")])
NAMES = [path.relative_to(SHIPPED).with_suffix("").as_posix() for path in RECIPES]


def parse(**sections: Any) -> Recipe:
    return Recipe.parse({"name": "test", "model": {"generator": "r2gen"}, **sections}, "r.yaml")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text("name: test\nmodel:\n  generator: r2gen\n  encoder: {width: 16}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(("path", "name"), list(zip(RECIPES, NAMES, strict=True)), ids=NAMES)
def test_every_recipe_of_the_project_loads_by_name_and_bears_it(path: Path, name: str) -> None:
    assert Recipe.load(name) == Recipe.load(path)
    assert Recipe.load(path).name == name.replace("/", "-")


def test_there_are_recipes() -> None:
    assert RECIPES


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"training": {"epoch": 3}}, "r.yaml: unknown key training.epoch; did you mean training.epochs?"),
        ({"trainin": {}}, "r.yaml: unknown key trainin; did you mean training?"),
        (
            {"data": {"learning_rate": 1}},
            "r.yaml: unknown key data.learning_rate; did you mean training.learning_rate?",
        ),
        (
            {"model": {"generator": "r2gen", "encoder": {"nam": "x"}}},
            "r.yaml: unknown key model.encoder.nam; did you mean model.encoder.name?",
        ),
        (
            {"model": {"generator": "r2gen", "encoder": {"qqqq": "x"}}},
            "r.yaml: unknown key model.encoder.qqqq; known keys: name, pretrained, init, "
            "image_size, patch, width, depths, heads, state_size, expansion, drop_path.",
        ),
        (
            {"training": {"epochs": 0}},
            "r.yaml: training.epochs must be at least 1, not 0.",
        ),
        (
            {"model": {"generator": "r2gem"}},
            f"r.yaml: model.generator must be {' or '.join(map(repr, GENERATORS))}, not 'r2gem'.",
        ),
        ({"model": {"width": 8}}, f"r.yaml: model.generator is missing; choose {', '.join(GENERATORS)}."),
        ({"model": "r2gen"}, "r.yaml: model must be a section of keys, not 'r2gen'."),
        (
            {"model": {"generator": "r2gencmn", "memory_slots": 3}},
            "r.yaml: unknown key model.memory_slots; did you mean model.memory_rows?",
        ),
        (
            {"model": {"generator": "r2gencmn", "memory_rows": 8, "memory_top": 9}},
            "r.yaml: model: memory_top (9) must be at most memory_rows (8).",
        ),
        (
            {"model": {"generator": "r2gen", "width": 100, "heads": 8}},
            "r.yaml: model: heads (8) must divide width (100).",
        ),
        (
            {"decoding": {"method": "beam", "block_trigrams": True}},
            "r.yaml: decoding: block_trigrams exists for method: greedy only"
            " (the published beam ignores it).",
        ),
        (
            {"decoding": {"temperature": 0.5}},
            "r.yaml: decoding: temperature needs method: sample.",
        ),
        (
            {"decoding": {"min_new_tokens": 60}},
            "r.yaml: decoding: min_new_tokens (60) must be below max_length (60).",
        ),
        (
            {"decoding": {"length_penalty": 2.0, "no_repeat_ngram": 3}},
            "r.yaml: the generator r2gen does not know decoding.length_penalty, decoding.no_repeat_ngram.",
        ),
        (
            {"decoding": {"method": "sample"}},
            "r.yaml: the generator r2gen does not know decoding.method: sample.",
        ),
        (
            {"data": {"views": ["top"]}},
            "r.yaml: data.views.0 must be 'frontal' or 'lateral', not 'top'.",
        ),
        ({"training": {"epochs": "two"}}, "r.yaml: training.epochs must be a whole number, not 'two'."),
        ({"training": {"epochs": 1.5}}, "r.yaml: training.epochs must be a whole number, not 1.5."),
        ({"training": {"epochs": [1]}}, "r.yaml: training.epochs must be a whole number, not [1]."),
        ({"training": {"warmup": "x"}}, "r.yaml: training.warmup must be a number, not 'x'."),
        ({"training": {"warmup": 1}}, "r.yaml: training.warmup must be less than 1, not 1."),
        ({"training": {"learning_rate": 0}}, "r.yaml: training.learning_rate must be more than 0, not 0."),
        ({"data": {"max_views": 9}}, "r.yaml: data.max_views must be at most 8, not 9."),
        ({"data": {"augment": "perhaps"}}, "r.yaml: data.augment must be true or false, not 'perhaps'."),
        ({"data": {"views": "frontal"}}, "r.yaml: data.views must be a list, not 'frontal'."),
        ({"seed": 2**31}, "r.yaml: seed must be less than 2147483648, not 2147483648."),
        ({"name": 3}, "r.yaml: name must be text, not 3."),
        ({"training": 3}, "r.yaml: training must be a section of keys, not 3."),
        ({"data": None}, "r.yaml: data must be a section of keys, not None."),
    ],
)
def test_a_mistake_is_told_in_one_short_sentence(sections: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as error:
        parse(**sections)
    message = str(error.value)
    assert message == sentence
    assert "\n" not in message
    assert len(message) < 240


def test_a_missing_section_is_named() -> None:
    with pytest.raises(UserError, match=r"^recipe: model is missing\.$"):
        Recipe.parse({"name": "test"})


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(UserError, match=r"not 'x+\.\.\.\.$") as error:
        parse(training={"precision": "x" * 5000})
    assert len(str(error.value)) < 200


def test_set_changes_values_of_any_depth(file: Path) -> None:
    recipe = Recipe.load(
        file,
        [
            "training.epochs=7",
            "model.encoder.width=64",
            "data.views=[frontal]",
            "training.gradient_clip=null",
            "name=x",
        ],
    )
    assert recipe.training.epochs == 7
    assert recipe.model.encoder.width == 64
    assert recipe.data.views == ("frontal",)
    assert recipe.training.gradient_clip is None
    assert recipe.name == "x"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("training.epochs", r"must have the form section\.option=value"),
        ("=3", r"must have the form section\.option=value"),
        ("name.first=3", "name is a value, not a section"),
        ("data.views=[frontal", "is not a YAML value"),
        ("training.epohcs=3", r"^--set training\.epohcs=3: unknown key .*; did you mean training\.epochs\?"),
        ("training.epochs=many", r"^--set training\.epochs=many: training\.epochs must be a whole number"),
        ("model.heads=7", r"^--set model\.heads=7: model: heads \(7\) must divide width"),
    ],
)
def test_a_bad_set_is_refused(file: Path, change: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Recipe.load(file, [change])


def test_only_the_change_that_is_wrong_is_blamed(file: Path) -> None:
    with pytest.raises(UserError, match=r"^--set training\.epochs=0: "):
        Recipe.load(file, ["training.batch_size=4", "training.epochs=0", "data.max_views=1"])
    file.write_text(file.read_text() + "training: {epochs: 0}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"r\.yaml: training\.epochs must be at least 1"):
        Recipe.load(file, ["training.batch_size=4"])
    assert Recipe.load(file, ["training.epochs=2"]).training.epochs == 2


def test_of_a_trained_model_the_search_alone_can_be_changed() -> None:
    recipe = Recipe.load("demo")
    changed = with_decoding(recipe, ["decoding.method=beam", "decoding.beam_size=5"])
    assert (changed.decoding.method, changed.decoding.beam_size) == ("beam", 5)
    assert changed.model == recipe.model
    assert with_decoding(recipe, []) is recipe
    with pytest.raises(UserError, match=r"--set model\.width=8: of a trained model only the search"):
        with_decoding(recipe, ["model.width=8"])
    with pytest.raises(UserError, match=r"r2gen does not know decoding\.top_p"):
        with_decoding(recipe, ["decoding.method=sample", "decoding.top_p=0.5"])


def test_guidance_of_a_word_generator_needs_that_it_was_trained_for_it() -> None:
    with pytest.raises(UserError, match=r"guidance needs .* trained with model\.image_dropout above 0"):
        with_decoding(Recipe.load("demo"), ["decoding.guidance=3"])
    trained = Recipe.load("demo", ["model.image_dropout=0.1"])
    assert with_decoding(trained, ["decoding.guidance=3"]).decoding.guidance == 3


def test_guidance_excludes_beams() -> None:
    with pytest.raises(ValueError, match="guidance exists for method: greedy and sample only"):
        DecodingOptions(method="beam", guidance=1.0)


def test_a_bare_name_is_a_recipe_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()  # where `cxreport demo` writes
    assert Recipe.load("demo").name == "demo"
    with pytest.raises(UserError, match=r"^dmeo is neither a file nor a recipe .*; did you mean demo\?$"):
        Recipe.load("dmeo")
    with pytest.raises(UserError, match=r"those are .*demo.*\.$"):
        Recipe.load("unheard")
    with pytest.raises(UserError, match=r"did you mean mambaxray/stage3\?$"):
        Recipe.load("mambaxray/stag3")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "recipe").write_text("name: mine\nmodel: {generator: r2gen}\n")
    assert Recipe.load("own/recipe").name == "mine"


def test_a_dumped_recipe_is_complete_and_loads_again(tmp_path: Path) -> None:
    recipe = parse(data={"views": ["frontal"]}, training={"max_minutes": 2.5})
    path = tmp_path / "dumped.yaml"
    path.write_text(recipe.dump(), encoding="utf-8")
    assert Recipe.load(path) == recipe
    for option in ("cleaner: clean", "warmup: 0.1", "beam_size: 3", "width: 512"):
        assert option in recipe.dump()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "must hold a mapping"),
        (b"- a\n- b\n", "must hold a mapping"),
        (b"name: [", "is not a YAML file"),
        (b"\xff\xfe\x00", "is not a YAML file"),
        (b"model: !!python/object/apply:os.system [echo]", "is not a YAML file"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=sentence) as error:
        Recipe.load(path)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot read the recipe .*absent\.yaml: No such file"):
        Recipe.load(tmp_path / "absent.yaml")


def test_precision_may_be_written_as_a_number(file: Path) -> None:
    assert Recipe.load(file, ["training.precision=16"]).training.precision == "16"


def test_a_recipe_does_not_change() -> None:
    with pytest.raises(Exception, match="frozen"):
        parse().training.epochs = 3  # type: ignore[misc]
