"""The page that asks which of two clips is better: blind, whole, and read back into votes."""
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from dclm_nb.core.errors import UserError
from dclm_nb.studies.svd.annotation import (
    QUESTIONS, Task, annotation_page, answers_table, checks_passed, key_text, votes_of, world_tasks,
)

GREY, WHITE = (np.full((3, 8, 8, 3), level, np.uint8) for level in (90, 255))
TASKS = [Task(f"a <b>thing</b> {k}", "model Anna", GREY, "model Bert", WHITE, check=k == 2) for k in range(3)]


def test_every_task_is_asked_once_for_each_question():
    _, key = annotation_page(TASKS)
    asked = sorted((s["question"], s["item"]) for s in key)
    assert asked == sorted((q, f"task {k}") for q in QUESTIONS for k in range(3))
    assert {s["left"] for s in key} == {"model Anna", "model Bert"}


def test_the_page_does_not_say_who_made_what():
    page, key = annotation_page(TASKS)
    assert "Anna" not in page and "Bert" not in page
    # nor does the place of a clip in the page: the first maker's clips are not always the earlier ones
    made = [annotation_page(TASKS, seed) for seed in range(12)]
    earlier = [(s["clips"][0] < s["clips"][1]) == (k["left"] == "model Anna")
               for page, key in made for s, k in zip(screens(page), key)]
    assert 0.2 < np.mean(earlier) < 0.8


def screens(page: str) -> list: return json.loads(re.search(r"SCREENS = (\[.*?\]), CLIPS", page)[1])


def test_sides_are_drawn_and_the_same_seed_asks_the_same():
    tasks = [Task("x", "a", GREY, "b", WHITE)] * 40
    _, key = annotation_page(tasks, seed=3)
    assert 0.3 < np.mean([s["left"] == "a" for s in key]) < 0.7
    one, same, other = (annotation_page(TASKS, seed) for seed in (3, 3, 4))
    assert one[1] == same[1] != other[1] and screens(one[0]) == screens(same[0]) != screens(other[0])


def test_prompts_cannot_end_the_script():
    page, _ = annotation_page([Task("</script><script>alert(1)</script>", "a", GREY, "b", WHITE)])
    assert page.count("</script>") == 1 and "alert(1)" in page


def test_answers_become_votes_without_the_checks():
    _, key = annotation_page(TASKS)
    right = [s["right_answer"] for s in key]
    votes = votes_of(right, key, "quality")
    assert len(votes) == 2 and all((v.first == "model Anna") == (v.score == 1.0) for v in votes)
    assert checks_passed(right, key) == 1.0
    wrong = ["left" if side == "right" else "right" for side in right]
    assert checks_passed(wrong, key) == 0.0
    table = answers_table({"right": right, "wrong": wrong}, json.loads(key_text(key)))
    assert table.loc["right"].tolist() == ["1.00"] * 3 and table.loc["wrong"].tolist() == ["0.00"] * 3


def test_without_checks_their_share_is_no_number():
    _, key = annotation_page([TASKS[0]])
    assert np.isnan(checks_passed(["left"] * len(key), key))


@pytest.mark.parametrize("answers", [["left"], ["middle"] * 6])
def test_answers_that_do_not_fit_are_refused_in_one_line(answers):
    _, key = annotation_page(TASKS)
    with pytest.raises(UserError) as told: votes_of(answers, key, "quality")
    assert "\n" not in str(told.value)


def test_tasks_of_the_world_have_one_check_and_differ():
    tasks = world_tasks(3, size=16, frames=4)
    assert [t.check for t in tasks] == [False] * 3 + [True]
    assert all(t.first.shape == t.second.shape and not np.array_equal(t.first, t.second) for t in tasks)


BROWSER = r"""
const fs = require("fs"), html = fs.readFileSync(process.argv[2], "utf8");
const key = JSON.parse(fs.readFileSync(process.argv[3]));
const script = html.match(/<script>([\s\S]*)<\/script>/)[1];
class Element {
  constructor(tag) { this.tag = tag; this.kids = []; }
  append(...kids) { this.kids.push(...kids); }
  replaceChildren() { this.kids = []; }
  find(tag) {
    return this.kids.filter(k => typeof k !== "string").flatMap(k => [...(k.tag === tag ? [k] : []), ...k.find(tag)]);
  }
}
const main = new Element("main"), bar = new Element("progress"), kept = {};
let press;
global.document = {getElementById: id => id === "main" ? main : bar, createElement: tag => new Element(tag),
                   addEventListener: (event, f) => press = f};
global.localStorage = {getItem: k => kept[k] ?? null, setItem: (k, v) => { kept[k] = v; }};
const open = () => new Function(script)();
open();
key.forEach((screen, n) => {
  if (n === 2) open();                                       // closed in between and opened again
  const clips = [...main.find("video"), ...main.find("img")];
  if (clips.length !== 2) throw new Error("two clips are shown, not " + clips.length);
  if (n % 2) press({key: screen.right_answer === "left" ? "1" : "2"});
  else main.find("button")[screen.right_answer === "left" ? 0 : 1].onclick();
  if (n === 3) { main.find("button").at(-1).onclick(); press({key: screen.right_answer === "left" ? "1" : "2"}); }
});
press({key: "1"});                                           // after the end nothing counts
process.stdout.write(main.find("textarea")[0].value);
"""


def test_in_a_browser_all_screens_can_be_answered_left_and_taken_up_again(tmp_path):
    if not (node := shutil.which("node")): pytest.skip("the page's script is run by node, which is not here")
    page, key = annotation_page(TASKS)
    for name, text in (("page.html", page), ("key.json", key_text(key)), ("browser.js", BROWSER)):
        (tmp_path / name).write_text(text)
    names = [str(tmp_path / name) for name in ("browser.js", "page.html", "key.json")]
    ran = subprocess.run([node, *names], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [s["right_answer"] for s in key]
