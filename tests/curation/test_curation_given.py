"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""
import numpy as np
import pytest
from odd import Walk

import dclm_nb.curation
from dclm_nb.curation.bloom import BloomDeduplicator, false_removal_bound
from dclm_nb.curation.bloom_filter import (
    BloomFilter, GrowingFilter, classic_bits, number_of_blocks, number_of_hashes,
)
from dclm_nb.curation.crawl_texts import evaluation_articles, positive_passages, positive_texts
from dclm_nb.curation.decontamination import (
    NgramIndex, contaminated_share, contamination_label, cut_question, decontaminate, holds_question, overlap_report,
)
from dclm_nb.curation.extract import Bounds, decode_html, extract_text, extract_texts
from dclm_nb.curation.fasttext_files import check_model, model_facts
from dclm_nb.curation.fetch import fetch_warc, warc_address
from dclm_nb.curation.heuristics import explain, refinedweb
from dclm_nb.curation.language import FastTextLanguage
from dclm_nb.curation.lm_filters import (
    TokenScores, keep_by_perplexity, keep_by_topk_logits, perplexity, token_scorer, topk_average_logit,
)
from dclm_nb.curation.minhash import curve_distance, duplicate_probability
from dclm_nb.curation.minicrawl import CrawlSize, build_crawl
from dclm_nb.curation.ngrams import most_ngrams, paragraph_ngrams
from dclm_nb.curation.off_target import off_target_texts
from dclm_nb.curation.pipeline import CurationConfig, curate, funnel
from dclm_nb.curation.quality import (
    ClassifierConfig, auc, check_classifier, classifier_file, drawn_passage, draws_of, keep_best, keep_drawn,
    keep_random, least_auc, load_classifier, log_loss, percentile_threshold, quality_scores, score_spread,
    train_classifier, tune_classifier,
)
from dclm_nb.curation.tokens import cut_contexts, load_tokenizer, token_stream, tokenise, train_tokenizer
from dclm_nb.curation.url import BanLists, remove_ip_addresses, remove_urls
from dclm_nb.curation.warc import Page, ReadReport, read_warc, write_warc
from dclm_nb.curation.words import SplitText

TEXTS = [f"{word} one two three four" for word in ("a", "b", "c", "d")]
QUICK = ClassifierConfig(dim=16, bucket=2000, epoch=1)
HASHES = np.array([1, 2, 3], np.uint64)
ONE = CrawlSize(0.001, 0, 0, 0, 1)


def scores_of(texts): return [TokenScores(-np.ones(2) * len(t), np.ones((2, 3))) for t in texts]


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> dict:
    """Each door with a call that is right: one parameter at a time is then replaced."""
    folder = tmp_path_factory.mktemp("given")
    warc = write_warc(folder / "a.warc", [Page("http://a.org/", b"<p>text</p>")])
    model = train_classifier(TEXTS[:2], TEXTS[2:], folder, QUICK)
    tokenizer = train_tokenizer(TEXTS, folder, 260)
    scores = np.array([0.1, 0.2, 0.3, 0.4])
    bloom, growing, dedup = BloomFilter(100), GrowingFilter(100), BloomDeduplicator(10**6)
    index = NgramIndex(TEXTS, 3)
    dedup.save(folder / "kept.safetensors")
    return {
        paragraph_ngrams: dict(text="a b c", min_ngram_size=2, max_ngram_size=3),
        most_ngrams: dict(text="a b c", min_ngram_size=2, max_ngram_size=3),
        number_of_hashes: dict(false_positive_rate=0.01),
        classic_bits: dict(ngrams=100, false_positive_rate=0.01),
        number_of_blocks: dict(ngrams=100, false_positive_rate=0.01),
        BloomFilter: dict(expected=100, false_positive_rate=0.01),
        bloom.add: dict(hashes=HASHES),
        bloom.contains: dict(hashes=HASHES),
        bloom.__contains__: dict(one=3),
        GrowingFilter: dict(expected=100, false_positive_rate=0.01),
        growing.add: dict(hashes=HASHES),
        growing.contains: dict(hashes=HASHES),
        BloomDeduplicator: dict(expected_ngrams=100, min_ngram_size=13, max_ngram_size=13, threshold=0.8,
                                false_positive_rate=0.01),
        dedup.deduplicate: dict(texts=TEXTS),
        dedup.save: dict(path=folder / "bloom.safetensors"),
        BloomDeduplicator.load: dict(path=folder / "kept.safetensors"),
        false_removal_bound: dict(ngrams=100, known=10, threshold=0.8, false_positive_rate=0.01),
        duplicate_probability: dict(similarity=0.5, bands=9, rows=13),
        curve_distance: dict(one=(9, 13), other=(450, 20), points=11),
        CrawlSize: dict(share=0.1, worthless=1, planted=1, foreign=1, shards=1, name=""),
        build_crawl: dict(folder=folder / "crawl", size=ONE, seed=0),
        ClassifierConfig: dict(lr=0.1, dim=2, ws=5, epoch=1, minCount=1, wordNgrams=2, bucket=100, seed=0),
        load_classifier: dict(path=model, tried=True),
        check_classifier: dict(path=model, tried=True),
        train_classifier: dict(positives=TEXTS[:2], negatives=TEXTS[2:], folder=folder, config=QUICK),
        quality_scores: dict(texts=TEXTS, model=model),
        auc: dict(positives=scores, negatives=scores),
        log_loss: dict(positives=scores, negatives=scores),
        drawn_passage: dict(text="a b c d", words=2, seed=0),
        least_auc: dict(good=0.1),
        tune_classifier: dict(positives=TEXTS, negatives=TEXTS, folder=folder / "tuned", config=QUICK, groups=None,
                              good=None, held_out=0.5),
        percentile_threshold: dict(scores=scores, keep_fraction=0.5),
        keep_best: dict(scores=scores, keep_fraction=0.5),
        draws_of: dict(texts=TEXTS, seed=0),
        keep_drawn: dict(draws=scores, fraction=0.5),
        keep_random: dict(texts=TEXTS, fraction=0.5, seed=0),
        score_spread: dict(scores=scores, part="classifier"),
        classifier_file: dict(name="a.bin"),
        TokenScores: dict(logprobs=np.zeros(2), topk_logits=np.zeros((2, 3))),
        perplexity: dict(scores=scores_of("a")[0]),
        topk_average_logit: dict(scores=scores_of("a")[0]),
        keep_by_perplexity: dict(texts=["a", "bb", "ccc"], token_scores=scores_of, keep_fraction=0.5),
        keep_by_topk_logits: dict(texts=["a"], token_scores=scores_of, keep_fraction=0.5),
        token_scorer: dict(model=None, encode=len, context=8, k=2, batch=2, first=None, on_batch=len,
                           told=len),
        NgramIndex: dict(texts=TEXTS, n=3),
        index.hits: dict(text="a b c d"),
        index.shared_words: dict(text="a b c d"),
        contaminated_share: dict(text="a b c d", training=index),
        contamination_label: dict(share=0.5),
        holds_question: dict(document="a b", question="a", options=["b"], last_sentence=False),
        cut_question: dict(document="a b", question="a", options=["b"], last_sentence=False),
        overlap_report: dict(sets={"a": TEXTS, "b": TEXTS}, n=3),
        decontaminate: dict(pool=TEXTS, evaluation=TEXTS[:1], n=3),
        load_tokenizer: dict(path=tokenizer),
        train_tokenizer: dict(texts=TEXTS, folder=folder, vocab_size=260),
        token_stream: dict(texts=TEXTS, tokenizer=load_tokenizer(tokenizer), batch=2),
        cut_contexts: dict(stream=[np.arange(9)], length=2, pad=None),
        tokenise: dict(texts=TEXTS, tokenizer_file=tokenizer, folder=folder / "tokens", seq_len=4, seed=0,
                       faithful=False, contexts_per_shard=2, cells=2),
        CurationConfig: CurationConfig().settings() | {"training": QUICK, "name": ""},
        funnel: dict(folder=folder, kept="kept"),
        curate: dict(warcs=[warc], folder=folder / "curated", config=CurationConfig(until="pool"), executor="local",
                     workers=1),
        refinedweb: dict(text="a b", url="http://a.org/", faithful=True, ban_lists=None, language=None),
        explain: dict(text="a b", url="http://a.org/", faithful=True, ban_lists=None, language=None),
        decode_html: dict(html=b"<p>a</p>", faithful=True, charset=""),
        extract_text: dict(html=b"<p>a</p>", method="resiliparse", faithful=True, charset="", bounds=Bounds()),
        extract_texts: dict(pages=[(b"<p>a</p>", "")], method="resiliparse", faithful=True, bounds=Bounds()),
        Bounds: dict(seconds=1.0, seconds_a_byte=1e-6, memory=2**26, memory_a_byte=128, text=10**5, text_a_byte=4),
        remove_urls: dict(text="a", faithful=True),
        remove_ip_addresses: dict(text="a", faithful=True),
        FastTextLanguage: dict(path="lid.176.ftz", name="", tried=False),
        BanLists: dict(domains=frozenset(), strict=frozenset(), hard=frozenset(), soft=frozenset(), origin="none"),
        SplitText: dict(text="a"),
        read_warc: dict(source=warc, report=ReadReport(), limit=10**6, html_only=False),
        write_warc: dict(path=folder / "b.warc", pages=[Page("http://a.org/", b"a")], software="me"),
        ReadReport: dict(examples_per_cause=3),
        ReadReport().merge: dict(other=ReadReport()),
        warc_address: dict(source="https://a.org/b"),
        fetch_warc: dict(url="crawl-data/a.warc.gz", folder=folder, wait=0.0),
        model_facts: dict(path=model),
        check_model: dict(path=model),
        off_target_texts: dict(share=1.0),
        evaluation_articles: dict(most=1),
        positive_passages: dict(sources=(), per_source=1, words=60),
        positive_texts: dict(sources=()),
    }


INNER = """
# what is given comes from our own code, which checked it before
blocks: DecidePage open_warc ReadWarcs Extract stage_of word_lists Heuristics BloomDedup Decontaminate TrainQuality
blocks: ScoreQuality KeepBest Tokenise NoClassifier UnreadableTexts held_out_index
bloom: DedupResult one_of_equals above batches
bloom_filter: BloomFilter.places GrowingFilter.fill_in smallest sevens parts set_bits write_filter
bloom_filter: read_filter
crawl_pages: Site paragraphs page sentences word_salad phrase_salad sentence_shuffle product_blurbs town_page
crawl_pages: legal_notice parts_list hashtags teasers shouting stub near_duplicate
crawl_texts: TextSource split_of RawText encyclopaedia passages manual plain_text equally_many
decontamination: match_words ngram_numbers Decontaminated
extract: Bounds.most_seconds Bounds.most_memory Bounds.most_text
extract: ExtractionFailure nesting_work refuse_traps
fasttext_files: ModelFacts
heuristics: Page Verdict assume_english Settings few_banned_words urls_removed newlines_limited in_english long_enough
heuristics: words_of_usual_length few_symbols not_all_bullets few_lines_trail_off words_have_letters has_stop_words
heuristics: counted
heuristics: is_shouted shouted_lines_removed number_lines_removed counter_lines_removed single_word_lines_removed Phrase
heuristics: phrase_removed phrases_removed Step Decision
known_answers: page_outcomes compare_with_labels quality_mix
language: FastTextLanguage.__call__
language: Language has_nothing_to_read one_line is_english
members: Member first_bytes next_member Unpacking read_member
minicrawl: damaged_record PageLabel CrawlManifest
ngrams: mix64 polynomial_hash Ngrams
off_target: api_reference command_examples change_logs read_mes licences source_code
payload: PayloadError Answer header_fields parse_answer content_type_of dechunk reads_as_text decode_payload
payload: decode_unsaid
pipeline: build_pipeline WriteReport TrainOrStop TokeniseOrStop run_key CurationReport Stopped
quality: one_line TunedClassifier released_classifier
repetition: Share repeated_segments places_of_equal_hashes RepeatedNgrams RepetitionTest repetition_shares
repetition: first_repetition
tokens: plain_tokenizer vocabulary_size TokenReport TooFewTokens token_damage
url: starts_with_tld tld_dots trie_pattern DomainTable listed_host domain_is_banned banned_words original_word_list
url: original_ban_lists
warc: ReadReport.settle
warc: Page Record page_of warc_record response_record fits frame
word_boundaries: ascii_edges has unicode_edges Tokens word_tokens
words: ft_words ascii_words word_class word_segments uniseg_words segments
"""
COSTLY = (
    "build_crawl", "tune_classifier", "off_target_texts", "curate", "evaluation_articles", "fetch_warc",
    "positive_passages", "positive_texts", "funnel", "FastTextLanguage",
)    # each has tests of its own
# a function of the user's
LEAVE = {"refinedweb": [("language", "class")], "explain": [("language", "class")]}


class TestWalk(Walk):
    room, inner, costly = dclm_nb.curation, INNER, COSTLY
    leave = LEAVE
