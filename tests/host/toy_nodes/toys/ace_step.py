"""ACE-Step, whose attention is linear, and ACE-Step 1.5."""

from .toy import Toy, named, randn

UNET = {
    "audio_model": "ace",
    "num_layers": 4,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "max_position": 512,
    "text_embedding_dim": 64,
    "lyric_encoder_vocab_size": 50,
    "ssl_latent_dims": [8, 8],
}
UNET15 = {
    "audio_model": "ace1.5",
    "hidden_size": 64,
    "text_hidden_dim": 64,
    "num_dit_layers": 4,
    "num_lyric_layers": 1,
    "num_timbre_layers": 1,
    "num_tokenizer_layers": 1,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 16,
    "intermediate_size": 128,
    "sliding_window": 8,
    "fsq_dim": 64,
    "encoder_hidden_size": 64,
    "encoder_intermediate_size": 128,
    "encoder_num_heads": 4,
}


def lyrics(generator, references):
    return {"conditioning_lyrics": (randn(generator, 1, 7).abs() * 10).long().clamp(max=49)}


def sung(generator, references):
    extras = {"conditioning_lyrics": randn(generator, 1, 7, 64)}
    return extras | ({"reference_audio_timbre_latents": [randn(generator, 1, 64, 40)]} if references else {})


def one_layer_for_lyrics(model) -> None:
    model.lyric_encoder.encoders = model.lyric_encoder.encoders[:1]


TOYS = {
    "ace_step": Toy(
        family="ace_step",
        config="ACEStep",
        unet=UNET,
        latent=(8, 16, 100),
        grid=(1, 1, 100),
        blocks=named("transformer", 4),
        extras=lyrics,
        adjust=one_layer_for_lyrics,
        medium="audio",
    ),
    "ace_step_15": Toy(
        family="ace_step_15",
        config="ACEStep15",
        unet=UNET15,
        latent=(64, 99),
        grid=(1, 1, 50),
        blocks=named("layer", 4),
        extras=sung,
        references="reference audio",
        medium="audio",
    ),
}
