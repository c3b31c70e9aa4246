"""What the families on diffusers share. Not a family: `registry` passes it by.

    recipe.py    what requests must have in common to be rendered together, and what a step of it costs
    rounds.py    one thread that renders waiting requests with equal recipes in one call of the pipeline
    checkpoint.py  a diffusers folder: every file and every tensor accounted for, then loaded
    place.py     device, type, CPU offload
    watch.py     progress and cancelling in any pipeline, through its scheduler and its decoder
    sound.py     waveforms: seeds, cut to length, NaN and silence, tags
    speeds.py    measured seconds a step, kept on disk: estimates without loading anything (no torch)
    memory.py    parameters of a folder, for a card's memory function (no torch)
    request.py   fields every request has, and the answer's waveforms (no torch)
    model.py     the four verbs over all of it

A family is then its card, its request, one function that makes a `Recipe` of a request, and:

    class StableHum(DiffusionModel[HumRequest]):
        layout = Layout("HumPipeline", (
            Part("transformer", ("HumTransformer",)), Part("vae", ("AutoencoderOobleck",)),
            Part("text_encoder", ("T5EncoderModel",)), Part("tokenizer", ("T5Tokenizer", "T5TokenizerFast")),
            Part("scheduler", ("CosineDPMSolverMultistepScheduler",)),
        ))

        def recipe(self, request): return recipe_of(request)

        def call(self, pipeline, recipe, rows, generators):
            '''→ samples [rows, channels, n], as many rows as were asked for; see `Row`.'''
            return pipeline(
                prompt=[row.request.prompt for row in rows], num_inference_steps=recipe.steps,
                guidance_scale=recipe.guidance_scale, audio_end_in_s=recipe.duration_s, generator=generators,
            ).audios

Its `FAMILY` has `estimate=` a function of card and request that asks `Speeds(card.id)`: the clock of every entrance.

Progress, eta, cancelling within a step and during decode, seeds (one generator a row), batches, checks for NaN and
silence, trimming, tags, memory, offload and the clock come from `DiffusionModel`.
"""
