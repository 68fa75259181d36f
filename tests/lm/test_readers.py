"""Task records: the local folder, the pins, and BIG-bench records made from the registry package."""
import hashlib
import json
from collections import Counter

import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.core.sources import PinnedPackage
from dclm_nb.lm.prompts import _check, ICLTask
from dclm_nb.lm.readers import BIGBENCH, SHA256, bigbench_records, local_records, read_jsonl, read_task
from dclm_nb.lm.tasks import TASKS

ABSENT = {"bigbench_elementary_math_qa", "squad", "coqa", "bbq", "gpqa_main", "gpqa_diamond"}


def test_all_local_tasks_read_and_have_the_fields_of_their_kind(shared):
    read = 0
    for task in TASKS.values():
        if task.name in ABSENT:
            with pytest.raises(UserError, match="does not exist"): read_task(task, folder=shared / "eval_data")
            continue
        records = read_task(task, folder=shared / "eval_data")
        _check(records, ICLTask.of(task))
        read += 1
    assert read == 53 - len(ABSENT)


def test_pins_are_the_local_full_files(shared):
    for file, digest in SHA256.items():
        assert hashlib.sha256((shared / "eval_data" / file).read_bytes()).hexdigest() == digest, file


def test_environment_names_the_folder(shared, monkeypatch):
    monkeypatch.setenv("DCLM_NB_EVAL_DATA", str(shared / "eval_data"))
    assert len(read_task(TASKS["copa"])) == 100
    monkeypatch.delenv("DCLM_NB_EVAL_DATA")
    with pytest.raises(UserError, match="DCLM_NB_EVAL_DATA"): local_records("commonsense_reasoning/copa.jsonl")


@pytest.mark.parametrize(
    "bad, why", [(b'{"a": 1', "delimiter"), (b"\xff\xfe", "codec"), (b"7", "int"), (b"[" * 100_000, "")]
)
def test_bad_lines_name_file_and_line(tmp_path, bad, why):
    path = tmp_path / "task.jsonl"
    path.write_bytes(b'{"context": "a", "continuation": "b"}\n' + bad + b"\n")
    with pytest.raises(UserError, match=r"task\.jsonl: 1 of 2 lines .* line 2") as error: read_jsonl(path)
    assert why in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf%s\n%s", b"%s\r\n\xef\xbb\xbf%s\r\n", b"\xef\xbb\xbf%s\n\xef\xbb\xbf%s"])
def test_byte_order_marks_are_no_part_of_a_record(tmp_path, data):
    """As Windows editors write them, also within a file that was joined from two."""
    path, line = tmp_path / "task.jsonl", '{"context": "Grüße"}'.encode()
    path.write_bytes(data % (line, line))
    assert read_jsonl(path) == [{"context": "Grüße"}] * 2


def test_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "task.jsonl").write_text("\n\n")
    with pytest.raises(UserError, match="no records"): read_jsonl(tmp_path / "task.jsonl")


def in_package(name):
    if PinnedPackage("bigbench").cached() is None: pytest.skip("the bigbench package (358 MB) is not in the cache")
    return bigbench_records(name)


@pytest.mark.parametrize("name", sorted(set(BIGBENCH) - {"bigbench_language_identification"}))
def test_bigbench_completion_records_are_llm_foundrys(shared, name):
    pairs = lambda records: Counter((record["context"].strip(), record["continuation"].strip()) for record in records)
    ours, theirs = pairs(in_package(name)), pairs(local_records(TASKS[name].file, shared / "eval_data"))
    if name == "bigbench_qa_wikidata":           # the local file is a sample of 7,435
        assert not theirs - ours and ours.total() == 20_321
    else: assert ours == theirs


def test_language_identification_has_llm_foundrys_form(shared):
    ours = in_package("bigbench_language_identification")
    sentence = lambda record: record["query"].split("\nSentence:", 1)[1].rsplit("\nA. ", 1)[0].strip()
    known = {sentence(record): record for record in ours}
    theirs = [
        r
        for r in local_records(TASKS["bigbench_language_identification"].file, shared / "eval_data")
        if "\nSentence:" in r["query"]
    ]
    right = lambda record: record["query"].split(f"\n{record['choices'][record['gold']]}. ")[1].split("\n")[0]
    same = sum(sentence(r) in known and right(known[sentence(r)]) == right(r) for r in theirs)
    assert same / len(theirs) > 0.99 and {json.dumps(r["choices"]) for r in ours + theirs} == {'["A", "B", "C", "D"]'}
    assert ours[0]["query"].startswith(
        "Given a sentence, select the correct language among the choices\nSentence: "
    ) and ours[0]["query"].endswith("\nAnswer: ")
