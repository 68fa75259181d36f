"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""
import dataclasses

import numpy as np
import pytest
import torch
from odd import Walk

pytest.importorskip("av")
pytest.importorskip("scenedetect")
pytest.importorskip("peft")

import dclm_nb.video  # noqa: E402
from dclm_nb.shards.clips import write_clip_shards  # noqa: E402
from dclm_nb.video.captions import (  # noqa: E402
    ClipCaptioner, FrameCaptioner, MergingCaptioner, drawn_caption, find_shape, merge_captions,
)
from dclm_nb.video.conditioning import MotionScale, fit_motion_scale, fps_id  # noqa: E402
from dclm_nb.video.cuts import CutSettings, Watch, match_cuts  # noqa: E402
from dclm_nb.video.decoding import Limits  # noqa: E402
from dclm_nb.video.edm import NoiseLevels  # noqa: E402
from dclm_nb.video.film_blocks import CaptionModel, Cutting, Measuring, find_films, load_cuts  # noqa: E402
from dclm_nb.video.films import films_of, outside_world, read_notes, write_film, write_films  # noqa: E402
from dclm_nb.video.filters import Cut, Rule, settle  # noqa: E402
from dclm_nb.video.guidance import linear_scale  # noqa: E402
from dclm_nb.video.lora import add_lora, load_lora, save_lora  # noqa: E402
from dclm_nb.video.models import (  # noqa: E402
    NetworkPlan, NetworkSizes, Question, VideoModel, WordCaptions, build_network, draw_one, load_vae, load_video_model,
    note_asked, sample_films, save_video_model,
)
from dclm_nb.video.motion import FlowConfig, motion_score  # noqa: E402
from dclm_nb.video.near_duplicates import DuplicateConfig  # noqa: E402
from dclm_nb.video.objectives import Training  # noqa: E402
from dclm_nb.video.pipeline import VideoCuration, curate_films  # noqa: E402
from dclm_nb.video.sampling import ddim_levels, karras_levels  # noqa: E402
from dclm_nb.video.similarity import SmallConfig, load_scorer, three_frames, train_rater, train_towers  # noqa: E402
from dclm_nb.video.stages import PAPER_STAGES  # noqa: E402
from dclm_nb.video.text_area import TextConfig  # noqa: E402
from dclm_nb.video.training import (  # noqa: E402
    _WHERE, VideoTraining, paper_lines, paper_settings, paper_stages, train_paper, train_video,
)
from dclm_nb.video.training_clips import ClipStream, ClipTaking  # noqa: E402
from dclm_nb.video.training_set import check_shards, clip_shards, prepare  # noqa: E402
from dclm_nb.video.vae import PixelCodec, to_numbers  # noqa: E402
from dclm_nb.video.views import orbit  # noqa: E402
from dclm_nb.video.words import Words  # noqa: E402
from dclm_nb.video.world import Join, Meaning, WorldSpec, clip_set, draw_film, meanings_of, parse_caption  # noqa: E402
from films_made import made, texture  # noqa: E402

SPEC = WorldSpec(scenes=(1, 1), seconds=(0.5, 0.6))
TAKING = ClipTaking(2, (16, 16))
FILMS = np.random.default_rng(0).integers(0, 256, (1, 2, 8, 8, 3), np.uint8)
TINY = NetworkSizes(widths=(8, 8), lanes=(4, 4), context=8)
QUICK = SmallConfig(steps=1, batch=2, side=8, width=8, dimension=8)


def settings(config) -> dict: return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}


def tiny_model() -> VideoModel:
    plan = NetworkPlan("video", 12, (4, 4), 2, 2, TINY)
    captions = WordCaptions(Words(("moves", "red"), 2))
    return VideoModel(build_network(plan, 3).eval(), plan, PixelCodec(2, torch.zeros(12), torch.ones(12)), captions)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> dict:
    """Each door with a call that is right: one parameter at a time is then replaced."""
    from datatrove.data import Document
    folder = tmp_path_factory.mktemp("given")
    world = write_films(folder / "world", 1, SPEC, 32)
    clip = made(folder / "clip.mp4", texture(12))
    facts = dict(film="0", fps=25.0, frames=12, width=80, height=48, path=str(clip), motion_bucket_id=9)
    write_clip_shards([Document("red moves", "0/0000", metadata=facts)], folder / "shards")
    prepare(folder / "shards", folder / "set", TAKING, 1)
    model, frames, rule = tiny_model(), texture(3), Rule("motion", share=0.5)
    model.codec.save(folder / "kept.json")
    cut = settle(rule, [1.0, 2.0])
    kept, how = save_video_model(model, folder / "model"), VideoTraining(frames=2)
    moved = add_lora(tiny_model().network.unet, 1, where=_WHERE["mixing"])
    save_lora(moved, folder / "camera.safetensors")
    train_towers(frames, ["a", "b", "c"], folder / "towers", QUICK)
    (folder / "thresholds.json").write_text("[]")
    return {
        WorldSpec: settings(SPEC),
        Meaning: dict(colour="red", shape="circle", move="left"),
        draw_film(SPEC, "x").clean: dict(i=0),
        parse_caption: dict(text="a red circle moves left"),
        find_shape: dict(frame=frames[0]),
        merge_captions: dict(texts=["a red circle", "a red circle moves left"]),
        drawn_caption: dict(captions={"frame": "a", "clip": "b"}, mix={"frame": 0.5, "clip": 0.5}),
        FrameCaptioner().caption: dict(frames=frames),
        ClipCaptioner().caption: dict(frames=frames),
        MergingCaptioner().caption: dict(frames=frames),
        meanings_of: dict(spec=SPEC, split="train", camera=False),
        clip_set: dict(n=1, spec=SPEC, frames=2, size=16, seed=0, split="train"),
        films_of: dict(n=1, spec=SPEC, seed=0, split="train"),
        write_film: dict(film=draw_film(SPEC, "x"), path=folder / "film.mp4", size=32, every=8, crf=20),
        write_films: dict(folder=folder / "world", n=1, spec=SPEC, size=32, seed=0, split="train", every=48,
                          done=lambda n: None),
        outside_world: dict(name="watermarked", spec=SPEC),
        read_notes: dict(path=world.paths()[0]),
        Limits: settings(Limits()),
        Watch: settings(Watch(None, 27.0)),
        match_cuts([(5, 5)], [Join("cut", 5, 5)], 25.0).recall: dict(kind="cut"),
        CutSettings: settings(CutSettings()),
        FlowConfig: settings(FlowConfig()),
        motion_score: dict(frames=frames, times=[0.0, 0.5, 1.0], config=FlowConfig()),
        TextConfig: settings(TextConfig()),
        fps_id: dict(times=[0.0, 0.1]),
        MotionScale: dict(middle=1.0, spread=1.0),
        MotionScale(1.0, 1.0).bucket: dict(motion=2.0),
        MotionScale(1.0, 1.0).motion: dict(bucket=127),
        fit_motion_scale: dict(motions=[float(n) for n in range(1, 10)]),
        SmallConfig: settings(QUICK),
        three_frames: dict(frames=frames),
        train_towers: dict(frames=frames, captions=["a", "b", "c"], folder=folder / "towers", config=QUICK, seed=0),
        train_rater: dict(frames=frames, ratings=[0.0, 1.0, 0.5], folder=folder / "rater", config=QUICK, seed=0),
        load_scorer: dict(folder=folder / "towers"),
        load_scorer(folder / "towers").look: dict(frames=frames),
        load_scorer(folder / "towers").read: dict(captions=["a"]),
        DuplicateConfig: settings(DuplicateConfig()),
        Rule: settings(rule),
        settle: dict(rule=rule, values=[1.0, 2.0]),
        cut.drops: dict(value=1.5),
        Cut.from_dict: dict(kept=cut.to_dict()),
        find_films: dict(source=world.films),
        Cutting: settings(Cutting()),
        CaptionModel: dict(name="a", model="b", frames=1),
        Measuring: settings(Measuring()),
        load_cuts: dict(folder=folder),
        VideoCuration: settings(VideoCuration()),
        curate_films: dict(films=world.films, out=folder / "out", config=VideoCuration(), executor="local", workers=1),
        ClipTaking: settings(TAKING),
        ClipStream: dict(shards=folder / "shards", taking=TAKING, seed=0, buffer=1, endless=False, rank=0,
                         world_size=1),
        Words: dict(words=("a", "b"), length=2),
        NoiseLevels: dict(mean=0.0, std=1.0),
        NoiseLevels(0.0, 1.0).draw: dict(n=3, generator=torch.Generator()),
        Training: settings(Training(1, 1)),
        linear_scale: dict(low=1.0, high=2.0, frames=3),
        karras_levels: dict(steps=3, low=0.1, high=9.0, rho=7.0),
        ddim_levels: dict(steps=3),
        save_lora: dict(unet=moved, path=folder / "other.safetensors"),
        load_lora: dict(unet=tiny_model().network.unet, path=folder / "no.safetensors", where="x"),
        orbit: dict(views=3, elevation=10.0),
        NetworkSizes: settings(TINY),
        NetworkPlan: settings(model.plan),
        save_video_model: dict(model=model, folder=folder / "again"),
        load_video_model: dict(folder=kept),
        PixelCodec.fit: dict(films=FILMS, factor=2),
        model.codec.encode: dict(frames=to_numbers(FILMS)),
        model.codec.decode: dict(latents=torch.zeros(1, 2, 12, 4, 4)),
        model.codec.save: dict(path=folder / "codec.json"),
        PixelCodec.load: dict(path=folder / "kept.json"),
        load_vae: dict(folder=folder),
        Question: settings(Question("red moves")),
        Question("red moves").check: dict(model=model),
        model.captions.encode: dict(captions=["red moves"]),
        Words.of: dict(captions=["red moves"]),
        model.captions.words.encode: dict(captions=["red moves"]),
        sample_films: dict(model=model, questions=[Question("red moves")], seed=0, steps=1, guidance=2.0),
        draw_one: dict(folder=kept, caption="red", images=(), seed=0, steps=1, guidance=1.0, fps_id=None,
                       motion_bucket_id=None, elevation=0.0),
        note_asked: dict(path=folder / "asked.json", folder=kept, caption="red", images=(), seed=0, steps=1,
                         guidance=1.0, fps_id=None, motion_bucket_id=None, elevation=0.0),
        clip_shards: dict(data=folder / "shards"),
        check_shards: dict(data=folder / "shards"),
        prepare: dict(data=folder / "shards", folder=folder / "set", taking=TAKING, moments=1, seed=0, factor=2,
                      length=8, codec=None, captions=None, elevation=None),
        VideoTraining: settings(how),
        train_video: dict(data=folder / "shards", out=folder / "trained", stage="video", how=how, start=None, seed=0),
        paper_stages: dict(name="hq"),
        paper_lines: dict(stage=PAPER_STAGES["hq"], devices=8),
        paper_settings: dict(stage=PAPER_STAGES["i2v-25"], how=how),
        train_paper: dict(data="", out=folder / "paper", name="hq", how=how, start=None, seed=0),
    }


INNER = """
# what is given comes from our own code, which checked it before; `Refused` is what a film is told
adapters: ClipReader LinearRater fit_linear_rater ClipFeatures NetworkCuts network_flow_maps
airlock: Airlock
baselines: repeated_first mean_clip nearest_clip linear_film other_prompt Judged judged grain_floor gate
captions: Captioner Found shape_of FrameCaptioner Track track move_of ClipCaptioner
captions: MergingCaptioner three_captioners caption_all ModelCaptioner LanguageMerger
chain_truth: ClipTruth clip_truth faults_of over_films chain_truth
clips: shots Clip plan_clips clip_name write_clips frame_hashes changed_frames
contact_sheet: strip_of chosen write_sheet histogram
cuts: Transition Alarm CutFinder find_cuts cuts_of Matches match_cuts single_detector naive_cascade
decoding: no_film Clock Packets packet_table FilmFacts frame_aspect probe Frame read_frames picture_of
edm: Scaling edm_scaling nearest_level discrete_scaling over denoised edm_weight denoising_loss draw_noise
failures: Signs failures Look idle FilmWatch
film_blocks: FilmsFound study_film ReadFilms KeepClips Look look_at frames_at Gauges MeasureClips SettleRules
film_blocks: FilterClips DropDuplicates
films: FilmNotes notes_of FilmFolder
filters: Cut reason Outcome filter_clips
footage: RealFilm real_film real_shots JoinedFilm joined_film
given_frames: Eye augmented from_picture without_condition PictureToFilm between_frames BetweenFrames
guidance: guided guide
judges: Track follow shape_fits Path path_of read_clip follows faults_of QualityJudge motion_of planted preferred
judges: preference calibrated FeatureNet train_features
known_clips: coded KnownClip known_clips real_shots
latent_clips: Clips
lora: lora_targets add_lora has_lora CameraMove merge_lora
mixing: TimeMixer MixingSettings MixingUNet
models: GivenMixing build_network next_network WordCaptions TextEncoder VideoModel word_count doubled_condition fitting
motion: moments flow_maps Signature motion_signature
near_duplicates: clip_signature signature_distance hash_pairs embedding_pairs keepers
objectives: Training.rate Condition VideoNetwork denoiser Denoising Pictures EdmPictures EdmSwitch train_stage
pipeline: film_book set_sizes remarks empty_films ExportClips WriteCard card build_pipeline WriteSheet FilmReport
pipeline: NoClips with_same
pipeline: films_key
sampling: draw
similarity: Towers.ids Towers.pictures Towers.sentences
similarity: PictureReader PictureRater similarities aesthetics Towers Rater learned_reader learned_rater
stages: PaperStage StepCost accelerator_hours state_bytes
text_area: TextDetector lines_of covered stroke_density TextArea text_area
training: VideoTraining.taking VideoTraining.training VideoTraining.plan
training: Recipe with_words begin check_order check_captions questions_of film_watch best_weights describe
training_clips: window TrainingClip take
training_set: captioners_of check_clips are_mute read_moments TrainingSet words_of
unet: UNetSettings build_unet blueprint is_temporal images_only temporal_prompt build_image_unet video_name silence_time
unet: video_from_image widened faster_time load_unet
vae: to_numbers to_frames VideoCodec PixelCodec TemporalVAE build_vae
view_measures: psnr turned_psnr share_of_turn unrest view_similarity perceptual_distance
views: from_view AroundObjects from_angle OneView view_psnr trivial_views
words: WordTable
world: Scene draw_scene shape_mask shrink text_boxes text_area render Join Film draw_film film_frames SceneTruth
world: FilmTruth truth_of ClipSet clip_of
"""
COSTLY = ("curate_films", "train_video", "train_paper", "paper_lines")      # each has tests of its own


class TestWalk(Walk):
    room, inner, costly, absent = dclm_nb.video, INNER, COSTLY, ("load_lora", "load_vae")
