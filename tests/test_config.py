"""One YAML file, flags over it, --set over both."""

import pytest

from maibench.config import label_specs, make_config, parse_setting, split_list
from maibench.errors import MaibenchError


@pytest.fixture
def yaml(tmp_path):
    def write(text):
        (tmp_path / "run.yaml").write_text(text)
        return tmp_path / "run.yaml"

    return write


def config(file=None, flags=None, *settings):
    return make_config(file, {"models": "metadata"} | (flags or {}), list(settings))


def test_defaults():
    made = config()
    assert made.model_dump() == {
        "models": ["metadata"], "data": "demo", "columns": "", "split": "test", "perturb": ["none"], "out": None,
            "engine": "local", "address": None, "predictions": None,
            "backend": "torch", "device": "auto", "batch_size": 32, "workers": None, "limit": None, "seed": 0,
        "strict": False, "resamples": 1000, "interval": "bootstrap", "figures": True, "gallery": 4, "evidence": True,
        "audit": True, "max_pixels": 100_000_000, "options": {},
        "table": {
            "columns": None, "detectors": None, "perturbations": None, "order": "request", "precision": 3,
            "intervals": True,
        },
    }  # fmt: skip


def test_flags_override_the_file_and_set_overrides_both(yaml):
    file = yaml("models: [bailu]\nbatch_size: 4\nseed: 4\nlimit: 4\noptions: {bailu: {tiles: 4, input: rgb}}\n")
    made = make_config(
        file,
        {"batch_size": 5, "seed": 5, "limit": None, "models": None},
        ["seed=6", "bailu.tiles=6", "bailu.weights=a b"],
    )
    assert made.models == ["bailu"]
    assert (made.limit, made.batch_size, made.seed) == (4, 5, 6)
    assert made.options == {"bailu": {"tiles": 6, "input": "rgb", "weights": "a b"}}


def test_set_takes_yaml():
    made = config(None, None, "strict=true", "out=null", "x.names=[a, b]", "x.rate=1.0e-3", "perturb=[jpeg:75]")
    assert made.strict is True
    assert made.out is None
    assert made.options == {"x": {"names": ["a", "b"], "rate": 1e-3}}
    assert made.perturb == ["jpeg:75"]


def test_a_text_with_a_colon_stays_a_text():
    assert parse_setting("a.question=Is it real? Answer: yes or no") == ("a.question", "Is it real? Answer: yes or no")
    assert parse_setting("options={a: {b: 1}}") == ("options", {"a": {"b": 1}})


def test_set_options_as_a_whole():
    assert config(None, None, "options={x: {rate: 1}}", "x.more=2").options == {"x": {"rate": 1, "more": 2}}


def test_label_with_a_dot():
    assert config(None, None, "run.1.tiles=2").options == {"run.1": {"tiles": 2}}


def test_lists_are_split():
    made = config(None, {"models": "a, b=mean(c,d) ,e", "perturb": "jpeg:75,resize:0.5+jpeg:75"})
    assert made.models == ["a", "b=mean(c,d)", "e"]
    assert made.perturb == ["jpeg:75", "resize:0.5+jpeg:75"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b,c", ["a", "b", "c"]),
        ("mean(a,b),c", ["mean(a,b)", "c"]),
        ("f(a,g(b,c)),d", ["f(a,g(b,c))", "d"]),
        (" a , ,b,", ["a", "b"]),
        ("a", ["a"]),
        ("", []),
    ],
)
def test_split_list(text, parts):
    assert split_list(text) == parts


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("perturbations", "did you mean 'perturb'"),
        ("batchsize", "did you mean 'batch_size'"),
        ("zzz", "known keys: models, data, columns, split"),
    ],
)
def test_unknown_key(yaml, key, hint):
    file = yaml(f"{key}: 3\n")
    with pytest.raises(MaibenchError, match=rf"run\.yaml: unknown key '{key}'.*{hint}"):
        config(file)
    with pytest.raises(MaibenchError, match=f"unknown key '{key}'.*{hint}"):
        config(None, None, f"{key}=3")


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("batch_size=0", r"batch_size: .*greater than or equal to 1 \(got 0\)"),
        ("batch_size=many", r"batch_size: .*\(got 'many'\)"),
        ("split=tset", r"split: .*'train', 'validation' or 'test' \(got 'tset'\)"),
        ("engine=spark", "engine: .*'local' or 'ray'"),
        ("address=auto", "address auto: of a Ray cluster; add --engine ray"),
        ("seed=-1", "seed: "),
        ("strict=perhaps", "strict: "),
        ("perturb=3", "perturb: .*list"),
        ("options=3", "options: .*dictionary"),
        ("options={x: 3}", r"options\.x: .*dictionary"),
        ("seed", "--set 'seed': write key=value"),
        ("=3", "--set '=3': write key=value"),
        ("seed=[", r"--set 'seed=\[': the value is not YAML"),
    ],
)
def test_wrong_values(setting, reason):
    with pytest.raises(MaibenchError, match=reason):
        config(None, None, setting)


def test_the_file_is_not_blamed_for_a_flag(yaml):
    with pytest.raises(MaibenchError, match=r"^batch_size: "):
        config(yaml("seed: 3\nbatch_size: 2\n"), {"batch_size": 0})


def test_empty_values_of_the_file_are_defaults(yaml):
    made = config(yaml("options:\nseed:\n"), None, "x.a=1")
    assert (made.options, made.seed) == ({"x": {"a": 1}}, 0)


@pytest.mark.parametrize("text", ["", "- a\n", "a: [", "options: 3\n", "options: {x: 3}\n", "options: [x]\n", "3: 4\n"])
def test_files_that_are_no_configuration(yaml, text):
    with pytest.raises(MaibenchError):
        config(yaml(text))


def test_missing_or_binary_file(tmp_path):
    (tmp_path / "image.yaml").write_bytes(b"\xff\xfe\x00")
    reasons = {"none.yaml": "No such file", "image.yaml": "cannot be read as YAML", "": "Is a directory"}
    for name, reason in reasons.items():
        with pytest.raises(MaibenchError, match=reason):
            config(tmp_path / name)


@pytest.mark.parametrize("models", ["", " , ", []])
def test_no_models(models):
    with pytest.raises(MaibenchError, match="no detectors were named: give --models"):
        make_config(None, {"models": models}, [])


def test_labels_keep_the_order(tmp_path):
    (tmp_path / "run.1").mkdir()
    labels = label_specs(["bailu", "big = bailu", "x/y.py:Mine", str(tmp_path / "run.1"), f"{tmp_path}/run.1/../"])
    assert list(labels.items()) == [
        ("bailu", "bailu"),
        ("big", "bailu"),
        ("Mine", "x/y.py:Mine"),
        ("run.1", str(tmp_path / "run.1")),
        (tmp_path.name, f"{tmp_path}/run.1/../"),
    ]


def test_two_rows_of_one_name():
    with pytest.raises(MaibenchError, match="two detectors are called 'bailu': name one of them, as in other=bailu"):
        label_specs(["bailu", "metadata", "bailu"])
    assert list(label_specs(["bailu", "other=bailu"])) == ["bailu", "other"]


def test_labels_of_specs_with_a_scheme():
    specs = {
        "AI-detector": "hf:OWNER/AI-detector@v2",
        "resnet50": "timm:resnet50@runs/r50.safetensors",
        "theirs": "scores:made/theirs.csv",
        "host:8000": "https://host:8000/score",
        "mean(a=bailu,mai_cnn)": "mean(a=bailu,mai_cnn)",
        "stack(hf:x/y,./mine.py:Mine)": "stack(hf:x/y,./mine.py:Mine)",
    }
    assert label_specs(list(specs.values())) == specs
    assert label_specs(["both = mean(a=bailu,mai_cnn)"]) == {"both": "mean(a=bailu,mai_cnn)"}
    assert label_specs(["http://h:1/s?m=a", "x=http://h:1/s?m=b"]) == {
        "h:1": "http://h:1/s?m=a",
        "x": "http://h:1/s?m=b",
    }


@pytest.mark.parametrize("model", ["=bailu", "a=", " = ", "..=bailu", ".=bailu"])
def test_labels_that_are_none(model):
    with pytest.raises(MaibenchError, match="is not SPEC or LABEL=SPEC"):
        label_specs([model])


def test_identity_is_what_is_computed_not_how_fast():
    base = config()
    same = config(None, {"workers": 3, "out": "x", "strict": True, "device": "cpu", "resamples": 20}, "table.order=auc")
    other = config(None, {"limit": 3})
    assert base.identity() == same.identity()
    assert base.identity() != other.identity()


def test_set_reaches_the_tables(yaml):
    file = yaml("table: {precision: 2, order: auc}\n")
    made = config(file, None, "table.columns=[auc, tpr]", "table.order=accuracy", "bailu.tiles=3")
    assert made.table.model_dump(exclude_defaults=True) == {
        "columns": ["auc", "tpr"],
        "order": "accuracy",
        "precision": 2,
    }
    assert made.options == {"bailu": {"tiles": 3}}
    assert config(None, None, "table={precision: 4}", "table.intervals=false").table.precision == 4


@pytest.mark.parametrize("models", ["table,bailu", "table=bailu", ["bailu", " table = metadata"]])
def test_a_detector_called_table_keeps_its_options(models):
    made = config(None, {"models": models}, "table.columns=3")
    assert (made.options, made.table.columns) == ({"table": {"columns": 3}}, None)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("table.columns=[acuracy]", r"^table\.columns: unknown column 'acuracy'; did you mean 'accuracy'\?"),
        ("table.columns=[zzz]", r"unknown column 'zzz'; known: detector, perturbation, failed"),
        ("table.columns=[auc, auc]", r"table\.columns: the column 'auc' is named twice"),
        ("table.columns=[]", r"table\.columns: .*at least 1"),
        ("table.columns=auc", r"table\.columns: .*list"),
        ("table.order=acc", r"table\.order: unknown order 'acc'; did you mean"),
        ("table.order=detector", "unknown order 'detector'"),
        ("table.precision=0", r"table\.precision: .*greater than or equal to 1 \(got 0\)"),
        ("table.precission=2", r"unknown key 'table\.precission'; did you mean 'table\.precision'"),
        ("table=3", r"table: .*dictionary"),
    ],
)
def test_wrong_wishes_for_tables(setting, reason, yaml):
    with pytest.raises(MaibenchError, match=reason):
        config(yaml("table: {precision: 2}\n"), None, setting)
    with pytest.raises(MaibenchError):
        config(yaml("table: 3\n"), None, "table.precision=2")


@pytest.mark.parametrize("name", ["bailu", "moondream-nano", "big"])
def test_rows_of_the_comparison_may_be_asked_for(name):
    """A detector that was named by its SPEC alone may call its row otherwise, as the bundled moondream does."""
    made = config(None, {"models": "bailu,moondream,big=mai_cnn"}, f"table.detectors=[{name}]")
    assert made.table.detectors == [name]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("balu", "did you mean 'bailu'?"), ("mai_cnn", "there are: bailu, big"), ("big-nano", "there are: bailu, big")],
)
def test_rows_that_the_comparison_has_not_are_told_before_it_starts(name, hint):
    with pytest.raises(MaibenchError) as error:
        config(None, {"models": "bailu,big=mai_cnn"}, f"table.detectors=[{name}]")
    assert str(error.value) == f"table.detectors: no detector is called '{name}' here; {hint}"
