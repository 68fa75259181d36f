"""Real text that nobody asked for: the same choice everywhere, a small crawl a part of a large one, real shapes."""
from dclm_nb.curation.off_target import OFF_TARGET, READERS, _as_shown, _flowing, _grouped, _releases, off_target_texts


def test_a_small_choice_is_a_part_of_a_large_one_and_always_the_same():
    few, more = off_target_texts(0.004), off_target_texts(0.02)
    assert off_target_texts(0.004) == few and set(few) == set(OFF_TARGET)
    for kind, texts in few.items():
        names = [t.name for t in more[kind]]
        assert [t.name for t in texts] == names[:len(texts)] and len(set(names)) == len(names), kind
        assert all(t.text.split() or t.html for t in texts)


def test_no_kind_is_good_and_none_is_split_to_another_use():
    assert {s.quality for s in OFF_TARGET.values()} == {"ordinary"} and not any(s.shares for s in OFF_TARGET.values())
    assert set(READERS) == set(OFF_TARGET)


def test_groups_have_at_least_their_words_and_a_rest_is_dropped():
    assert list(_grouped(["a b", "c", "d e f", "g"], 3)) == ["a b\n\nc", "d e f"]


def test_notes_are_shown_without_their_marks():
    notes = "v1.2.0\n======\n\n- ``module`` - a fix (https://example.org/1).\n\nMinor\n-----\n* another\n"
    assert _releases("x\n\n" + notes) == [notes] and _as_shown(notes) == "v1.2.0\nmodule - a fix\nMinor\nanother"
    assert _flowing("a\nb\n\nc") == "a b\nc"
