"""Whatever a user gives to a door of this room: a result, or one line. Never an inner part's error."""
import dataclasses

import pytest
import torch
from odd import Walk

import dclm_nb.image
from dclm_nb.image.autoencoders import (
    ConvCodec, autoencoder_config, build_autoencoder, check_usage, codebook_usage, make_codec, pretrained_kl,
)
from dclm_nb.image.backbone import Backbone
from dclm_nb.image.captions import CaptionVocabulary, caption_words
from dclm_nb.image.checker import check_all, check_scene
from dclm_nb.image.checkpoints import ImageModel, load_image_model, sample, save_image_model
from dclm_nb.image.codecs import PatchPCA, PatchVQ, fit_codec, load_codec, psnr
from dclm_nb.image.config import AutoencoderConfig, BackboneConfig
from dclm_nb.image.entropy import arrangements, entropy_floor, object_codes
from dclm_nb.image.features import (
    JudgeTraining, clip_features, clip_score, contrastive_score, dinov2_features, fit_feature_net, fit_two_tower,
    load_judge, load_pretrained, near_miss_accuracy, near_misses, retrieval_accuracy, save_judge,
)
from dclm_nb.image.flops import forward_flops, sampling_flops, training_flops
from dclm_nb.image.flow import FlowSettings
from dclm_nb.image.judges import JudgeSuite
from dclm_nb.image.launch import default_codec, describe_plan, plan, train_image
from dclm_nb.image.masked import MaskedSettings
from dclm_nb.image.methods import MethodSettings, Sampling, network_passes
from dclm_nb.image.pictures import cifar10, openmoji
from dclm_nb.image.recipes import (
    ImageTrainConfig, PaperScale, backbone_config, paper_recipe, paper_training,
)
from dclm_nb.image.scenes import SceneSpec, parse_caption, scene_set
from dclm_nb.image.webdata import CaptionedStream, PictureReader, hub_images, shard_images, write_shard

SPEC = SceneSpec()
SCENES = scene_set(16, SPEC)
SHAPE = dict(method="next-token", width=16, n_layers=1, n_heads=2, tokens=36, caption_words=9, caption_length=4,
             channels=0, vocab_size=8, positions="rotary", qk_norm=True)
QUICK = JudgeTraining(8, 2, 4, 1e-3, 8)
RECIPE = ImageTrainConfig(1e10)
SMALL = AutoencoderConfig(steps=1, batch=2)


def settings(config) -> dict: return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> dict:
    """Each door with a call that is right: one parameter at a time is then replaced."""
    folder = tmp_path_factory.mktemp("given")
    codec = fit_codec("vq-8", SCENES.images)
    codec.save(folder / "codec")
    pca = fit_codec("pca-4", SCENES.images)
    shape_of_conv = autoencoder_config("conv-kl-4", dataclasses.replace(SMALL, size=24))
    learned = ConvCodec("conv-kl-4", shape_of_conv, build_autoencoder(shape_of_conv))
    features = fit_feature_net(SPEC, QUICK, dimension=4)
    words = CaptionVocabulary.of(SCENES.captions)
    shape = SHAPE | dict(caption_words=len(words), caption_length=words.length)
    model = ImageModel(Backbone(BackboneConfig(**shape)), codec, words)
    shard = write_shard(folder / "a.tar", SCENES)
    towers = fit_two_tower(SPEC, QUICK, misses=1)
    suite = JudgeSuite.build(features, towers, 16)
    stream, reader = shard_images(shard, PictureReader(24)), PictureReader(24)
    pairs = dict(network=towers, images=SCENES.images, captions=SCENES.captions)
    hub = dict(repo="a/b", revision="0" * 40, split="train", image_column="image", caption_column="text")
    return {
        SceneSpec: settings(SPEC),
        parse_caption: dict(text="a red circle left of a blue square", spec=SPEC),
        scene_set: dict(n=2, spec=SPEC, seed=0, split="train", groups=0.3),
        check_scene: dict(image=SCENES.images[0], caption=SCENES.captions[0], spec=SPEC),
        check_all: dict(images=SCENES.images[:2], captions=SCENES.captions[:2], spec=SPEC),
        openmoji: dict(size=8, n=2, seed=0, split="train"),
        cifar10: dict(n=2, seed=0, split="train"),
        PictureReader: dict(size=24, min_side=16, max_aspect=8.0, max_pixels=10**6),
        write_shard: dict(path=folder / "b.tar", pictures=SCENES, first=0),
        shard_images: dict(shards=shard, reader=reader, rank=0, world_size=1),
        hub_images: hub | dict(reader=reader, rank=0, world_size=1),
        stream.take: dict(n=2),
        CaptionedStream: dict(source=stream.source, reader=reader, field="caption"),
        fit_codec: dict(name="vq-8", images=SCENES.images, patch=4, seed=0),
        load_codec: dict(folder=folder / "codec", size=24, kind="discrete"),
        PatchPCA.fit: dict(images=SCENES.images, channels=4, patch=4, name=""),
        PatchVQ.fit: dict(images=SCENES.images, codes=8, patch=4, seed=0, name=""),
        codec.save: dict(folder=folder / "again"),
        codec.encode: dict(images=SCENES.images),
        codec.decode: dict(latents=codec.encode(SCENES.images)),
        pca.encode: dict(images=SCENES.images),
        pca.decode: dict(latents=pca.encode(SCENES.images)),
        learned.encode: dict(images=SCENES.images),
        learned.decode: dict(latents=learned.encode(SCENES.images)),
        psnr: dict(a=SCENES.images, b=SCENES.images),
        AutoencoderConfig: settings(SMALL),
        build_autoencoder: dict(config=SMALL, seed=0),
        codebook_usage: dict(ids=torch.arange(4), vocab_size=8),
        check_usage: dict(codec=codec, images=SCENES.images),
        make_codec: dict(name="vq-8", images=SCENES.images, config=SMALL, folder=folder / "made", seed=0),
        pretrained_kl: dict(name="a/b", size=24, revision=None, patch=2),
        caption_words: dict(caption="a red circle"),
        CaptionVocabulary: dict(words=("a", "b"), length=2, lenient=False),
        CaptionVocabulary.of: dict(captions=["a red circle"]),
        CaptionVocabulary.frequent: dict(captions=["a red circle"], most=9, length=2),
        CaptionVocabulary.from_dict: dict(kept=words.to_dict()),
        words.encode: dict(captions=["a red circle"]),
        words.decode: dict(ids=words.null(2)),
        words.null: dict(batch=2),
        BackboneConfig: SHAPE,
        Backbone: dict(config=BackboneConfig(**SHAPE), seed=0),
        FlowSettings: settings(FlowSettings()),
        MaskedSettings: settings(MaskedSettings()),
        MethodSettings: settings(MethodSettings()),
        Sampling: settings(Sampling()),
        network_passes: dict(config=BackboneConfig(**SHAPE), sampling=Sampling()),
        forward_flops: dict(config=BackboneConfig(**SHAPE), accounting="exact"),
        training_flops: dict(config=BackboneConfig(**SHAPE), pictures=9, accounting="exact"),
        sampling_flops: dict(config=BackboneConfig(**SHAPE), sampling=Sampling()),
        ImageTrainConfig: settings(RECIPE),
        PaperScale: settings(PaperScale()),
        paper_training: dict(network=BackboneConfig(**SHAPE), pictures=9),
        paper_recipe: dict(method="diffusion", size="S", scale=PaperScale()),
        backbone_config: dict(method="diffusion", size="nano", tokens=16, caption_words=9, caption_length=4,
                              codec_numbers=3),
        ImageModel: settings(model),
        sample: dict(model=model, captions=["a red circle left of a blue square"], seed=0, sampling=None, batch_size=2),
        save_image_model: dict(model=model, folder=folder / "model"),
        load_image_model: dict(folder=save_image_model(model, folder / "kept"), codec=None),
        JudgeTraining: settings(QUICK),
        fit_feature_net: dict(spec=SPEC, training=QUICK, seed=0, dimension=4),
        fit_two_tower: dict(spec=SPEC, training=QUICK, seed=0, misses=1),
        near_misses: dict(caption="a red circle left of a blue square", spec=SPEC),
        features.features: dict(images=SCENES.images),
        features.attributes: dict(images=SCENES.images),
        towers.image_vectors: dict(images=SCENES.images),
        towers.caption_vectors: dict(captions=SCENES.captions),
        JudgeSuite.build: dict(feature_net=features, two_tower=towers, n=16, blind=None),
        suite.measure: dict(images=SCENES.images, captions=SCENES.captions, split="held out"),
        suite.score: dict(images=SCENES.images, captions=SCENES.captions),
        suite.real: dict(n=8),
        contrastive_score: pairs,
        retrieval_accuracy: pairs | dict(k=2, seed=0),
        near_miss_accuracy: pairs,
        save_judge: dict(network=towers, path=folder / "judge"),
        load_judge: dict(path=save_judge(towers, folder / "towers")),
        load_pretrained: dict(name="a/b@0", device="cpu"),
        clip_features: dict(images=SCENES.images, network="a/b@0", batch_size=2),
        dinov2_features: dict(images=SCENES.images, network="a/b@0", batch_size=2),
        clip_score: dict(images=SCENES.images, captions=SCENES.captions, network="a/b@0", batch_size=2),
        default_codec: dict(method="diffusion"),
        plan: dict(method="next-token", size="nano", codec=codec, vocabulary=words, pictures=9, devices=1),
        describe_plan: dict(network=BackboneConfig(**SHAPE), config=RECIPE, codec=codec),
        train_image: dict(method="next-token", size="nano", shards=str(shard), out=folder / "out", codec="vq-8",
                          devices=1, resolution=24, pictures=256, seed=0),
        arrangements: dict(caption="a red circle left of a blue square", spec=SPEC),
        object_codes: dict(codec=codec, spec=SPEC, colour="red", shape="circle", n=2, seed=0),
        entropy_floor: dict(codec=codec, spec=SPEC, captions=SCENES.captions[:1], n=2, seed=0),
    }


INNER = """
# what is given comes from our own code, which checked it before
autoencoders: ConvCodec.from_parts
autoencoders: KL VQ LFQ FSQ ResidualBlock Autoencoder ConvCodec Usage AutoencoderTraining train_autoencoder
autoencoders: autoencoder_config DiffusersKL
backbone: Backbone.embed Backbone.condition Backbone.hidden Backbone.forward
backbone: rotary_angles rotary_tables rotate KeyValueCache Places Attention Block modulated CaptionEncoder TimeEncoder
checker: foreground Seen find_things Check attribute_scores checker_learned
codecs: SavedCodec.from_parts
codecs: Codec check_images check_latents to_patches from_patches principal_axes PatchPCA unique_patches
codecs: nearest_code fit_codebook PatchVQ codec_learned codec_table
config: check_method
entropy: seen_entropy
features: FeatureNet.forward TwoTower.ids TwoTower.read TwoTower.look
features: judge_scenes PictureTower attribute_names attribute_targets FeatureNet feature_learned TwoTower
features: contrastive_loss towers_learned Pretrained
flow: shifted sample_times flow_loss guided doubled flow_sample
judges: JudgeSuite another_caption noisy half_repeated same_place object_lost calibrate calibration_table
judges: calibration_matrix calibrated save_suite load_suite judges_config evidence_of train_judges
latent_shards: record_type encode_pairs encode_shards LatentShards
launch: prepare
masked: masked_count masked_passes blanks_left random_mask masked_loss draw_codes check_numbers masked_sample
methods: method_loss draw_latents
next_token: next_token_loss next_token_sample
pictures: on_white with_clear_colour picture_tensor chosen at_hand emoji_caption
recipes: train_config_from_dict Size
scenes: coverage Pair Group meaning split_of Placed place_one place draw CaptionedImages
training: LatentSet step_generator rate_factor ImageTraining FlopBudget load_weights train
webdata: PictureReader.__call__
webdata: read_caption pair_of HubSource
"""
COSTLY = (
    "train_image", "openmoji", "cifar10", "pretrained_kl", "hub_images", "load_pretrained", "clip_features",
    "dinov2_features", "clip_score",
)    # each has tests of its own


class TestWalk(Walk):
    room, inner, costly = dclm_nb.image, INNER, COSTLY
